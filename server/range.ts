/** Numbers that an app hands over, held against the range that makes sense. */

import { inspect } from 'node:util';

type Range = {
  /** What is expected, as in "seconds". */
  readonly of: string;
  readonly from: number;
  readonly to: number;
  /** Without a fraction. */
  readonly whole?: boolean;
};

/** Seconds: timers end at 24 days, and fire at once beyond. */
const LONGEST_TIMER = 2_147_483;

/** The number itself. Throws RangeError for what is no number of the range, which names the option and what was given. */
export function inRange(option: string, given: unknown, { of, from, to, whole = false }: Range): number {
  if (typeof given === 'number' && given >= from && given <= to && (!whole || Number.isInteger(given))) return given;
  throw new RangeError(`${option}: expected ${of} from ${from} to ${to}, got ${inspect(given)}`);
}

/** Milliseconds of as many seconds, from `least` on to what a timer can wait. Throws as `inRange`. */
export function timerMs(option: string, seconds: unknown, least: number): number {
  return 1000 * inRange(option, seconds, { of: 'seconds', from: least, to: LONGEST_TIMER });
}
