/** What backends hold of sessions that are over is closed, whoever opened it, and nothing that somebody uses. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, describe, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterAll(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly b: Plain; readonly redis: TestRedis | undefined; readonly direct: Redis };

async function begin(shared: boolean): Promise<Scene> {
  const [a, b] = await Promise.all([startPlain('a'), startPlain('b')]);
  const redis = shared ? await startRedis() : undefined;
  const direct = new Redis({ port: redis?.port ?? 1, lazyConnect: true });
  undo.push(
    () => a.close(),
    () => b.close(),
    () => redis?.close(),
    () => direct.disconnect(),
  );
  return { a, b, redis, direct };
}

async function proxyOf({ a, b, redis }: Scene, flags: readonly string[]): Promise<TestProxy> {
  const proxy = await startProxy([a.origin, b.origin], [...(redis ? ['--redis', redis.url] : []), ...flags]);
  undo.push(() => proxy.stop());
  return proxy;
}

const held = ({ a, b }: Scene) => a.sessions.size + b.sessions.size;
const times = ({ a, b }: Scene, what: string) => [...a.asked, ...b.asked].filter((one) => one === what).length;
const swept = (proxies: readonly TestProxy[]) => {
  const counts = { expired: 0, closed: 0, unknown: 0, refused: 0, failed: 0 };
  for (const event of proxies.flatMap(({ events }) => events)) {
    if (event.type !== 'sweep') continue;
    for (const what of ['expired', 'closed', 'unknown', 'refused', 'failed'] as const) counts[what] += event[what];
  }
  return counts;
};
const NONE = { expired: 0, closed: 0, unknown: 0, refused: 0, failed: 0 };

async function openMany(url: string, count: number): Promise<readonly string[]> {
  const opened = await Promise.all(Array.from({ length: count }, () => rawOpen(url)));
  return opened.map(({ id }) => id);
}

describe.concurrent.each([
  ['in memory', false],
  ['in Redis', true],
])('%s', (_what, shared) => {
  test('sessions that idle out are closed at their backends, and the one that is used is not', async ({ expect }) => {
    const scene = await begin(shared);
    const proxies = [await proxyOf(scene, ['--session-ttl', '2'])];
    if (shared) proxies.push(await proxyOf(scene, ['--session-ttl', '2']));
    const [used = ''] = await openMany(proxies[0]!.url, 21);
    expect(held(scene)).toBe(21);
    await until('the others are closed', async () => {
      expect((await rawPing(proxies[0]!.url, used)).status).toBe(200);
      return held(scene) === 1;
    });
    await until('that is told', () => swept(proxies).closed === 20);
    expect(swept(proxies)).toEqual({ ...NONE, expired: 20, closed: 20 });
    expect(times(scene, 'DELETE')).toBe(20);
    const metrics = await Promise.all(proxies.map(async ({ opsUrl }) => (await fetch(`${opsUrl}/metrics`)).text()));
    const counted = metrics.flatMap((text) => /closed_total\{outcome="closed"\} (\d+)/.exec(text)?.[1] ?? []);
    expect(counted.toSorted()).toEqual(shared ? ['0', '20'] : ['20']);
  });

  test('what backends refuse, do not know or do not answer is told, and nothing is left to do', async ({ expect }) => {
    const scene = await begin(shared);
    const proxy = await proxyOf(scene, ['--session-ttl', '1']);
    const ids = await openMany(proxy.url, 4);
    const statusOf = new Map(ids.map((id, at) => [id, [200, 404, 401, 405][at]!]));
    for (const one of [scene.a, scene.b]) {
      one.before = ({ what, session, response }) => {
        if (what !== 'DELETE') return false;
        response.writeHead(statusOf.get(session)!).end();
        return true;
      };
    }
    await until('all are asked', () => swept([proxy]).refused === 2);
    expect(swept([proxy])).toEqual({ ...NONE, expired: 4, closed: 1, unknown: 1, refused: 2 });
    if (!shared) return;
    await until('Redis keeps none', async () => (await scene.direct.keys(REDIS.backendSessions('*'))).length === 0);
  });
});

const hashOf = (id: string) => createHash('sha256').update(id).digest('hex');

/** Lets all that is kept of backend sessions fall due now. */
async function fallDue({ direct }: Scene): Promise<void> {
  for (const key of await direct.keys(REDIS.backendSessions('*'))) {
    for (const member of await direct.zrange(key, 0, '-1')) await direct.zadd(key, 'XX', 0, member);
  }
}

