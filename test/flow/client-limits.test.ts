/** What one client may have, or ask for: beyond it there is 429, other clients go on, and no server hears of it. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { type RawAnswer, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly proxies: readonly TestProxy[]; readonly redis: TestRedis | undefined };

/** A proxy alone keeps its sessions in memory. */
async function begin(count: number, flags: readonly string[]): Promise<Scene> {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const redis = count > 1 ? await startRedis() : undefined;
  if (redis !== undefined) undo.push(() => redis.close());
  const proxies: TestProxy[] = [];
  for (let nth = 0; nth < count; nth += 1) {
    const shared = redis === undefined ? [] : ['--redis', redis.url];
    const proxy = await startProxy([a.origin], ['--trust-proxy', '1', ...shared, ...flags]);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  if (redis !== undefined) await untilPeers(redis, count);
  return { a, proxies, redis };
}

type Fields = Readonly<Record<string, string>>;
const from = (address: string): Fields => ({ 'x-forwarded-for': address });
const PARAMS = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };

const opening = ({ proxies }: Scene, at: number, fields: Fields): Promise<RawAnswer> =>
  rawPost(proxies[at % proxies.length]!.url, { id: 7, method: 'initialize', params: PARAMS }, fields);
const idOf = ({ headers }: RawAnswer): string => headers.get('mcp-session-id') ?? '';
const limits = ({ proxies }: Scene): readonly string[] =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'limited' ? [event.limit] : [])));

/** A refusal as the client reads it: status, seconds until it may try again, and what is said. */
function refusal({ status, headers, message }: RawAnswer): unknown {
  return { status, again: Number(headers.get('retry-after')), message };
}
const refused = (again: unknown, message: string, id: number | null = 7) => ({
  status: 429,
  again,
  message: { jsonrpc: '2.0', id, error: { code: -32_000, message: expect.stringContaining(message) } },
});

describe('listening streams of a session', () => {
  /** Resolves with its status, and what ends it. */
  async function listen(
    { proxies }: Scene,
    id: string,
  ): Promise<{ readonly status: number; readonly leave: () => void }> {
    const leaving = new AbortController();
    const headers = { accept: 'text/event-stream', 'mcp-session-id': id };
    const { status } = await fetch(proxies[0]!.url, { headers, signal: leaving.signal });
    return { status, leave: () => leaving.abort() };
  }

  test('beyond --max-streams-per-session: 429, and the session and its other streams go on', async () => {
    const scene = await begin(1, ['--max-streams-per-session', '2']);
    const [id, other] = [idOf(await opening(scene, 0, {})), idOf(await opening(scene, 0, {}))];
    const first = await listen(scene, id);
    expect([first.status, (await listen(scene, id)).status]).toEqual([200, 200]);
    const { url } = scene.proxies[0]!;
    const third = await fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
    const answer = { status: third.status, headers: third.headers, message: await third.json() };
    expect(refusal(answer)).toEqual(refused(5, 'Too many streams', null));
    expect(scene.a.streams).toHaveLength(2);
    expect((await listen(scene, other)).status).toBe(200);
    expect((await rawPost(url, { id: 1, method: 'ping' }, { 'mcp-session-id': id })).status).toBe(200);
    first.leave();
    await until('another has its place', async () => (await listen(scene, id)).status === 200);
    expect(new Set(limits(scene))).toEqual(new Set(['streams']));
  });

  test('16 by default', async () => {
    const scene = await begin(1, []);
    const id = idOf(await opening(scene, 0, {}));
    const all = await Promise.all(Array.from({ length: 40 }, () => listen(scene, id)));
    expect(all.filter(({ status }) => status === 200)).toHaveLength(16);
    expect(limits(scene)).toHaveLength(24);
  });
});

const jwt = (sub: string): Fields => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return { authorization: `Bearer ${part({ alg: 'RS256' })}.${part({ iss: 'https://issuer', sub })}.x` };
};
const close = ({ proxies }: Scene, at: number, id: string, fields: Fields) =>
  fetch(proxies[at % proxies.length]!.url, { method: 'DELETE', headers: { ...fields, 'mcp-session-id': id } });

/** One after the other, each at the next proxy. */
async function openings(scene: Scene, all: readonly Fields[]): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (const [at, fields] of all.entries()) statuses.push((await opening(scene, at, fields)).status);
  return statuses;
}

