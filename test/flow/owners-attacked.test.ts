/** Ways to what is another's, and ways in which an owner loses what is his own. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as send } from 'node:http';
import { type Socket, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { POSTED, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { jwtOf } from '../house/tokens.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

const sha256 = (what: string) => createHash('sha256').update(what).digest('hex');
type Claims = Readonly<Record<string, string>>;
const jwt = (sub: string, claims: Claims = {}, signature = 'good') =>
  jwtOf({ iss: 'https://issuer', sub, ...claims }, signature);
/** The issuer and the subject are no secret: anybody can write them down, and sign as he likes. */
const forged = (sub: string) => jwt(sub, {}, 'forged');

type User = { readonly user: string; readonly valid: boolean };
/** Who bears the token, for a server that verifies it. */
function verify(authorization: string | undefined): User {
  if (authorization === undefined) return { user: '', valid: true };
  const [, token = ''] = authorization.split(' ');
  const [, claims, signature] = token.split('.');
  if (claims === undefined) return { user: token.split('-')[0] ?? '', valid: !token.endsWith('expired') };
  const { sub } = JSON.parse(Buffer.from(claims, 'base64url').toString());
  return { user: String(sub), valid: signature === 'good' };
}

type Guarded = Plain & {
  /** Whose each session is, as its `initialize` said. */
  readonly users: Map<string, string>;
  /** The credentials of each `initialize`. */
  readonly opened: (string | undefined)[];
};
type Rules = {
  /** What the server reads of a request. */
  readonly credentials?: (asked: Asked) => string | undefined;
  /** What it says to a user of another session. */
  readonly forbidden?: (asked: Asked) => void;
};

