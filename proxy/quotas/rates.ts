/** How often each key may do something, counted in this process's memory. */

import { TokenBuckets, type Rate } from '../token-bucket.ts';

export interface Rates {
  /** Takes a token. Milliseconds until there is one; 0: it was taken. Never rejects. */
  take(key: string): Promise<number>;
}

/** Keys that are remembered at once. */
export const MOST_KEYS = 10_000;

/** `now` is in milliseconds. */
export function memoryRates(rate: Rate, now: () => number): Rates {
  const buckets = new TokenBuckets(rate, MOST_KEYS, now);
  return {
    async take(key) {
      const wait = buckets.waitMs(key);
      if (wait === 0) buckets.take(key);
      return wait;
    },
  };
}
