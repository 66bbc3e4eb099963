/** How many unknown ids a client may ask for, in virtual time: guesses are few, sessions that are found as many as come. */

import { beforeEach, describe, expect, test } from 'vitest';
import { type Beyond, type Guesses, type Looking, createGuesses } from '../../proxy/guesses.ts';
import { TokenBuckets, readRate } from '../../proxy/token-bucket.ts';

let at = 0;
const now = (): number => at;
let guesses: Guesses;
beforeEach(() => {
  at = 1_000;
  guesses = createGuesses({ burst: 20, everyMs: 50 }, now);
});

/** So many look at once; each answer comes a turn later. */
async function looks(count: number, guess: boolean, client = 'c'): Promise<number> {
  const one = async (): Promise<boolean> => {
    const looking = await guesses.look(client);
    if (looking.kind === 'beyond') return false;
    await new Promise(setImmediate);
    looking.done(guess);
    return true;
  };
  const all = await Promise.all(Array.from({ length: count }, one));
  return all.filter(Boolean).length;
}
const kindOf = ({ kind }: Looking | Beyond): string => kind;

describe('what is looked for', () => {
  test('as many guesses as there are tokens, however many come at once, and then as many as come back', async () => {
    expect(await looks(100, true)).toBe(20);
    expect(await guesses.look('c')).toEqual({ kind: 'beyond', retryAfter: 1 });
    at += 50;
    expect(await looks(3, true)).toBe(1);
    at += 1_000;
    expect(await looks(100, true)).toBe(20);
  });

  test('others are not affected', async () => {
    await looks(20, true);
    expect(await looks(5, true, 'other')).toBe(5);
  });

  test('sessions that are found cost nothing, however many come at once', async () => {
    expect(await looks(1_000, false)).toBe(1_000);
    expect(await looks(19, true)).toBe(19);
    expect(await looks(50, false)).toBe(50);
  });

  test('guesses among many that are found shut nobody out for longer than a full bucket takes', async () => {
    await looks(500, false);
    const open = await Promise.all(Array.from({ length: 20 }, () => guesses.look('c')));
    for (const looking of open) if (looking.kind === 'looking') looking.done(false);
    await looks(500, true);
    at += 1_050;
    expect(kindOf(await guesses.look('c'))).toBe('looking');
  });

  test('what was asked for without a look counts too', async () => {
    for (let nth = 0; nth < 20; nth += 1) expect(guesses.guessed('c')).toBeUndefined();
    expect(guesses.guessed('c')).toEqual({ kind: 'beyond', retryAfter: 1 });
    expect(kindOf(await guesses.look('c'))).toBe('beyond');
  });

  test('without a rate nothing is limited', async () => {
    guesses = createGuesses(undefined, now);
    expect(await looks(1_000, true)).toBe(1_000);
    expect(guesses.guessed('c')).toBeUndefined();
  });
});

describe('token buckets', () => {
  test.each<[string, unknown]>([
    ['20/s', { burst: 20, everyMs: 50 }],
    ['10/min', { burst: 10, everyMs: 6_000 }],
    ['1/min', { burst: 1, everyMs: 60_000 }],
    ['1000/s', { burst: 1_000, everyMs: 1 }],
    ...['off', '0/s', '1001/s', '01/s', '5', '5/h', '1.5/s', '-1/s', ' 5/s', '5/s '].map((text): [string, unknown] => [
      text,
      undefined,
    ]),
  ])('the rate %j', (text, rate) => {
    expect(readRate(text)).toEqual(rate);
  });

  test.each([3, 7, 60, 999])('%i a second: all of them at once, then one by one', (burst) => {
    const buckets = new TokenBuckets({ burst, everyMs: 1_000 / burst }, 10, now);
    for (let left = burst; left > 0; left -= 1) {
      expect([buckets.tokens('k'), buckets.waitMs('k')]).toEqual([left, 0]);
      buckets.take('k');
    }
    expect(buckets.tokens('k')).toBe(0);
    expect(buckets.waitMs('k')).toBeCloseTo(1_000 / burst, 3);
    at += 1_000 / burst;
    expect(buckets.tokens('k')).toBe(1);
  });

  test('those that are longest untouched are forgotten', () => {
    const buckets = new TokenBuckets({ burst: 1, everyMs: 1_000 }, 2, now);
    for (const key of ['a', 'b', 'c']) buckets.take(key);
    expect(['a', 'b', 'c'].map((key) => buckets.tokens(key))).toEqual([1, 0, 0]);
  });
});
