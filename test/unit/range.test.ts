/** What is in a range, and what is said of the rest. */

import { expect, test } from 'vitest';
import { createDrain } from '../../server/drain.ts';
import { scaleInProtection } from '../../server/protection.ts';
import { inRange } from '../../server/range.ts';
import { sayRelease } from '../../server/release.ts';

const RANGE = { of: 'seconds', from: 1, to: 5 };

test.each([1, 2.5, 5])('%d is from 1 to 5', (given) => {
  expect(inRange('x', given, RANGE)).toBe(given);
});

test.each([0.9, 5.1, -5, Number.NaN, Infinity])('%d is not from 1 to 5', (given) => {
  expect(() => inRange('x', given, RANGE)).toThrow(new RangeError(`x: expected seconds from 1 to 5, got ${given}`));
});

test('what is no number is in no range, as JavaScript may hand it over', () => {
  for (const given of ['3', null, [3]])
    expect(() => inRange('x', given, RANGE)).toThrow(/^x: expected seconds from 1 to 5, got ('3'|null|\[ 3 \])$/);
});

test('a whole number has no fraction', () => {
  expect(inRange('x', 2, { ...RANGE, whole: true })).toBe(2);
  expect(() => inRange('x', 2.5, { ...RANGE, whole: true })).toThrow(RangeError);
});

test.each<[string, () => unknown]>([
  ['graceSeconds: expected seconds from 0 to 2147483, got -1', () => createDrain({ graceSeconds: -1 })],
  ['sessionIdleSeconds: expected seconds from 0.001 to 2147483, got 0', () => createDrain({ sessionIdleSeconds: 0 })],
  [
    'expiresInMinutes: expected minutes from 1 to 2880, got 0',
    () => scaleInProtection({ sessions: () => 1, env: {}, expiresInMinutes: 0 }),
  ],
  ['release: expected a whole number from 0 to 999999999, got 1.5', () => sayRelease(1.5)],
])('%s', (message, call) => {
  expect(call).toThrow(new RangeError(message));
});
