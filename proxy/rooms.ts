/** Constructs the adapters and puts the rooms together: the same house for the CLI, createProxy and the middleware. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { dnsBackends } from './backends/dns.ts';
import { drainableBackends, memoryMarks } from './backends/drains.ts';
import type { DrainableBackends } from './backends/drains.ts';
import { checkedBackends } from './backends/health.ts';
import { redisMarks } from './backends/shared-drains.ts';
import { staticBackends } from './backends/static.ts';
import type { Config } from './config.ts';
import type { Backends, RawHeaders, Sessions } from './contract.ts';
import type { Telemetry } from './events.ts';
import { createMigrator } from './migrate.ts';
import { createPassthrough } from './passthrough.ts';
import type { Passthrough } from './passthrough.ts';
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
  /** Takes what is not the MCP endpoint's, where that is wanted. */
  readonly elsewhere: Passthrough | undefined;
  readonly backends: DrainableBackends;
  /** Resolves when discovery has found somebody, or should not be waited for any longer. */
  readonly found: Promise<void>;
  close(): Promise<void>;
}

export function buildHouse(config: Config, telemetry: Telemetry, given: Given = {}): House {
  const record: Telemetry['record'] = (event) => telemetry.record(event);
  const redis = config.redis === undefined ? undefined : connectRedis({ url: config.redis, record });
  const sessions = given.sessions ?? openSessions(config, redis);
  const upstream = createUpstream({ answerSeconds: config.answerSeconds, mark: given.mark ?? [] });
  const discovery =
    given.backends === undefined
      ? discover(config, record, (origin) => upstream.sever(origin))
      : { backends: given.backends, found: Promise.resolve() };
  const backends = drainableBackends(discovery.backends, redis === undefined ? memoryMarks() : redisMarks(redis));
  const shared = { sessions, backends, upstream, telemetry, now: Date.now, draw: Math.random, token: randomUUID };
  const streams = createStreams(sessions);
  const migrator = createMigrator(shared);
  const running = new Map<string, number>();
  const router = createRouter({ ...config, ...shared, streams, migrator, running });
  const elsewhere = config.passthrough ? createPassthrough({ ...config, ...shared, running }) : undefined;
  return {
    router,
    elsewhere,
    backends,
    found: discovery.found,
    async close() {
      streams.close();
      if (given.sessions === undefined) await sessions.close();
      if (given.backends === undefined) await discovery.backends.close();
      await Promise.all([upstream.close(), backends.close()]);
      redis?.close();
    },
  };
}

/** A start does not wait longer for discovery: exchanges are held until somebody is found. Milliseconds. */
const FIRST_ANSWER_MS = 2000;

function discover(
  { dns, backends: origins, refreshSeconds, healthPath: path }: Config,
  record: Telemetry['record'],
  onHung: (origin: string) => void,
): { readonly backends: Backends; readonly found: Promise<void> } {
  if (dns === undefined) {
    return { backends: checkedBackends(staticBackends(origins), { path, record, onHung }), found: Promise.resolve() };
  }
  const inner = dnsBackends({ ...dns, refreshMs: refreshSeconds * 1000, record });
  const late = new AbortController();
  const tooLate = delay(FIRST_ANSWER_MS, undefined, { signal: late.signal }).catch(() => {});
  const found = Promise.race([inner.ready, tooLate]).then(() => late.abort());
  return { backends: checkedBackends(inner, { path, record, onHung }), found };
}

function openSessions({ sessionTtl: ttlSeconds }: Config, redis: RedisConnection | undefined): Sessions {
  if (redis === undefined) return memorySessions({ ttlSeconds });
  return cachedSessions(redisSessions({ redis, ttlSeconds }), { ttlSeconds });
}
