/** Opens what the configuration names: the ways to the outside. */
import { networkInterfaces } from 'node:os';
import { addressFault } from './addresses.ts';
import type { Listening } from './addresses.ts';
import { memoryActivity } from './activity/memory.ts';
import { redisActivity } from './activity/redis.ts';
import { askCloudMap } from './backends/cloud-map-client.ts';
import { cloudMapBackends } from './backends/cloud-map.ts';
import { dnsBackends } from './backends/dns.ts';
import { memoryMarks } from './backends/drains.ts';
import type { Marks, Membership } from './backends/drains.ts';
import { checkOf } from './backends/checks.ts';
import { checkedBackends } from './backends/health.ts';
import { findOwnZone } from './backends/own-zone.ts';
import type { CheckOptions } from './backends/health.ts';
import { LOOK_EVERY_MS, redisMarks } from './backends/shared-marks.ts';
import { lookAtStrangers } from './backends/strangers.ts';
import { staticBackends } from './backends/static.ts';
import type { AskUse, BackendSessions } from './backend-sessions.ts';
import type { Config } from './config.ts';
import { REDIS } from './contract.ts';
import type { Activity, Backends, JsonObject, Peers, Sessions } from './contract.ts';
import type { Telemetry } from './events.ts';
import { createInUse } from './in-use.ts';
import type { InUse } from './in-use.ts';
import { lentBackends, lentSessions } from './lent.ts';
import { NOT_KEPT } from './orphans.ts';
import type { Kept } from './orphans.ts';
import { noPeers } from './peers/memory.ts';
import { redisPeers } from './peers/redis.ts';
import { WATCHED_MS } from './plans.ts';
import { countedSessions, openQuotas } from './quotas/quotas.ts';
import type { Quotas } from './quotas/quotas.ts';
import { connectRedis } from './redis/connection.ts';
import type { RedisConnection } from './redis/connection.ts';
import type { SessionsByHash } from './sessions/by-hash.ts';
import { cachedSessions } from './sessions/cached.ts';
import type { CachedSessionsOptions } from './sessions/cached.ts';
import { memorySessions } from './sessions/memory.ts';
import { recallingSessions } from './sessions/recall.ts';
import { redisSessions } from './sessions/redis.ts';
import { readRate } from './token-bucket.ts';
import type { Serving } from './sessions/use.ts';
import { within } from './within.ts';

/** What proxies share, or one proxy keeps in memory. */
export type Registry = {
  readonly sessions: Sessions;
  /** The same for operators; undefined where the sessions are kept in a way of somebody's own. */
  readonly byHash: SessionsByHash | undefined;
  readonly backendSessions: Kept;
  /** What is swept; undefined where sessions are kept in a way of somebody's own. */
  readonly swept: BackendSessions | undefined;
  readonly use: AskUse;
  /** Ids of backends that are ordered to drain. */
  readonly drains: Marks;
  /** Hashes of sessions that are ordered to migrate. */
  readonly orders: Marks;
  /** Ids of backends that drain in the eyes of some proxy. */
  readonly watched: Marks;
  readonly activity: Activity;
  readonly peers: Peers;
  readonly quotas: Quotas;
  /** Sessions that do not idle out now. */
  readonly inUse: InUse;
  /** Milliseconds until every proxy has read what one has written. */
  readonly settleMs: number;
  close(): Promise<void>;
};

/**
 * `own` stands in the place of the sessions, and is not closed. `onAnswers` is told what other proxies say when they are
 * asked for a session that nobody here knows.
 */
export function openRegistry(
  config: Config,
  record: Telemetry['record'],
  own: Sessions | undefined,
  onAnswers: (answers: readonly JsonObject[]) => void,
): Registry {
  const { redis: url, sessionTtl } = config;
  const redis = url === undefined ? undefined : connectRedis({ url, record });
  const peers = redis === undefined ? noPeers() : redisPeers(redis, { record });
  const serving: Serving = { has: (id) => inUse.has(id), calls: (id) => inUse.calls(id) };
  const { sessions, byHash, swept, use } =
    own === undefined
      ? openSessions(redis, config, { peers, onAnswers, serving })
      : { sessions: lentSessions(own, record), use: usedHere(serving) };
  const inUse = createInUse({ ttlMs: sessionTtl * 1000, renew: (id) => sessions.find(id), now: Date.now });
  const marks = (key: string, lifeMs?: number): Marks =>
    redis === undefined ? memoryMarks() : redisMarks(redis, key, lifeMs === undefined ? {} : { lifeMs });
  const [drains, orders, watched] = [marks(REDIS.drains), marks(REDIS.orders), marks(REDIS.watched, WATCHED_MS)];
  const activity = redis === undefined ? memoryActivity() : redisActivity(redis);
  const quotas = openQuotas({
    ...config,
    initializeRate: readRate(config.initializeRate),
    redis,
    registry: own === undefined ? redis : undefined,
    now: Date.now,
  });
  return {
    sessions: countedSessions(sessions, quotas),
    byHash,
    quotas,
    backendSessions: swept ?? NOT_KEPT,
    swept,
    use,
    drains,
    orders,
    watched,
    activity,
    peers,
    inUse,
    // More than two of their looks.
    settleMs: redis === undefined ? 0 : 2.5 * LOOK_EVERY_MS,
    async close() {
      inUse.close();
      peers.close();
      activity.close();
      drains.close();
      orders.close();
      watched.close();
      await sessions.close();
      redis?.close();
    },
  };
}

