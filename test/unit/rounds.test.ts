/** How often discovery is asked: rounds by a script, the clock is fake. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { askedBackends, type AskedBackends } from '../../proxy/backends/rounds.ts';

let backends: AskedBackends;
let asked: number[];
beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
});
afterEach(async () => {
  await backends.close();
  vi.useRealTimers();
});

const SOMEBODY = { records: [{ id: 'a', origin: 'http://a' }], ttl: 3600, heard: true };
const NOBODY = { records: [], ttl: Infinity, heard: false, cause: 'ESERVFAIL' };

/** Seconds from each round to the next, within a minute and a half. */
async function gaps(refreshMs: number, ...script: readonly (typeof SOMEBODY | typeof NOBODY)[]) {
  const round = async () => {
    asked.push(performance.now());
    return script[asked.length - 1] ?? SOMEBODY;
  };
  backends = askedBackends(round, { refreshMs, draw: () => 0.5 });
  await vi.advanceTimersByTimeAsync(90_000);
  return asked.slice(1).map((at, before) => Math.round(at - asked[before]!) / 1000);
}

test('while nobody is named it is asked soon, however long the refresh', async () => {
  expect(await gaps(60_000, NOBODY, NOBODY, NOBODY, NOBODY, SOMEBODY, NOBODY)).toEqual([1, 2, 2, 2, 60, 1]);
});

test.each([
  [0, 1],
  [1, 1],
  [5, 5],
  [3600, 60],
])('with a TTL of %i s it is asked again after %i', async (ttl, seconds) => {
  expect((await gaps(60_000, { ...SOMEBODY, ttl }))[0]).toBe(seconds);
});

test('and not sooner than the refresh', async () => {
  expect((await gaps(500, NOBODY, NOBODY, NOBODY)).slice(0, 3)).toEqual([0.5, 0.5, 0.5]);
});
