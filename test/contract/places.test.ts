/** Places for sessions, in memory and in Redis: as many as there are, whatever becomes of sessions and of proxies. */

import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { type Places, hashOf, memoryPlaces } from '../../proxy/quotas/places.ts';
import { redisPlaces } from '../../proxy/quotas/redis-places.ts';
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

const TTL = 3_600_000;
let at = 0;
const now = (): number => at;
beforeEach(async () => {
  at = Date.now();
  await direct.flushall();
});

function overRedis(most: number): Places {
  const redis = connectRedis({ url: server.url, record: () => {} });
  onTestFinished(() => redis.close());
  return redisPlaces(redis, 'owner', { most, ttlMs: TTL, now });
}
/** The session is in the registry. */
const live = (session: string) => direct.hset(REDIS.session(hashOf(session)), 'record', '{}');
async function open(places: Places, who: string, session: string): Promise<boolean> {
  const place = await places.keep(who);
  await live(session);
  place?.fill(session);
  return place !== undefined;
}

describe.each<[string, (most: number) => readonly [Places, Places]]>([
  [
    'memory',
    (most) => {
      const places = memoryPlaces({ most, ttlMs: TTL, now });
      return [places, places];
    },
  ],
  ['redis, two proxies', (most) => [overRedis(most), overRedis(most)]],
])('in %s', (_name, make) => {
  test('as many as there are, for each by itself', async () => {
    const [one, other] = make(2);
    expect([await open(one, 'alice', 's1'), await open(other, 'alice', 's2'), await open(one, 'alice', 's3')]).toEqual([
      true,
      true,
      false,
    ]);
    expect(await open(other, 'bob', 's4')).toBe(true);
  });

  test('what is kept counts, until it is given back; giving back twice gives one back', async () => {
    const [one, other] = make(2);
    const [first, second] = [await one.keep('alice'), await other.keep('alice')];
    expect(await one.keep('alice')).toBeUndefined();
    first?.giveBack();
    first?.giveBack();
    await until('it is free', async () => (await other.keep('alice')) !== undefined);
    expect(await one.keep('alice')).toBeUndefined();
    second?.fill('s1');
    second?.giveBack();
    await live('s1');
    expect(await one.keep('alice')).toBeUndefined();
  });

  test('many at once', async () => {
    const [one, other] = make(5);
    const all = await Promise.all(Array.from({ length: 40 }, (_, nth) => (nth % 2 === 0 ? one : other).keep('alice')));
    expect(all.filter((place) => place !== undefined)).toHaveLength(5);
  });

  test('an end frees a place', async () => {
    const [one, other] = make(1);
    await open(one, 'alice', 's1');
    other.ended('s1', 'alice');
    await until('it is free', async () => (await one.keep('alice')) !== undefined);
    expect(await other.keep('alice')).toBeUndefined();
  });

  test('a session that nobody counted does, once it is used', async () => {
    const [one, other] = make(1);
    await live('s1');
    await until('it counts', async () => {
      one.has('alice', 's1');
      const place = await other.keep('alice');
      place?.giveBack();
      return place === undefined;
    });
    one.ended('s1', 'alice');
    await until('it does not', async () => (await other.keep('alice')) !== undefined);
    expect(await one.keep('alice')).toBeUndefined();
  });
});

test('a place that a dead proxy has kept is free three minutes later', async () => {
  const places = overRedis(1);
  await places.keep('alice');
  at += 170_000;
  expect(await places.keep('alice')).toBeUndefined();
  at += 10_000;
  expect(await places.keep('alice')).toBeDefined();
});

test('sessions that have gone in any way free their places, and are looked for once a second', async () => {
  const places = overRedis(50);
  for (let nth = 0; nth < 50; nth += 1) await open(places, 'alice', `s${nth}`);
  expect(await places.keep('alice')).toBeUndefined();
  await direct.del(...Array.from({ length: 10 }, (_, nth) => REDIS.session(hashOf(`s${nth}`))));
  expect(await places.keep('alice')).toBeUndefined();
  at += 1_000;
  const all = await Promise.all(Array.from({ length: 20 }, () => places.keep('alice')));
  expect(all.filter((place) => place !== undefined)).toHaveLength(10);
});

test('where Redis is away nobody is refused', async () => {
  const away = await startRedis();
  const redis = connectRedis({ url: away.url, record: () => {} });
  onTestFinished(() => redis.close());
  const places = redisPlaces(redis, 'owner', { most: 1, ttlMs: TTL, now });
  await places.keep('alice');
  await away.close();
  expect(await places.keep('alice')).toBeDefined();
});