/** What sessions in memory may take: each on average, and all of them in any case. */
const [SESSION_BYTES, LEAST_BYTES] = [2_048, 67_108_864];

function openSessions(
  redis: RedisConnection | undefined,
  {
    sessionTtl: ttlSeconds,
    sessionMaxAge: maxAgeSeconds,
    maxSessionsInMemory: maxSessions,
    cacheBytes: maxBytes,
  }: Config,
  others: Required<Pick<CachedSessionsOptions, 'peers' | 'onAnswers'>> & { readonly serving: Serving },
): Pick<Registry, 'sessions' | 'byHash' | 'swept' | 'use'> {
  if (redis === undefined) {
    const { backendSessions: swept, ...sessions } = memorySessions({
      ttlSeconds,
      maxAgeSeconds,
      maxSessions,
      maxBytes: Math.max(LEAST_BYTES, maxSessions * SESSION_BYTES),
    });
    return {
      sessions: recallingSessions(sessions, { knows: () => true, ...others }),
      byHash: sessions.byHash,
      swept,
      use: usedHere(others.serving),
    };
  }
  const { backendSessions: swept, ...store } = redisSessions({ redis, ttlSeconds, maxAgeSeconds });
  const cached = cachedSessions(store, { ttlSeconds, maxBytes, ...others });
  const { link } = redis;
  return {
    sessions: recallingSessions(cached, { ...others, knows: (id) => cached.knows(id), link }),
    byHash: store.byHash,
    swept,
    use: cached.use,
  };
}

/** By a proxy that has nobody to ask. */
function usedHere({ calls }: Serving): AskUse {
  return async (ids) => ({ lives: new Set(), calls: new Set(ids.filter(calls)) });
}

export type Discovery = {
  readonly backends: Backends;
  /** What is under the checks. */
  readonly members: Membership;
  /** Whether a backend that is not listed answers. */
  readonly answers: (origin: string) => Promise<boolean>;
  /** Resolves when discovery has found somebody, or should not be waited for any longer. */
  readonly found: Promise<void>;
  /** The proxy's own zone, where it is known by now. */
  readonly zone: () => string | undefined;
};

/** A start does not wait longer for discovery: exchanges are held until somebody is found. Milliseconds. */
const FIRST_ANSWER_MS = 2000;

/** A client waits for it. Milliseconds. */
const LOOK_MS = 2000;

/** Whom the checks tell of a backend what concerns others, as `CheckOptions` says. */
type Hearers = Required<Pick<CheckOptions, 'onHung' | 'onRelease'>>;

/** `own` stands in the place of what the configuration names, and is not closed. */
export function discover(
  config: Config,
  record: Telemetry['record'],
  hearers: Hearers,
  {
    backends: own,
    listening,
  }: { readonly backends?: Backends | undefined; readonly listening?: Listening | undefined },
): Discovery {
  const { dns, cloudMap, backendPort: port, backends: origins, refreshSeconds, healthPath: path, backendHost } = config;
  const over = (members: Backends, found: Promise<void>, zone: Discovery['zone']): Discovery => {
    const backends = checkedBackends(members, { path, backendHost, record, ...hearers });
    return { backends, members, answers: lookAtStrangers(checkOf(path, LOOK_MS, backendHost)), found, zone };
  };
  const rules = { listening, machine: machineAddresses, allowLoopback: config.allowLoopback };
  const refuse = (origin: string): string | undefined => addressFault(origin, rules);
  const asking = { refreshMs: refreshSeconds * 1000, record, refuse };
  if (cloudMap !== undefined) {
    const inner = cloudMapBackends(askCloudMap(cloudMap), { ...asking, port });
    let { zone } = config;
    const findZone = async (): Promise<void> => void (zone ??= await findOwnZone());
    return over(inner, within(FIRST_ANSWER_MS, Promise.all([inner.ready, findZone()])), () => zone);
  }
  const zone = (): string | undefined => config.zone;
  if (own !== undefined) return over(lentBackends(own, record), Promise.resolve(), zone);
  if (dns === undefined) return over(staticBackends(origins), Promise.resolve(), zone);
  const inner = dnsBackends({ ...asking, ...dns });
  return over(inner, within(FIRST_ANSWER_MS, inner.ready), zone);
}

function machineAddresses(): readonly string[] {
  try {
    return Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  } catch {
    // A sandbox keeps them from us.
    return [];
  }
}