/** A server that verifies each request, takes a session's user from `initialize`, and lets nobody else use it. */
async function startGuarded(name: string, rules: Rules = {}): Promise<Guarded> {
  const { credentials = ({ request }) => request.headers.authorization } = rules;
  const plain = Object.assign(await startPlain(name), {
    users: new Map<string, string>(),
    opened: [] as (string | undefined)[],
  });
  const forbidden =
    rules.forbidden ??
    (({ response, id }: Asked) => sayJson(response, 403, { id: id ?? null, error: { code: -32_000, message: 'No' } }));
  plain.before = (asked) => {
    const { user, valid } = verify(credentials(asked));
    if (!valid)
      sayJson(asked.response, 401, { id: asked.id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
    else if (asked.known && plain.users.get(asked.session) !== user) forbidden(asked);
    else return false;
    return true;
  };
  plain.after = (asked) => {
    if (asked.what !== 'initialize') return false;
    plain.opened.push(credentials(asked));
    plain.users.set(asked.session, verify(credentials(asked)).user);
    return false;
  };
  undo.push(() => plain.close());
  return plain;
}

type Scene = {
  readonly a: Guarded;
  readonly b: Guarded;
  readonly proxies: readonly TestProxy[];
  readonly redis: TestRedis;
};

async function begin(count = 1, flags: readonly string[] = [], rules: Rules = {}): Promise<Scene> {
  const [a, b] = [await startGuarded('a', rules), await startGuarded('b', rules)];
  const redis = await startRedis();
  undo.push(() => redis.close());
  const proxies: TestProxy[] = [];
  for (let nth = 0; nth < count; nth += 1) {
    const proxy = await startProxy([a.origin, b.origin], ['--redis', redis.url, ...flags]);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  if (count > 1) await untilPeers(redis, count);
  return { a, b, proxies, redis };
}

type Fields = Readonly<Record<string, string>>;
const bearing = (authorization: string): Fields => ({ authorization });
const PARAMS = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };

/** Somebody at the last proxy, with a session that was opened at the first one. */
function at({ proxies }: Scene, id: string, fields: Fields) {
  const { url } = proxies.at(-1)!;
  const headers = { ...fields, 'mcp-session-id': id };
  const call = async (name: string) => {
    const answer = await rawPost(url, { id: 2, method: 'tools/call', params: { name } }, headers);
    return answer.status === 200 ? /"text":"(\w+)"/.exec(JSON.stringify(answer.message))?.[1] : answer.status;
  };
  return {
    call,
    count: () => call('count'),
    list: async () => (await rawPost(url, { id: 3, method: 'tools/list' }, headers)).status,
    initialize: () => rawPost(url, { id: 9, method: 'initialize', params: PARAMS }, headers),
    end: async () => (await fetch(url, { method: 'DELETE', headers })).status,
    listen: async () => {
      const leave = new AbortController();
      undo.push(async () => leave.abort());
      return fetch(url, { headers: { ...headers, accept: 'text/event-stream' }, signal: leave.signal });
    },
  };
}

/** Opens at `a`, and calls once. */
async function open(scene: Scene, fields: Fields): Promise<string> {
  for (;;) {
    const { headers } = await rawPost(scene.proxies[0]!.url, { id: 0, method: 'initialize', params: PARAMS }, fields);
    const id = headers.get('mcp-session-id') ?? '';
    if (!scene.a.sessions.has(id)) continue;
    await rawPost(scene.proxies[0]!.url, { method: 'notifications/initialized' }, { ...fields, 'mcp-session-id': id });
    expect(await at(scene, id, fields).count()).toBe('a1');
    for (const { opened } of [scene.a, scene.b]) opened.splice(0);
    scene.b.asked.splice(0);
    return id;
  }
}

/** A POST with the fields as they are, repeated ones too. Resolves with its status. */
async function post(url: string, fields: readonly string[], message: object): Promise<number> {
  const { hostname, port, pathname } = new URL(url);
  const body = JSON.stringify({ jsonrpc: '2.0', ...message });
  const all = [...fields, ...Object.entries(POSTED).flat(), 'host', 'localhost', 'content-length', String(body.length)];
  return new Promise((resolve, reject) => {
    const asked = send({ hostname, port, path: pathname, method: 'POST', headers: all }, (answer) => {
      answer.resume().once('end', () => resolve(answer.statusCode ?? 0));
    });
    asked.once('error', reject).end(body);
  });
}
const COUNT = { id: 4, method: 'tools/call', params: { name: 'count' } };

async function withRedis<T>({ redis }: Scene, f: (direct: Redis) => Promise<T>): Promise<T> {
  const direct = new Redis(redis.url);
  try {
    return await f(direct);
  } finally {
    direct.disconnect();
  }
}
const recordOf = (scene: Scene, id: string) =>
  withRedis(scene, async (direct) => (await direct.hget(REDIS.session(sha256(id)), 'record')) ?? '');
/** What the home has said of a token is stored in the background. */
const untilOwner = (scene: Scene, id: string, token: string) =>
  until('the owner is stored', async () => (await recordOf(scene, id)).includes(sha256(token)));

describe('what the proxy compares is not what the server gets', () => {
  test('`Connection` names `Authorization`, and other credentials come beside it', async () => {
    const credentials = ({ request: { headers } }: Asked) =>
      headers.authorization ?? (typeof headers['x-api-key'] === 'string' ? `Key ${headers['x-api-key']}` : undefined);
    const scene = await begin(1, [], { credentials });
    const id = await open(scene, bearing(jwt('alice')));
    await scene.a.close();
    const fields = [
      'authorization',
      forged('alice'),
      'connection',
      'keep-alive, authorization',
      'x-api-key',
      'mallory-1',
    ];
    await post(scene.proxies[0]!.url, [...fields, 'mcp-session-id', id], COUNT);
    expect(scene.b.opened).toEqual([]);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('b1');
  });

  test('two `Authorization` fields, of which the server reads the last', async () => {
    const credentials = ({ request: { headersDistinct } }: Asked) => headersDistinct['authorization']?.at(-1);
    const scene = await begin(1, [], { credentials });
    const id = await open(scene, bearing(jwt('alice')));
    await scene.a.close();
    const fields = ['authorization', forged('alice'), 'authorization', jwt('mallory'), 'mcp-session-id', id];
    await post(scene.proxies[0]!.url, fields, COUNT);
    expect(scene.b.opened).toEqual([]);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('b1');
  });
});

describe('nobody has verified it', () => {
  test('a forged token ends no session whose home is dead', async () => {
    const scene = await begin();
    const id = await open(scene, bearing(jwt('alice')));
    await scene.a.close();
    await at(scene, id, bearing(forged('alice'))).end();
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('b1');
  });

  test('an `initialize` with a forged token that names a session does not end it', async () => {
    const scene = await begin();
    const id = await open(scene, bearing(jwt('alice')));
    await scene.a.close();
    expect((await at(scene, id, bearing(forged('alice'))).initialize()).status).toBe(401);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('b1');
  });
});

describe('a living home', () => {
  test('another client of the same user is unknown to the home: the session stays there', async () => {
    // As the Python SDK does it: the session's client, issuer and subject; to any other it is not there.
    const credentials = ({ request: { headers } }: Asked) => {
      const [, claims] = headers.authorization?.split('.') ?? [];
      if (claims === undefined) return headers.authorization;
      const { sub, client_id } = JSON.parse(Buffer.from(claims, 'base64url').toString());
      return `Bearer ${String(sub)}${String(client_id)}-1`;
    };
    const forbidden = ({ response, id }: Asked) =>
      sayJson(response, 404, { id: id ?? null, error: { code: -32_001, message: 'Session not found' } });
    const scene = await begin(1, [], { credentials, forbidden });
    const [mine, other] = [jwt('alice', { client_id: '1' }), jwt('alice', { client_id: '2' })];
    const id = await open(scene, bearing(mine));
    const answered = await at(scene, id, bearing(other)).count();
    // It may migrate to where it was.
    expect.soft([...scene.a.opened, ...scene.b.opened]).toEqual([]);
    expect.soft(answered).toBe(404);
    expect(await at(scene, id, bearing(mine)).count()).toBe('a2');
  });
});

describe('a stranger causes nothing', () => {
  test('no write in Redis: the session’s idle life is not renewed', async () => {
    const scene = await begin();
    const id = await open(scene, bearing(jwt('alice')));
    await withRedis(scene, async (direct) => {
      const key = REDIS.session(sha256(id));
      await direct.pexpire(key, 100_000);
      expect(await at(scene, id, bearing(jwt('mallory'))).count()).toBe(404);
      expect(await direct.pttl(key)).toBeLessThanOrEqual(100_000);
    });
  });

  test('his DELETE does not undo the owner’s', async () => {
    const scene = await begin();
    const id = await open(scene, bearing(jwt('alice')));
    const { a, b } = scene;
    const { before } = a;
    const held: Asked[] = [];
    a.before = (asked) => {
      if (before(asked)) return true;
      if (!asked.known || (asked.what !== 'DELETE' && asked.what !== 'tools/list')) return false;
      held.push(asked);
      return true;
    };
    const owner = at(scene, id, bearing(jwt('alice')));
    const reading = owner.list();
    await until('the call runs', () => held.length === 1);
    const ending = owner.end();
    await until('the DELETE is there', () => held.length === 2);
    expect(await at(scene, id, bearing(jwt('mallory'))).end()).toBe(404);
    // The home ends the session: what runs in it first, its answer to the DELETE later.
    a.sessions.delete(id);
    held[0]!.response.destroy();
    expect.soft(await reading).toBe(404);
    held[1]!.response.writeHead(200).end();
    expect(await ending).toBe(200);
    expect(b.opened).toEqual([]);
  });

  test('a candidate’s answer that the home has refused is not heard', async () => {
    const scene = await begin();
    const id = await open(scene, bearing('Bearer alice-1'));
    const before = await recordOf(scene, id);
    const answer = { id: 0, result: { roots: [] } };
    const fields = { ...bearing('Bearer mallory-1'), 'mcp-session-id': id };
    expect((await rawPost(scene.proxies[0]!.url, answer, fields)).status).toBe(403);
    await until('it would be stored', async () => (await recordOf(scene, id)) !== before, 500).catch(() => {});
    expect(await recordOf(scene, id)).toBe(before);
  });

  test('nor may a candidate’s DELETE that the home has not let pass cost the owner his session', async () => {
    const scene = await begin();
    const id = await open(scene, bearing('Bearer alice-1'));
    const { a } = scene;
    const { before } = a;
    const held: Asked[] = [];
    a.before = (asked) => {
      if (asked.what !== 'DELETE') return before(asked);
      // It takes long to find out about the token.
      held.push(asked);
      return true;
    };
    const thief = at(scene, id, bearing('Bearer mallory-1')).end();
    await until('the DELETE is there', () => held.length === 1);
    // Restarted in place.
    a.sessions.clear();
    expect(await at(scene, id, bearing('Bearer alice-1')).list()).toBe(200);
    held[0]!.response.writeHead(403).end();
    await thief;
  });
});

describe('a challenge', () => {
  test('at one proxy is known at the other by the time that the client sends its token there', async () => {
    const scene = await begin(2);
    const [first, second] = scene.proxies.map(({ url }) => url);
    const call = async (url: string, id: string, fields: Fields = {}) =>
      (await rawPost(url, COUNT, { ...fields, 'mcp-session-id': id })).status;
    const ids: string[] = [];
    for (let nth = 0; nth < 30; nth += 1) {
      const { headers } = await rawPost(first!, { id: 0, method: 'initialize', params: PARAMS });
      ids.push(headers.get('mcp-session-id') ?? '');
      await call(second!, ids.at(-1)!);
    }
    for (const one of [scene.a, scene.b]) {
      one.before = ({ request, response, id }) => {
        if (request.headers.authorization !== undefined) return false;
        sayJson(response, 401, { id: id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
        return true;
      };
    }
    const statuses = new Set<number>();
    for (const id of ids) {
      expect(await call(first!, id)).toBe(401);
      statuses.add(await call(second!, id, bearing(jwt('alice'))));
    }
    expect([...statuses]).toEqual([200]);
  });
});

describe('an owner keeps what is his', () => {
  test('a refreshed opaque token: an `initialize` that names the session of a dead home opens another', async () => {
    const scene = await begin();
    const id = await open(scene, bearing('Bearer alice-1'));
    await scene.a.close();
    const { status, headers } = await at(scene, id, bearing('Bearer alice-2')).initialize();
    expect([status, headers.get('mcp-session-id')]).toEqual([200, expect.stringMatching(/^b-/)]);
  });

  test('a token that the home has accepted by the head of its answer is the owner’s, though it died before its end', async () => {
    const scene = await begin(1, ['--hold-seconds', '1']);
    const id = await open(scene, bearing('Bearer alice-1'));
    const { a } = scene;
    let begun = false;
    const { after } = a;
    a.after = (asked) => {
      if (asked.what !== 'read') return after(asked);
      asked.response.writeHead(200, { 'content-type': 'text/event-stream' }).write('id: 1\ndata:\n\n');
      begun = true;
      return true;
    };
    const reading = at(scene, id, bearing('Bearer alice-2')).call('read');
    await until('the answer has begun', () => begun);
    await a.close();
    await reading;
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('b1');
  });

  test('a stream that is attached again by the proxy does not set the owner back to its older token', async () => {
    const scene = await begin(1, ['--hold-seconds', '1']);
    const id = await open(scene, bearing('Bearer alice-1'));
    const { a, b } = scene;
    const owner = at(scene, id, bearing('Bearer alice-1'));
    await owner.listen();
    await until('the stream is there', () => a.streams.length === 1);
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('a2');
    await untilOwner(scene, id, 'Bearer alice-2');
    a.streams[0]!.response.destroy();
    await until('the stream is there again', () => a.streams.length === 2);
    // What the proxy might have noted of it is stored before this is answered.
    expect(await at(scene, id, bearing('Bearer alice-2')).list()).toBe(200);
    const { before } = b;
    b.before = (asked) => {
      if (asked.request.headers.authorization !== 'Bearer alice-1') return before(asked);
      sayJson(asked.response, 401, { id: asked.id ?? null, error: { code: -32_000, message: 'expired' } });
      return true;
    };
    await a.close();
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('b1');
  });

  test('a long call that began with an older token does not set the owner back to it', async () => {
    const scene = await begin();
    const id = await open(scene, bearing('Bearer alice-1'));
    const { a } = scene;
    const { before } = a;
    const held: Asked[] = [];
    a.before = (asked) => {
      if (before(asked)) return true;
      if (asked.what !== 'read') return false;
      held.push(asked);
      return true;
    };
    const reading = at(scene, id, bearing('Bearer alice-2')).call('read');
    await until('the call runs', () => held.length === 1);
    expect(await at(scene, id, bearing('Bearer alice-3')).count()).toBe('a2');
    await untilOwner(scene, id, 'Bearer alice-3');
    sayJson(held[0]!.response, 200, { id: 2, result: { content: [{ type: 'text', text: 'late' }] } });
    expect(await reading).toBe('late');
    await until('the answer is noted', async () => JSON.parse(await recordOf(scene, id)).changes > 1);
    await a.close();
    expect(await at(scene, id, bearing('Bearer alice-3')).count()).toBe('b1');
  });

  test('a token that the home answers with an error in a 200 is not the owner’s', async () => {
    const forbidden = ({ response, id }: Asked) =>
      sayJson(response, 200, { id: id ?? null, error: { code: -32_001, message: 'Unauthorized' } });
    const scene = await begin(1, [], { forbidden });
    const id = await open(scene, bearing('Bearer alice-1'));
    await at(scene, id, bearing('Bearer mallory-1')).count();
    await until('it would be noted', async () => JSON.parse(await recordOf(scene, id)).changes > 1, 500).catch(
      () => {},
    );
    await scene.a.close();
    expect.soft(await at(scene, id, bearing('Bearer alice-1')).count()).toBe('b1');
    expect(await at(scene, id, bearing('Bearer mallory-1')).count()).not.toBe('b2');
    expect(scene.b.opened).not.toContain('Bearer mallory-1');
  });

  test('a stranger’s stream from before is not taken along to the new home', async () => {
    const scene = await begin();
    const id = await open(scene, {});
    const { a, b } = scene;
    const { before } = a;
    let challenging = false;
    a.before = (asked) => {
      const { user } = verify(asked.request.headers.authorization);
      if (user === 'alice') return false;
      if (!challenging) return before(asked);
      sayJson(asked.response, 401, { id: asked.id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
      return true;
    };
    await at(scene, id, {}).listen();
    await until('the stream is there', () => a.streams.length === 1);
    challenging = true;
    expect(await at(scene, id, {}).count()).toBe(401);
    await until('it is alice’s', async () => (await at(scene, id, bearing(jwt('alice'))).count()) !== 404);
    await until('nobody’s no more', async () => (await at(scene, id, {}).count()) === 404);
    // An order: the stream looks at what is due a moment later, and the call at once.
    const hash = sha256(id);
    const type = { 'content-type': 'application/json' };
    await fetch(`${scene.proxies[0]!.opsUrl}/sessions/${hash}/migrate`, { method: 'POST', headers: type });
    await until('alice’s call has moved it', async () => {
      await at(scene, id, bearing(jwt('alice'))).count();
      return b.opened.length > 0;
    });
    expect(b.asked).not.toContain('GET');
  });

  test('who forges his token does not keep the owner waiting', async () => {
    const scene = await begin();
    const id = await open(scene, bearing(jwt('alice')));
    const { a, b } = scene;
    const { before } = b;
    const looked: Asked[] = [];
    b.before = (asked) => {
      if (verify(asked.request.headers.authorization).valid) return before(asked);
      looked.push(asked);
      return true;
    };
    await a.close();
    const thieves = [1, 2, 3].map(() => at(scene, id, bearing(forged('alice'))).count());
    await until('the first is looked at', () => looked.length > 0);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('b1');
    // All forgers share one handshake.
    expect(looked.map(({ what }) => what)).toEqual(['initialize']);
    b.before = before;
    for (const one of looked) before(one);
    await Promise.all(thieves);
  });

  test('a stream that was opened without credentials does not migrate a session that somebody’s token has bound', async () => {
    const scene = await begin();
    const id = await open(scene, {});
    const { a, b } = scene;
    const { before } = a;
    let challenging = false;
    a.before = (asked) => {
      const { user } = verify(asked.request.headers.authorization);
      if (user === 'alice') return false;
      if (!challenging) return before(asked);
      sayJson(asked.response, 401, { id: asked.id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
      return true;
    };
    await at(scene, id, {}).listen();
    await until('the stream is there', () => a.streams.length === 1);
    challenging = true;
    expect(await at(scene, id, {}).count()).toBe(401);
    await until('it is alice’s', async () => (await at(scene, id, bearing(jwt('alice'))).count()) !== 404);
    await until('nobody’s no more', async () => (await at(scene, id, {}).count()) === 404);
    const headers = { 'content-type': 'application/json' };
    const host = new URL(a.origin).host;
    await fetch(`${scene.proxies[0]!.opsUrl}/backends/${host}/drain`, { method: 'POST', headers });
    // Longer than until a draining session's streams are looked at.
    await until('it is migrated', () => b.opened.length > 0, 4_000).catch(() => {});
    expect.soft(b.opened).not.toContain(undefined);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toMatch(/^[ab]\d$/);
  });

  test('a home that nobody can take over from is waited for, with a refreshed opaque token too', async () => {
    const a = await startGuarded('a');
    const gate = await openGate(Number(new URL(a.origin).port));
    const proxy = await startProxy([`http://127.0.0.1:${gate.port}`], []);
    undo.push(() => proxy.stop());
    const { headers } = await rawPost(
      proxy.url,
      { id: 0, method: 'initialize', params: PARAMS },
      bearing('Bearer alice-1'),
    );
    const id = headers.get('mcp-session-id') ?? '';
    const call = async (token: string) =>
      (await rawPost(proxy.url, COUNT, { ...bearing(token), 'mcp-session-id': id })).status;
    expect(await call('Bearer alice-1')).toBe(200);
    await gate.shut();
    const [owner, refreshed] = [call('Bearer alice-1'), call('Bearer alice-2')];
    await until('the proxy finds no way', () => proxy.events.some(({ type }) => type === 'suspect'));
    await gate.open();
    expect(await owner).toBe(200);
    expect(await refreshed).toBe(200);
  });
});

/** A port that leads to another, and can be shut: a connection there is refused then. */
async function openGate(to: number) {
  const sockets = new Set<Socket>();
  const server = createServer((from) => {
    const on = connect(to, '127.0.0.1');
    for (const one of [from, on]) {
      sockets.add(one);
      one
        .on('error', () => {})
        .once('close', () => {
          sockets.delete(one);
          from.destroy();
          on.destroy();
        });
    }
    from.pipe(on).pipe(from);
  });
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  };
  await listen(0);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const shut = async () => {
    const closed = once(server, 'close');
    server.close();
    for (const one of sockets) one.destroy();
    await closed;
  };
  undo.push(async () => server.listening && shut());
  return { port, shut, open: () => listen(port) };
}
