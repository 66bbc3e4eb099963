/** Twenty-four hours of sessions in some seconds: what is used lives, and when all are gone nothing of them is left. */

import { setImmediate as turn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterEach, expect, test, vi } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { type RedisConnection, connectRedis } from '../../proxy/redis/connection.ts';
import { cachedSessions } from '../../proxy/sessions/cached.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { type Day, IDLE_LIFE, MAX_AGE, STEP, startDay } from '../house/day.ts';
import { startRedis } from '../house/redis.ts';

const A_DAY = 24 * 6;
/** Steps after which whatever idles out has, and what is remembered of it is forgotten. */
const AFTER = 10 * 6;
const ttlSeconds = IDLE_LIFE;
const maxAgeSeconds = MAX_AGE;

const undo: (() => unknown)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const one of undo.splice(0).toReversed()) await one();
});

/** Its end; returns how many sessions there were. */
async function livesThrough(day: Day, coming: number): Promise<number> {
  await day.live(A_DAY, coming);
  expect(day.faults).toEqual([]);
  expect(day.held()).toBeGreaterThan(coming);
  await day.live(AFTER, 0);
  expect(day.faults).toEqual([]);
  expect(day.held()).toBe(0);
  const { expired, closed, failed, refused } = day.told();
  expect([failed, refused]).toEqual([0, 0]);
  expect(expired).toBeGreaterThan(day.opened() / 2);
  expect(closed).toBeGreaterThan(expired);
  return day.opened();
}

test('in memory', async () => {
  vi.useFakeTimers();
  const now = Date.now;
  const { backendSessions, ...sessions } = memorySessions({ ttlSeconds, maxAgeSeconds, now });
  const day = await startDay({
    now,
    proxies: 1,
    open: async ({ calls }) => ({
      sessions,
      backendSessions,
      use: async (ids) => ({ lives: new Set<string>(), calls: new Set(ids.filter(calls)) }),
    }),
    async pass() {
      await vi.advanceTimersByTimeAsync(STEP);
    },
  });
  expect(await livesThrough(day, 100)).toBe(100 * A_DAY);
  expect((await sessions.countByBackend()).size).toBe(0);
  expect(await backendSessions.due(['a', 'b', 'c'], 10)).toEqual([]);
  await day.close();
  expect(vi.getTimerCount()).toBe(0);
});

/** Lets a step pass for all that Redis is to forget, which it does by its own clock. */
const AGE = `
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end`;

test('in Redis, at two proxies', async () => {
  const redis = await startRedis();
  undo.push(() => redis.close());
  const direct = new Redis(redis.url);
  undo.push(() => direct.disconnect());
  const connections: RedisConnection[] = [];
  const known = new Set<string>();
  // Those of the connections, which real time passes for, are made before.
  for (let at = 0; at < 2; at += 1) {
    const connection = connectRedis({ url: redis.url, record() {} });
    undo.push(() => connection.close());
    connection.link.hear(REDIS.changes, () => {});
    await new Promise<void>((resolve) => void connection.link.onLink((linked) => linked && resolve()));
    connections.push(connection);
  }
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
  const now = Date.now;
  /** What was begun in the background has had its answer. */
  async function settle(): Promise<void> {
    for (let at = 0; at < 4; at += 1) {
      await Promise.all(connections.map(({ client }) => client.ping()));
      await turn();
    }
  }
  let opened = 0;
  const day = await startDay({
    now,
    proxies: 2,
    async open(serving) {
      const connection = connections[(opened += 1) - 1]!;
      const { backendSessions, ...store } = redisSessions({ redis: connection, ttlSeconds, maxAgeSeconds, now });
      const heard = {
        ...store,
        find: (id: string) => (known.add(id), store.find(id)),
        forget: (id: string) => (known.delete(id), store.forget(id)),
      };
      const sessions = cachedSessions(heard, { ttlSeconds, serving, now });
      return { sessions, backendSessions, use: sessions.use };
    },
    async pass() {
      await vi.advanceTimersByTimeAsync(STEP);
      await settle();
      await direct.eval(AGE, 0, STEP);
    },
  });
  expect(await livesThrough(day, 20)).toBe(20 * A_DAY);
  expect([...known]).toEqual([]);
  await day.close();
  await settle();
  // Neither sessions nor ends, nor anything beside them.
  expect(await direct.keys('*')).toEqual([REDIS.memory]);
  expect(vi.getTimerCount()).toBe(0);
}, 60_000);
