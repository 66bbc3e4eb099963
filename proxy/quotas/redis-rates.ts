/** How often each key may do something, counted for all proxies in Redis. */

import type { Result } from 'ioredis';
import { BoundedMap } from '../bounded.ts';
import { REDIS, SessionsUnavailable } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import type { Rate } from '../token-bucket.ts';
import { MOST_KEYS, type Rates, memoryRates } from './rates.ts';
import { hashOf } from './places.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    takeToken(key: string, everyMs: number, burstMs: number): Result<number, Context>;
  }
}

/**
 * The key lives until its bucket is full again, by the clock of Redis, and holds nothing else. ARGV: milliseconds of a
 * token, and of a full bucket. → milliseconds until there is a token; 0: it was taken.
 */
const TAKE = `
local missing = math.max(redis.call('PTTL', KEYS[1]), 0) + ARGV[1]
if missing > tonumber(ARGV[2]) + 0.5 then return math.ceil(missing - ARGV[2]) end
redis.call('SET', KEYS[1], '', 'PX', math.max(1, math.floor(missing + 0.5)))
return 0`;

/** While Redis is away, what this proxy counts itself. `now` is in milliseconds. */
export function redisRates({ client, circuit }: RedisConnection, what: string, rate: Rate, now: () => number): Rates {
  client.defineCommand('takeToken', { numberOfKeys: 1, lua: TAKE });
  const { everyMs, burst } = rate;
  const own = memoryRates(rate, now);
  /** Who was refused: until then Redis need not be asked. */
  const refusedUntil = new BoundedMap<number>(MOST_KEYS);
  return {
    async take(key) {
      const left = (refusedUntil.get(key) ?? 0) - now();
      if (left > 0) return left;
      try {
        const wait = await circuit.run('take', () =>
          client.takeToken(REDIS.limit(what, hashOf(key)), everyMs, everyMs * burst),
        );
        if (wait > 0) refusedUntil.set(key, now() + wait);
        return wait;
      } catch (error) {
        if (!(error instanceof SessionsUnavailable)) throw error;
        return own.take(key);
      }
    },
  };
}
