/** Numbers by step of time: bounded, in order, and honest about what is not known. */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { newSeries, rateOf } from '../../proxy/status/series.ts';

const FIVE = { stepMs: 1_000, steps: 5 };

test('before the first word nothing is known, after it silence is nothing', () => {
  const series = newSeries(FIVE);
  series.add(10_000, 2);
  series.add(10_999, 1);
  expect(series.read(11_000)).toEqual([undefined, undefined, undefined, undefined, 3]);
  expect(series.read(13_500)).toEqual([undefined, undefined, 3, 0, 0]);
  expect(series.read(16_000)).toEqual([0, 0, 0, 0, 0]);
});

test('what is measured is not known in a step without a word', () => {
  const series = newSeries({ ...FIVE, silent: undefined });
  series.set(10_000, 7);
  series.set(12_000, 9);
  series.set(12_500, 8);
  expect(series.read(14_000)).toEqual([undefined, 7, undefined, 8, undefined]);
});

test('the step that is not over is not shown', () => {
  const series = newSeries(FIVE);
  series.add(10_000, 1);
  series.add(11_000, 100);
  expect(series.read(11_999).at(-1)).toBe(1);
  expect(series.read(12_000).at(-1)).toBe(100);
});

test('a long silence leaves nothing of what was', () => {
  const series = newSeries(FIVE);
  series.add(10_000, 1);
  expect(series.read(10_000_000)).toEqual([0, 0, 0, 0, 0]);
});

test('a clock that is put back adds to the last step, or begins anew', () => {
  const series = newSeries(FIVE);
  series.add(10_000, 1);
  series.add(8_000, 1);
  expect(series.read(11_000).at(-1)).toBe(2);
  series.add(1_000, 5);
  expect(series.read(2_000)).toEqual([undefined, undefined, undefined, undefined, 5]);
});

test('whatever is added is shown once, in its step, for as long as there is room', () => {
  const words = fc.array(fc.tuple(fc.nat(3_000), fc.nat(9)), { maxLength: 60 });
  fc.assert(
    fc.property(words, fc.nat(9_000), (all, after) => {
      const series = newSeries(FIVE);
      let at = 50_000;
      const said = all.map(([later, amount]) => {
        at += later;
        series.add(at, amount);
        return { step: Math.floor(at / 1_000), amount };
      });
      const now = Math.floor((at + after) / 1_000);
      const expected = [5, 4, 3, 2, 1].map((ago) => {
        const step = now - ago;
        const known = said[0] !== undefined && step >= said[0].step;
        return known ? said.filter((one) => one.step === step).reduce((sum, { amount }) => sum + amount, 0) : undefined;
      });
      expect(series.read(at + after)).toEqual(said.length === 0 ? expected.map(() => undefined) : expected);
    }),
  );
});

test('a rate counts only the steps that are known', () => {
  expect(rateOf([undefined, undefined, 4, 0], 1_000)).toBe(2);
  expect(rateOf([10], 5_000)).toBe(2);
  expect(rateOf([undefined], 1_000)).toBe(0);
});
