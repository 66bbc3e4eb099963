/** How many sessions each backend holds, in sorted sets beside the sessions: advisory, so nothing waits for them. */

import type { Redis } from 'ioredis';
import { REDIS } from '../contract.ts';

type SortedSets = Pick<Redis, 'zadd' | 'zrem' | 'zcard' | 'zrange' | 'zremrangebyscore' | 'pexpire'>;

export type Held = {
  /** `backend` holds the session for its idle life from now. Returns before that is stored, and never throws. */
  add(backend: string, hash: string): void;
  remove(backend: string, hash: string): void;
  /** Forgets those whose idle life is over and counts the others; what it counted last when it cannot. Never throws. */
  count(run: <T>(attempt: () => Promise<T>) => Promise<T>): Promise<ReadonlyMap<string, number>>;
  /** The same, and nothing else when it cannot: rejects. */
  countNow(): Promise<ReadonlyMap<string, number>>;
};

export function newHeld(redis: SortedSets, ttlMs: number, now: () => number): Held {
  let last: ReadonlyMap<string, number> = new Map();

  async function countOne(backend: string): Promise<[string, number]> {
    const key = REDIS.held(backend);
    const [, size] = await Promise.all([redis.zremrangebyscore(key, '-inf', now()), redis.zcard(key)]);
    return [backend, size];
  }
  async function countAll(): Promise<ReadonlyMap<string, number>> {
    const [, backends] = await Promise.all([
      redis.zremrangebyscore(REDIS.backends, '-inf', now()),
      redis.zrange(REDIS.backends, 0, '-1'),
    ]);
    const counts = await Promise.all(backends.map(countOne));
    return new Map(counts.filter(([, size]) => size > 0));
  }

  return {
    add(backend, hash) {
      const key = REDIS.held(backend);
      const until = now() + ttlMs;
      bestEffort(
        redis.zadd(key, until, hash),
        redis.pexpire(key, ttlMs),
        redis.zadd(REDIS.backends, until, backend),
        redis.pexpire(REDIS.backends, ttlMs),
      );
    },
    remove: (backend, hash) => bestEffort(redis.zrem(REDIS.held(backend), hash)),
    async count(run) {
      try {
        // An error here says nothing of the sessions themselves: the circuit need not know.
        last = await run(() => countAll().catch(() => last));
      } catch {
        // What was counted last is as good as any answer.
      }
      return last;
    },
    countNow: countAll,
  };
}

function bestEffort(...commands: readonly Promise<unknown>[]): void {
  Promise.all(commands).catch(() => {});
}
