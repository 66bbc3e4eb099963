/** Token buckets, one for each key: so many at once, and then one for each interval. Pure. */
import { BoundedMap } from './bounded.ts';

export type Rate = {
  /** Tokens of a full bucket. */
  readonly burst: number;
  /** Milliseconds until another token is there. */
  readonly everyMs: number;
};

export const RATE = 'off, or a rate from 1/min to 1000/s, as in 20/s or 10/min';
const UNITS = { s: 1_000, min: 60_000 } as const;
const MOST = 1_000;

/** A bucket has room for the tokens of one second or minute. Undefined: it is no rate, or `off`. */
export function readRate(text: string): Rate | undefined {
  const [, digits, unit] = /^([1-9]\d{0,3})\/(s|min)$/.exec(text) ?? [];
  const burst = Number(digits);
  if (!(burst <= MOST) || (unit !== 's' && unit !== 'min')) return undefined;
  return { burst, everyMs: UNITS[unit] / burst };
}

/** A token more or less than this is the rounding of a sum. */
const ROUNDING = 1e-6;

/** Remembers when each bucket is full again; those that are longest untouched are forgotten, as if they were full. */
export class TokenBuckets {
  readonly #rate: Rate;
  readonly #now: () => number;
  readonly #fullAt: BoundedMap<number>;

  /** `most`: buckets. `now` is in milliseconds. */
  constructor(rate: Rate, most: number, now: () => number) {
    this.#rate = rate;
    this.#now = now;
    this.#fullAt = new BoundedMap(most);
  }

  /** Whole tokens that are there; less than none where more were taken. */
  tokens(key: string): number {
    return Math.floor(this.#rate.burst - this.#missingMs(key) / this.#rate.everyMs + ROUNDING);
  }

  /** Takes one, whether it is there or not. */
  take(key: string): void {
    this.#fullAt.set(key, this.#now() + this.#missingMs(key) + this.#rate.everyMs);
  }

  /** Milliseconds until a token is there. */
  waitMs(key: string): number {
    return this.tokens(key) > 0 ? 0 : this.#missingMs(key) - (this.#rate.burst - 1) * this.#rate.everyMs;
  }

  #missingMs(key: string): number {
    return Math.max(0, (this.#fullAt.get(key) ?? 0) - this.#now());
  }
}
