/** A session is its owner's: who else knows its id gets what an unknown one gets, and causes nothing. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { jwt } from '../house/tokens.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
/** The user of a token: of an opaque one what stands before its number. */
function userOf(authorization: string | undefined): string {
  const [, token = ''] = authorization?.split(' ') ?? [];
  const [, claims] = token.split('.');
  if (claims === undefined) return token.split('-')[0] ?? '';
  return String(JSON.parse(Buffer.from(claims, 'base64url').toString()).sub);
}

/** A server that takes a session's user from `initialize`, and lets nobody else use it. */
async function startGuarded(name: string): Promise<Plain> {
  const plain = await startPlain(name);
  const users = new Map<string, string>();
  plain.before = (asked) => refused(asked, users.get(asked.session));
  plain.after = ({ what, session, request }) => {
    if (what === 'initialize') users.set(session, userOf(request.headers.authorization));
    return false;
  };
  undo.push(() => plain.close());
  return plain;
}

function refused({ known, request, response, id }: Asked, user: string | undefined): boolean {
  const asks = userOf(request.headers.authorization);
  if (asks.startsWith('expired'))
    sayJson(response, 401, { id: id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
  else if (known && asks !== user)
    sayJson(response, 403, { id: id ?? null, error: { code: -32_000, message: 'Forbidden' } });
  else return false;
  return true;
}

type Scene = {
  readonly a: Plain;
  readonly b: Plain;
  readonly proxies: readonly TestProxy[];
  readonly redis: TestRedis;
};

/** Sessions open at `a`: `b` is there a moment later. */
async function begin(count: number, flags: readonly string[] = []): Promise<Scene> {
  const [a, b] = [await startGuarded('a'), await startGuarded('b')];
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
  const post = (message: object) => rawPost(url, message, headers);
  return {
    ping: async () => (await post({ id: 1, method: 'ping' })).status,
    count: async () => {
      const { status, message } = await post({ id: 2, method: 'tools/call', params: { name: 'count' } });
      return status === 200 ? /"text":"(\w+)"/.exec(JSON.stringify(message))?.[1] : status;
    },
    /** Whatever a client may send. */
    statuses: async () => {
      const answers = [
        await post({ id: 3, method: 'ping' }),
        await post({ id: 4, method: 'tools/call', params: { name: 'count' } }),
        await post({ id: 5, method: 'tools/list' }),
        await post({ method: 'notifications/cancelled', params: { requestId: 4 } }),
        await post({ id: 's|0', result: { roots: [] } }),
        await fetch(url, { headers: { ...headers, accept: 'text/event-stream' } }),
        await fetch(url, { method: 'DELETE', headers }),
      ];
      return [...new Set(answers.map(({ status }) => status))];
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
    return id;
  }
}

/** What the home has said of a token is stored in the background. */
async function untilOwner({ redis }: Scene, id: string, token: string): Promise<void> {
  const direct = new Redis(redis.url);
  try {
    await until('the owner is stored', async () =>
      ((await direct.hget(REDIS.session(sha256(id)), 'record')) ?? '').includes(sha256(token)),
    );
  } finally {
    direct.disconnect();
  }
}

const forget = ({ a, b }: Scene) => [a, b].forEach(({ asked }) => asked.splice(0));
const asked = ({ a, b }: Scene) => [a, b].flatMap((one) => one.asked).filter((what) => what !== 'DELETE');
const migrations = ({ proxies }: Scene) =>
  proxies.flatMap(({ events }) => events).filter(({ type }) => type === 'migration').length;

const STRANGERS: readonly (readonly [string, Fields])[] = [
  ['a token of somebody else', bearing(jwt('mallory'))],
  ['an opaque token', bearing('Bearer mallory-1')],
  ['no credentials', {}],
];

describe.each([1, 2])('%i proxies', (count) => {
  test.each(STRANGERS)('%s: unknown while the home lives, and once it is dead', async (_what, fields) => {
    const scene = await begin(count);
    const id = await open(scene, bearing(jwt('alice')));
    forget(scene);
    expect(await at(scene, id, fields).statuses()).toEqual([404]);
    expect(asked(scene)).toEqual([]);

    await scene.a.close();
    expect(await at(scene, id, fields).statuses()).toEqual([404]);
    expect(asked(scene)).toEqual([]);

    expect(await at(scene, id, bearing(jwt('alice', '2'))).count()).toBe('b1');
    expect(migrations(scene)).toBe(1);
    forget(scene);
    expect(await at(scene, id, fields).statuses()).toEqual([404]);
    expect(asked(scene)).toEqual([]);
    expect(await at(scene, id, bearing(jwt('alice', '3'))).count()).toBe('b2');
  });

  test('the same words for a stranger as for an unknown id', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing(jwt('alice')));
    const { url } = scene.proxies.at(-1)!;
    const say = (session: string) =>
      rawPost(url, { id: 7, method: 'ping' }, { ...bearing(jwt('mallory')), 'mcp-session-id': session });
    const [unknown, stranger] = [await say('nobody-knows-it'), await say(id)];
    expect(stranger.message).toEqual(unknown.message);
    const fieldsOf = ({ headers }: { readonly headers: Headers }) => [...headers.keys()].toSorted();
    expect(fieldsOf(stranger)).toEqual(fieldsOf(unknown));
  });

  test('an `initialize` that names somebody else’s session opens another', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing(jwt('alice')));
    const fields = { ...bearing(jwt('mallory')), 'mcp-session-id': id };
    const { headers } = await rawPost(
      scene.proxies.at(-1)!.url,
      { id: 0, method: 'initialize', params: PARAMS },
      fields,
    );
    expect(headers.get('mcp-session-id')).not.toBe(id);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('a2');
  });

  test('an opaque token that the home has accepted is the owner’s from then on', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing('Bearer alice-1'));
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('a2');
    expect(await at(scene, id, bearing('Bearer mallory-1')).count()).toBe(403);
    await untilOwner(scene, id, 'Bearer alice-2');
    await scene.a.close();
    forget(scene);
    for (const token of ['Bearer mallory-1', 'Bearer alice-3', 'Bearer alice-1']) {
      expect(await at(scene, id, bearing(token)).count()).toBe(404);
    }
    expect(scene.b.asked).toEqual([]);
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('b1');
    expect(await at(scene, id, bearing('Bearer alice-3')).count()).toBe('b2');
    expect(migrations(scene)).toBe(1);
  });

  test('a candidate is asked of no home but by his own request, and cannot end what the home does not let him', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing('Bearer alice-1'));
    forget(scene);
    expect(await at(scene, id, bearing('Bearer mallory-1')).statuses()).toEqual([403]);
    expect(scene.a.asked.filter((what) => what === 'ping')).toEqual(['ping']);
    scene.a.sessions.clear();
    forget(scene);
    expect(await at(scene, id, bearing('Bearer mallory-1')).statuses()).toEqual([404]);
    expect(scene.a.asked.filter((what) => what === 'ping')).toEqual(['ping']);
    expect(asked(scene)).not.toContain('initialize');
    expect(await at(scene, id, bearing('Bearer alice-1')).ping()).toBe(200);
    expect(migrations(scene)).toBe(1);
  });

  test('a candidate whose home drains is judged there, and migrates then', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing('Bearer alice-1'));
    const { before } = scene.a;
    scene.a.before = (one) => {
      if (one.request.headers['mcp-affinity-stay'] !== undefined || one.what === 'DELETE') return before(one);
      one.response.writeHead(421, { 'mcp-affinity-mark': 'draining' }).end();
      return true;
    };
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('a2');
    await untilOwner(scene, id, 'Bearer alice-2');
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('b1');
  });

  test('without credentials all goes on as ever, and nobody takes it over who has some', async () => {
    const scene = await begin(count);
    const id = await open(scene, {});
    await scene.a.close();
    forget(scene);
    expect(await at(scene, id, bearing(jwt('mallory'))).statuses()).toEqual([404]);
    expect(scene.b.asked).toEqual([]);
    expect(await at(scene, id, {}).count()).toBe('b1');
  });

  test('a challenge in between: the first that the home accepts is the owner', async () => {
    const scene = await begin(count);
    const id = await open(scene, {});
    const { before } = scene.a;
    let challenging = true;
    scene.a.before = (one) => {
      const user = userOf(one.request.headers.authorization);
      if (!challenging || user === 'alice') return false;
      sayJson(one.response, 401, { id: one.id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
      return true;
    };
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe(404);
    expect(await at(scene, id, {}).count()).toBe(401);
    await until('the challenge is known', async () => (await at(scene, id, bearing(jwt('mallory'))).count()) === 401);
    expect(await at(scene, id, bearing(jwt('alice'))).count()).toBe('a2');
    challenging = false;
    scene.a.before = before;
    await until('it is his', async () => (await at(scene, id, {}).count()) === 404);
    await scene.a.close();
    expect(await at(scene, id, bearing(jwt('mallory'))).count()).toBe(404);
    expect(await at(scene, id, {}).count()).toBe(404);
    expect(await at(scene, id, bearing(jwt('alice', '2'))).count()).toBe('b1');
  });

  test('by a header that the load balancer sets', async () => {
    const scene = await begin(count, ['--bind-owner', 'header:X-User']);
    const id = await open(scene, { 'x-user': 'alice', authorization: 'Bearer alice-1' });
    await scene.a.close();
    for (const fields of [
      { 'x-user': 'mallory' },
      bearing('Bearer alice-1'),
      { ...bearing('Bearer alice-1'), 'x-user': 'Alice' },
    ]) {
      expect(await at(scene, id, fields).count()).toBe(404);
    }
    expect(await at(scene, id, { 'x-user': 'alice', authorization: 'Bearer alice-2' }).count()).toBe('b1');
  });

  test('told apart by nothing', async () => {
    const scene = await begin(count, ['--bind-owner', 'none']);
    const id = await open(scene, bearing('Bearer alice-1'));
    await scene.a.close();
    expect(await at(scene, id, bearing('Bearer alice-2')).count()).toBe('b1');
  });

  test('credentials that a new home refuses leave the session to its owner', async () => {
    const scene = await begin(count);
    const id = await open(scene, bearing(jwt('alice')));
    const forged = jwt('alice', 'forged');
    const { before } = scene.b;
    scene.b.before = (one) => {
      if (one.request.headers.authorization !== forged) return before(one);
      sayJson(one.response, 401, { id: one.id ?? null, error: { code: -32_000, message: 'Unauthorized' } });
      return true;
    };
    await scene.a.close();
    expect(await at(scene, id, bearing(forged)).count()).toBe(401);
    expect(await at(scene, id, bearing(jwt('alice', '2'))).count()).toBe('b1');
  });
});
