/** Wrong tokens on the ops port: how many are looked at, of whom, and when the next one is. */

import { expect, test } from 'vitest';
import { newGuesses } from '../../proxy/ops/guesses.ts';

/** Guesses as fast as can be for so many milliseconds; how many tokens were looked at. */
function guessing(ms: number): number {
  let now = 0;
  const guesses = newGuesses(() => now);
  let looked = 0;
  for (; now < ms; now += 50) {
    if (guesses.wait('10.0.0.1') > 0) continue;
    guesses.wrong('10.0.0.1');
    looked += 1;
  }
  return looked;
}

test('ten at once, then ten a minute, however many are tried', () => {
  expect([guessing(5000), guessing(60_000), guessing(3_600_000)]).toEqual([10, 19, 609]);
});

test('who waits as told is looked at', () => {
  let now = 1000;
  const guesses = newGuesses(() => now);
  for (let at = 0; at < 10; at += 1) guesses.wrong('10.0.0.1');
  expect(guesses.wait('10.0.0.1')).toBe(6);
  now += 5999;
  expect(guesses.wait('10.0.0.1')).toBe(1);
  now += 1;
  expect(guesses.wait('10.0.0.1')).toBe(0);
});

test('an IPv4 address is one client, however it is written; of IPv6 the /64 is', () => {
  const guesses = newGuesses(() => 0);
  for (let at = 0; at < 10; at += 1) guesses.wrong(`2001:db8:1:2::${at}`);
  for (let at = 0; at < 10; at += 1) guesses.wrong(at % 2 === 0 ? '::ffff:10.0.0.1' : '10.0.0.1');
  const waits = ['2001:db8:1:2:3::4', '2001:db8:1:3::1', '10.0.0.1', '::ffff:10.0.0.1', '10.0.0.2', ''].map((address) =>
    guesses.wait(address),
  );
  expect(waits).toEqual([6, 0, 6, 6, 0, 0]);
});

test('10,000 addresses are remembered; then the oldest is forgotten', () => {
  const guesses = newGuesses(() => 0);
  for (let at = 0; at < 10; at += 1) guesses.wrong('192.0.2.1');
  for (let at = 0; at < 9999; at += 1) guesses.wrong(`10.0.${at >> 8}.${at & 255}`);
  expect(guesses.wait('192.0.2.1')).toBe(6);
  guesses.wrong('192.0.2.2');
  expect(guesses.wait('192.0.2.1')).toBe(0);
});
