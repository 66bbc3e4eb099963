/** The registry in memory, in Redis, and in Redis behind the cache, against the contract. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { cachedSessions } from '../../proxy/sessions/cached.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { type RedisConnection, connectRedis } from '../../proxy/redis/connection.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { startRedis, type TestRedis } from '../house/redis.ts';
import { type Registry, sessionsContract } from './sessions.ts';

const ttlSeconds = 100;
const INSTALL = 180_000;

sessionsContract('memory', {
  async make() {
    let at = 0;
    const sessions = memorySessions({ ttlSeconds, now: () => at });
    const age = async (_id: string, seconds: number) => {
      at += seconds * 1_000;
    };
    return { sessions, other: undefined, age, close: () => sessions.close() };
  },
});

let server: TestRedis;
let direct: Redis;
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.url);
}, INSTALL);
afterAll(async () => {
  direct.disconnect();
  await server.close();
});

sessionsContract('redis', { make: () => overRedis((store) => store) });
sessionsContract('cached redis', {
  make: () => overRedis((store, now) => cachedSessions(store, { ttlSeconds, now, countEveryMs: 0 })),
});

type Store = ReturnType<typeof redisSessions>;

async function overRedis(dress: (store: Store, now: () => number) => Registry['sessions']): Promise<Registry> {
  await direct.flushall();
  const connections: RedisConnection[] = [];
  let passed = 0;
  const now = () => Date.now() + passed;
  const make = async () => {
    const redis = connectRedis({ url: server.url, record: () => {} });
    connections.push(redis);
    const store = redisSessions({ redis, ttlSeconds, now });
    const dressed = dress(store, now);
    await linked(store);
    return dressed;
  };
  const [sessions, other] = await Promise.all([make(), make()]);
  return {
    sessions,
    other,
    async age(id, seconds) {
      const key = REDIS.session(createHash('sha256').update(id).digest('hex'));
      await direct.pexpire(key, (await direct.pttl(key)) - seconds * 1_000);
      passed += seconds * 1_000;
    },
    async close() {
      await Promise.all([sessions.close(), other.close()]);
      for (const redis of connections) redis.close();
    },
  };
}

function linked(store: Store): Promise<void> {
  return new Promise((resolve) => {
    store.onLink((now) => now && resolve());
  });
}
