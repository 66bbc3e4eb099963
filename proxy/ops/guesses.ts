/** How often a client may show a wrong token on the ops port: a bucket of ten for each address, one more each six seconds. */

import { networkOf } from '../addresses.ts';
import { TokenBuckets } from '../token-bucket.ts';

const RATE = { burst: 10, everyMs: 6000 };
/** Addresses that are remembered: some 100 bytes each. */
const MOST_ADDRESSES = 10_000;

export type Guesses = {
  /** Seconds until a token of this client is looked at again; 0: now. */
  wait(address: string): number;
  /** The client has shown a wrong one. */
  wrong(address: string): void;
};

/**
 * `now`: milliseconds of a clock that never goes back. A right token does not reset the count: an operator may share the
 * address with somebody who guesses.
 */
export function newGuesses(now: () => number): Guesses {
  const buckets = new TokenBuckets(RATE, MOST_ADDRESSES, now);
  const clientAt = (address: string): string => networkOf(address) ?? address;
  return {
    wait: (address) => Math.ceil(buckets.waitMs(clientAt(address)) / 1000),
    wrong: (address) => buckets.take(clientAt(address)),
  };
}
