/** Constructs the adapters and puts the rooms together: the same house for the CLI, createProxy and the middleware. */
import { randomUUID } from 'node:crypto';
import { staticBackends } from './backends/static.ts';
import type { Config } from './config.ts';
import type { Backends, RawHeaders, Sessions, Telemetry } from './contract.ts';
import { createMigrator } from './migrate.ts';
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
  readonly backends: Backends;
  close(): Promise<void>;
}

export function buildHouse(config: Config, telemetry: Telemetry, given: Given = {}): House {
  const sessions = given.sessions ?? openSessions(config, telemetry);
  const backends = given.backends ?? staticBackends(config.backends);
  const upstream = createUpstream({ answerSeconds: config.answerSeconds, mark: given.mark ?? [] });
  const shared = { sessions, backends, upstream, telemetry, now: Date.now, draw: Math.random, token: randomUUID };
  const streams = createStreams(sessions);
  const router = createRouter({ ...config, ...shared, streams, migrator: createMigrator(shared) });
  return {
    router,
    backends,
    async close() {
      streams.close();
      const ours = [given.sessions === undefined && sessions.close(), given.backends === undefined && backends.close()];
      await Promise.all([upstream.close(), ...ours]);
    },
  };
}

function openSessions(config: Config, telemetry: Telemetry): Sessions {
  const { sessionTtl: ttlSeconds, redis: url } = config;
  if (url === undefined) return memorySessions({ ttlSeconds });
  const record = (event: Parameters<Telemetry['record']>[0]): void => telemetry.record(event);
  return cachedSessions(redisSessions({ url, ttlSeconds, record }), { ttlSeconds });
}
