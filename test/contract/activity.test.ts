/** What goes on in sessions, in memory and in Redis: entries and claims shut each other out, at every proxy. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { memoryActivity } from '../../proxy/activity/memory.ts';
import { type ActivityOptions, redisActivity } from '../../proxy/activity/redis.ts';
import { type Activity, REDIS, SessionsUnavailable } from '../../proxy/contract.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

let server: TestRedis;
let direct: Redis;
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.url);
});
afterAll(async () => {
  direct.disconnect();
  await server.close();
});

function overRedis(options: ActivityOptions = {}, url = server.url): Activity {
  const redis = connectRedis({ url, record: () => {} });
  const activity = redisActivity(redis, options);
  onTestFinished(() => {
    activity.close();
    redis.close();
  });
  return activity;
}

describe.each<[string, () => readonly [Activity, Activity]]>([
  [
    'memory',
    () => {
      const activity = memoryActivity();
      return [activity, activity];
    },
  ],
  ['redis, two proxies', () => [overRedis(), overRedis()]],
])('in %s', (name, make) => {
  test('what goes on keeps a session from being claimed, until the last of it has left', async () => {
    const [one, other] = make();
    const session = `${name} busy`;
    expect([await one.enter(session, 'x'), await other.enter(session, 'y')]).toEqual(['entered', 'entered']);
    await one.leave(session, 'x');
    expect(await one.claim(session)).toBeUndefined();
    await other.leave(session, 'y');
    await other.leave(session, 'y');
    expect(await one.claim(session)).toBeDefined();
  });

  test('a claim keeps everything out, another claim too, until it is released', async () => {
    const [one, other] = make();
    const session = `${name} claimed`;
    const release = await one.claim(session);
    expect(await other.claim(session)).toBeUndefined();
    expect(await other.enter(session, 'x')).toBe('moving');
    expect(await other.enter(`${name} elsewhere`, 'x')).toBe('entered');
    await release?.();
    expect(await other.enter(session, 'x')).toBe('entered');
    await release?.();
    expect(await one.claim(session)).toBeUndefined();
  });
});

describe('in redis', () => {
  test('what a dead proxy has entered counts for a minute', async () => {
    await overRedis().enter('of the dead', 'x');
    expect(await overRedis({ now: () => Date.now() + 50_000 }).claim('of the dead')).toBeUndefined();
    expect(await overRedis({ now: () => Date.now() + 61_000 }).claim('of the dead')).toBeDefined();
  });

  test('what another proxy has taken out, an answer, is not brought back; what goes on is renewed', async () => {
    const one = overRedis({ renewEveryMs: 20 });
    const session = 'asked and answered';
    await one.enter(session, 'question');
    await one.enter('goes on', 'x');
    await overRedis().leave(session, 'question');
    const key = REDIS.busy(createHash('sha256').update('goes on').digest('hex'));
    const score = await direct.zscore(key, 'x');
    await until('it is renewed', async () => (await direct.zscore(key, 'x')) !== score);
    expect(await overRedis().claim(session)).toBeDefined();
  });

  test('nothing is kept for ever, and nothing names a session', async () => {
    const activity = overRedis();
    await activity.enter('kept', 'x');
    await activity.claim('another');
    const hash = (id: string) => createHash('sha256').update(id).digest('hex');
    const [entry, claim] = [REDIS.busy(hash('kept')), REDIS.claim(hash('another'))];
    expect(await direct.pttl(entry)).toBeGreaterThan(50_000);
    expect(await direct.pttl(claim)).toBeGreaterThan(20_000);
    expect((await direct.keys('*')).join(' ')).not.toMatch(/kept|another/);
  });

  test('while it cannot be reached, it says so', async () => {
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    const activity = overRedis(undefined, redis.url);
    await activity.enter('s', 'x');
    await redis.close();
    await expect(activity.enter('s', 'y')).rejects.toThrow(SessionsUnavailable);
    await expect(activity.claim('s')).rejects.toThrow(SessionsUnavailable);
    await expect(activity.leave('s', 'x')).rejects.toThrow(SessionsUnavailable);
  });
});
