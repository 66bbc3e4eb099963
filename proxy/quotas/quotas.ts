/** What is counted of clients, for the limits that are on: for all proxies in Redis, else in this process's memory. */

import type { Sessions } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { isSomebody } from '../owner.ts';
import type { Rate } from '../token-bucket.ts';
import { type Places, memoryPlaces } from './places.ts';
import { type Rates, memoryRates } from './rates.ts';
import { redisPlaces } from './redis-places.ts';
import { redisRates } from './redis-rates.ts';

/** Each is undefined where it is not limited. */
export type Quotas = {
  /** Sessions of an owner. */
  readonly owners: Places | undefined;
  /** Sessions of a client's address. */
  readonly clients: Places | undefined;
  /** `initialize`s of a client's address. */
  readonly initializes: Rates | undefined;
};

export type QuotaOptions = {
  /** Where sessions and rates are counted, each undefined: in memory. */
  readonly registry: RedisConnection | undefined;
  readonly redis: RedisConnection | undefined;
  /** Infinity: no limit. */
  readonly maxSessionsPerOwner: number;
  readonly maxSessionsPerClient: number;
  readonly initializeRate: Rate | undefined;
  /** Idle life of a session. */
  readonly sessionTtl: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

export function openQuotas({ registry, redis, now, ...options }: QuotaOptions): Quotas {
  const { initializeRate: rate } = options;
  const places = (what: string, most: number): Places | undefined => {
    if (most === Infinity) return undefined;
    const counting = { most, ttlMs: options.sessionTtl * 1_000, now };
    return registry === undefined ? memoryPlaces(counting) : redisPlaces(registry, what, counting);
  };
  const rates = (what: string): Rates | undefined => {
    if (rate === undefined) return undefined;
    return redis === undefined ? memoryRates(rate, now) : redisRates(redis, what, rate, now);
  };
  return {
    owners: places('owner', options.maxSessionsPerOwner),
    clients: places('client', options.maxSessionsPerClient),
    initializes: rates('initialize'),
  };
}

/** The same sessions: each that is found counts for its owner, and whatever ends one frees its places. */
export function countedSessions(sessions: Sessions, { owners, clients }: Quotas): Sessions {
  if (owners === undefined && clients === undefined) return sessions;
  // An operator may end one by its hash.
  const undo = sessions.onChange((id) => {
    owners?.ended(id);
    clients?.ended(id);
  });
  return {
    ...sessions,
    async find(id, how) {
      const found = await sessions.find(id, how);
      if (found !== undefined && isSomebody(found.owner)) owners?.has(found.owner, id);
      if (found !== undefined) clients?.used(id);
      return found;
    },
    async end(id) {
      const was = await sessions.end(id);
      owners?.ended(id, was?.owner);
      clients?.ended(id);
      return was;
    },
    async close() {
      undo();
      await sessions.close();
    },
  };
}