describe.concurrent('a proxy has died', () => {
  test('before it closed the old backend session of one that has migrated: another does', async ({ expect }) => {
    const scene = await begin(true);
    const [one, other] = [await proxyOf(scene, []), await proxyOf(scene, [])];
    await untilPeers(scene.redis!, 2);
    const { id } = await rawOpen(one.url);
    await rawPost(one.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
    const [home, next] = id.startsWith('a') ? [scene.a, scene.b] : [scene.b, scene.a];
    // It does not answer the DELETE, so the first proxy tries again and again.
    home.before = ({ what, response }) => what === 'DELETE' && (response.destroy(), true);
    const order = await fetch(`${one.opsUrl}/sessions/${hashOf(id)}/migrate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    expect(order.status).toBe(202);
    await until('it has migrated', async () => {
      expect((await rawPing(one.url, id)).status).toBe(200);
      return next.sessions.size === 1;
    });
    await one.stop();
    home.before = () => false;
    expect([home.sessions.size, next.sessions.size]).toEqual([1, 1]);
    await fallDue(scene);
    await until('the old one is closed', () => home.sessions.size === 0, 30_000);
    await until('that is told', () => swept([other]).closed > 0);
    expect(swept([other])).toEqual({ ...NONE, closed: 1 });
    expect((await rawPing(other.url, id)).status).toBe(200);
    expect(next.sessions.size).toBe(1);
  });

  test('with all sessions that it knew: they are closed when they have idled out', async ({ expect }) => {
    const scene = await begin(true);
    const one = await proxyOf(scene, ['--session-ttl', '2']);
    await openMany(one.url, 10);
    await one.stop();
    const other = await proxyOf(scene, ['--session-ttl', '2']);
    await until('they are closed', () => held(scene) === 0, 30_000);
    await until('that is told', () => swept([other]).closed === 10);
    expect(swept([other])).toEqual({ ...NONE, expired: 10, closed: 10 });
  });
});

test.concurrent('what falls due and is in use stays, whatever Redis has forgotten of it', async ({ expect }) => {
  const scene = await begin(true);
  const proxies = [await proxyOf(scene, []), await proxyOf(scene, [])];
  await untilPeers(scene.redis!, 2);
  const ids = await openMany(proxies[0]!.url, 5);
  await until('all are kept', async () => {
    const keys = await scene.direct.keys(REDIS.backendSessions('*'));
    const counts = await Promise.all(keys.map((key) => scene.direct.zcard(key)));
    return counts.reduce((sum, count) => sum + count, 0) === 5;
  });
  await scene.direct.del(...ids.map((id) => REDIS.session(hashOf(id))));
  await fallDue(scene);
  await until(
    'they are put back',
    async () => (await scene.direct.exists(...ids.map((id) => REDIS.session(hashOf(id))))) === 5,
    15_000,
  );
  for (const id of ids) expect((await rawPing(proxies[1]!.url, id)).status).toBe(200);
  expect([held(scene), times(scene, 'DELETE')]).toEqual([5, 0]);
});

test.concurrent('what its client has ended is not closed again; what an operator has ended where nobody knows its id is', async ({
  expect,
}) => {
  const scene = await begin(true);
  const one = await proxyOf(scene, ['--session-ttl', '4']);
  const [ended = '', ordered = ''] = await openMany(one.url, 2);
  expect(await rawStatus(one.url, 'DELETE', ended)).toBe(200);
  await one.stop();
  const other = await proxyOf(scene, ['--session-ttl', '4']);
  const order = await fetch(`${other.opsUrl}/sessions/${hashOf(ordered)}`, {
    method: 'DELETE',
    headers: { 'content-type': 'application/json' },
  });
  expect(await order.json()).toMatchObject({ home: 'not told' });
  await until('it is closed', () => held(scene) === 0);
  await until('that is told', () => swept([other]).closed === 1);
  expect(times(scene, 'DELETE')).toBe(2);
});