describe.each([1, 2])('%i proxies', (count) => {
  describe.each([
    ['owner', ['--max-sessions-per-owner', '2'], jwt('alice'), [jwt('bob'), {}, {}, {}]],
    ['client', ['--max-sessions-per-client', '2'], from('10.0.0.1'), [from('10.0.0.2')]],
  ])('sessions per %s', (what, flags, fields, others) => {
    const message = what === 'owner' ? 'Too many sessions: you' : 'Too many sessions: your address';

    test('beyond: 429 before a server hears of it; others open theirs; an end frees a place', async () => {
      const scene = await begin(count, flags);
      const ids = [idOf(await opening(scene, 0, fields)), idOf(await opening(scene, 1, fields))];
      for (const at of [0, 1]) {
        expect(refusal(await opening(scene, at, fields))).toEqual(refused(30, message));
      }
      expect(scene.a.asked).toEqual(['initialize', 'initialize']);
      expect(await openings(scene, others)).toEqual(others.map(() => 200));
      expect(
        (await rawPost(scene.proxies[0]!.url, { id: 1, method: 'ping' }, { ...fields, 'mcp-session-id': ids[1]! }))
          .status,
      ).toBe(200);
      expect((await close(scene, 1, ids[0]!, fields)).status).toBe(200);
      expect(await openings(scene, [fields, fields])).toEqual([200, 429]);
    });

    test('many at once: as many as there are places', async () => {
      const scene = await begin(count, flags);
      const all = await Promise.all(Array.from({ length: 12 }, (_, at) => opening(scene, at, fields)));
      expect(all.filter(({ status }) => status === 200)).toHaveLength(2);
      expect(scene.a.sessions.size).toBe(2);
    });

    test('an `initialize` that fails keeps no place', async () => {
      const scene = await begin(count, flags);
      scene.a.before = ({ what: asked, response }) => {
        if (asked === 'initialize') response.writeHead(401).end();
        return asked === 'initialize';
      };
      expect(await openings(scene, [fields, fields, fields])).toEqual([401, 401, 401]);
      scene.a.before = () => false;
      expect(await openings(scene, [fields, fields, fields])).toEqual([200, 200, 429]);
    });

    test('a session that expires frees its place', async () => {
      const scene = await begin(count, [...flags, '--session-ttl', '1']);
      expect(await openings(scene, [fields, fields, fields])).toEqual([200, 200, 429]);
      await until('they have expired', async () => (await opening(scene, 0, fields)).status === 200);
    });

    test('one that an operator ends frees its place', async () => {
      const scene = await begin(count, flags);
      const id = idOf(await opening(scene, 0, fields));
      expect(await openings(scene, [fields, fields])).toEqual([200, 429]);
      const hash = createHash('sha256').update(id).digest('hex');
      const order = { method: 'DELETE', headers: { 'content-type': 'application/json' } };
      expect((await fetch(`${scene.proxies[0]!.opsUrl}/sessions/${hash}`, order)).status).toBe(200);
      await until('there is a place', async () => (await opening(scene, 1, fields)).status === 200);
      expect((await opening(scene, 0, fields)).status).toBe(429);
    });
  });

  test('a session that goes on counts beyond the idle life that it began with', async () => {
    const scene = await begin(count, ['--max-sessions-per-owner', '1', '--session-ttl', '1']);
    const alice = jwt('alice');
    const id = idOf(await opening(scene, 0, alice));
    const opened = performance.now();
    await until('it has lived on', async () => {
      const ping = await rawPost(scene.proxies[0]!.url, { id: 1, method: 'ping' }, { ...alice, 'mcp-session-id': id });
      expect(ping.status).toBe(200);
      return performance.now() - opened > 1_500;
    });
    expect((await opening(scene, 1, alice)).status).toBe(429);
  });

  test('an IPv6 client counts by its /64', async () => {
    const scene = await begin(count, ['--max-sessions-per-client', '1']);
    const all = [
      '2001:db8::1',
      '2001:0db8:0:0:ff::2',
      '2001:db8:0:1::1',
      '::ffff:10.0.0.1',
      '10.0.0.1',
      'nonsense',
      'x y',
    ];
    expect(await openings(scene, all.map(from))).toEqual([200, 429, 200, 200, 429, 200, 429]);
  });

  test('`initialize` beyond --initialize-rate: 429 until the next token; others are served', async () => {
    const scene = await begin(count, ['--initialize-rate', '3/min']);
    const client = from('10.0.0.1');
    expect(await openings(scene, [client, client, client])).toEqual([200, 200, 200]);
    for (const at of [0, 1]) {
      const answer = await opening(scene, at, client);
      expect(refusal(answer)).toEqual(refused(expect.any(Number), 'too many initialize'));
      const again = Number(answer.headers.get('retry-after'));
      expect(again > 10 && again <= 20).toBe(true);
    }
    expect(scene.a.asked).toEqual(['initialize', 'initialize', 'initialize']);
    expect(await openings(scene, [from('10.0.0.2'), from('10.0.0.3')])).toEqual([200, 200]);
    expect(limits(scene)).toEqual(['initializes', 'initializes']);
  });

  test('many at once take as many tokens as there are', async () => {
    const scene = await begin(count, ['--initialize-rate', '5/min']);
    const all = await Promise.all(Array.from({ length: 20 }, (_, at) => opening(scene, at, from('10.0.0.1'))));
    expect(all.filter(({ status }) => status === 200)).toHaveLength(5);
  });
});

test('while Redis is away each proxy counts `initialize`s itself', async () => {
  const scene = await begin(2, ['--initialize-rate', '3/min']);
  await scene.redis?.kill9();
  const statuses = await openings(
    scene,
    Array.from({ length: 10 }, () => from('10.0.0.1')),
  );
  expect(statuses.filter((status) => status === 429)).toHaveLength(4);
});

test('what is limited is kept in Redis only while it is, and names nobody', async () => {
  const scene = await begin(2, [
    '--max-sessions-per-owner',
    '5',
    '--max-sessions-per-client',
    '5',
    '--initialize-rate',
    '9/min',
  ]);
  await opening(scene, 0, { ...jwt('alice'), ...from('10.0.0.1') });
  const direct = new Redis(scene.redis!.url);
  try {
    const keys = (await direct.keys('mcp-affinity:limit:*')).toSorted();
    expect(keys.map((key) => key.replace(/[0-9a-f]{64}$/, 'hash'))).toEqual(
      ['client', 'initialize', 'owner'].map((what) => `mcp-affinity:limit:${what}:hash`),
    );
    for (const key of keys) expect(await direct.pttl(key)).toBeGreaterThan(0);
  } finally {
    direct.disconnect();
  }
});
