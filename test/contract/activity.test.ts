/** What goes on in sessions, in memory and in Redis: entries and claims shut each other out, at every proxy. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
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
  });
});

describe('what Redis did not hear in time', () => {
  let one: Activity;
  let other: Activity;
  beforeEach(() => {
    [one, other] = [overRedis(), overRedis()];
  });
  /** The commands are refused while `f` runs. */
  async function refused(commands: string, f: () => Promise<unknown>): Promise<void> {
    await direct.acl('SETUSER', 'default', `-${commands}`);
    try {
      await f();
    } finally {
      await direct.acl('SETUSER', 'default', `+${commands}`);
    }
  }
  /** Redis hangs while `f` runs: what it is sent then it carries out later. */
  async function hung(f: () => Promise<unknown>): Promise<void> {
    server.pause();
    await f().finally(() => server.resume());
  }
  const soonClaimed = (session: string) =>
    until('it is claimed', async () => (await other.claim(session).catch(() => undefined)) !== undefined, 10_000);

  test('is said when it hears again: that something has left', async () => {
    await one.enter('left', 'x');
    await refused('zrem', () => one.leave('left', 'x'));
    expect(await other.claim('left')).toBeUndefined();
    await soonClaimed('left');
  });

  test('is said when it hears again: that something has begun', async () => {
    await refused('@scripting', () => expect(one.enter('begun', 'x')).rejects.toThrow(SessionsUnavailable));
    const key = REDIS.busy(createHash('sha256').update('begun').digest('hex'));
    await until('it is entered', async () => (await direct.zscore(key, 'x')) !== null);
    await one.leave('begun', 'x');
    expect(await other.claim('begun')).toBeDefined();
  });

  test('is not said when it is not true any more', async () => {
    await refused('@scripting', () => expect(one.enter('over', 'x')).rejects.toThrow(SessionsUnavailable));
    await one.leave('over', 'x');
    await one.enter('over', 'y');
    await one.leave('over', 'y');
    expect(await other.claim('over')).toBeDefined();
  });

  test('is taken back, where it may have heard it', async () => {
    await hung(() => expect(one.claim('taken back')).rejects.toThrow(SessionsUnavailable));
    await soonClaimed('taken back');
    await hung(async () => {
      await expect(one.enter('taken back too', 'x')).rejects.toThrow(SessionsUnavailable);
      await one.leave('taken back too', 'x');
    });
    await soonClaimed('taken back too');
  });
});
