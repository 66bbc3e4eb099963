/** How often a client may show a wrong token on the ops port: a bucket of ten for each address, one more each six seconds. */

import { siteOf } from '../addresses.ts';
import { BoundedMap } from '../bounded.ts';

const AT_ONCE = 10;
const EVERY_MS = 6000;
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
  /** When the bucket of an address will be full again. */
  const fullAt = new BoundedMap<number>(MOST_ADDRESSES);
  return {
    wait(address) {
      const left = (fullAt.get(siteOf(address)) ?? 0) - now() - (AT_ONCE - 1) * EVERY_MS;
      return Math.max(0, Math.ceil(left / 1000));
    },
    wrong(address) {
      const site = siteOf(address);
      fullAt.set(site, Math.max(fullAt.get(site) ?? 0, now()) + EVERY_MS);
    },
  };
}
