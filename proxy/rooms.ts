/** Constructs the adapters and puts the rooms together: the same house for the CLI, createProxy and the middleware. */
import { randomUUID } from 'node:crypto';
import { drainableBackends, memoryMarks } from './backends/drains.ts';
import type { DrainableBackends } from './backends/drains.ts';
import { redisMarks } from './backends/shared-drains.ts';
import { staticBackends } from './backends/static.ts';
import type { Config } from './config.ts';
import type { Backends, RawHeaders, Sessions, Telemetry } from './contract.ts';
import { createMigrator } from './migrate.ts';
import { connectRedis } from './redis/connection.ts';
import type { RedisConnection } from './redis/connection.ts';
import { createRouter } from './router.ts';
import type { Router } from './router.ts';
import { cachedSessions } from './sessions/cached.ts';
import { memorySessions } from './sessions/memory.ts';
import { redisSessions } from './sessions/redis.ts';
import { createStreams } from './streams.ts';
import { createUpstream } from './upstream.ts';

/** What may be handed in instead of built; what is handed in is not closed by us. */
export type Given = {
  readonly sessions?: Sessions | undefined;
  readonly backends?: Backends | undefined;
  /** Said to every backend. */
  readonly mark?: RawHeaders;
};

export interface House {
  readonly router: Router;
  readonly backends: DrainableBackends;
  close(): Promise<void>;
}

export function buildHouse(config: Config, telemetry: Telemetry, given: Given = {}): House {
  const record: Telemetry['record'] = (event) => telemetry.record(event);
  const redis = config.redis === undefined ? undefined : connectRedis({ url: config.redis, record });
  const sessions = given.sessions ?? openSessions(config, redis);
  const found = given.backends ?? staticBackends(config.backends);
  const backends = drainableBackends(found, redis === undefined ? memoryMarks() : redisMarks(redis));
  const upstream = createUpstream({ answerSeconds: config.answerSeconds, mark: given.mark ?? [] });
  const shared = { sessions, backends, upstream, telemetry, now: Date.now, draw: Math.random, token: randomUUID };
  const streams = createStreams(sessions);
  const migrator = createMigrator(shared);
  const router = createRouter({ ...config, ...shared, streams, migrator, running: new Map() });
  return {
    router,
    backends,
    async close() {
      streams.close();
      const ours = [given.sessions === undefined && sessions.close(), given.backends === undefined && found.close()];
      await Promise.all([upstream.close(), backends.close(), ...ours]);
      redis?.close();
    },
  };
}

function openSessions({ sessionTtl: ttlSeconds }: Config, redis: RedisConnection | undefined): Sessions {
  if (redis === undefined) return memorySessions({ ttlSeconds });
  return cachedSessions(redisSessions({ redis, ttlSeconds }), { ttlSeconds });
}
