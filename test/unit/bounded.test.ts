/** Collections that keep what was set or added last. */

import { expect, test } from 'vitest';
import { BoundedMap, BoundedSet, shortened } from '../../proxy/bounded.ts';

test('a map drops what was set longest ago, and nothing while there is room', () => {
  const map = new BoundedMap<number>(2);
  map.set('a', 1).set('b', 2).set('a', 3);
  expect([...map]).toEqual([
    ['b', 2],
    ['a', 3],
  ]);
  map.set('c', 4);
  expect([...map]).toEqual([
    ['a', 3],
    ['c', 4],
  ]);
});

test('a set drops what was added longest ago, and nothing while there is room', () => {
  const set = new BoundedSet(2);
  set.add('a').add('b').add('a');
  expect([...set]).toEqual(['b', 'a']);
  set.add('c');
  expect([...set]).toEqual(['a', 'c']);
});

test('names of any length are told apart, and take little', () => {
  const [one, other] = ['x'.repeat(48_000), `${'x'.repeat(47_999)}y`];
  const map = new BoundedMap<number>(2).set(one, 1).set(other, 2);
  expect([map.get(one), map.get(other), map.has(one), map.get(shortened(one).slice(1))]).toEqual([
    1,
    2,
    true,
    undefined,
  ]);
  expect([...map.keys()].every((key) => key.length <= 256)).toBe(true);
  map.set(one, 3);
  expect(map.size).toBe(2);
  expect([map.delete(other), map.has(other)]).toEqual([true, false]);
  const set = new BoundedSet(2).add(one).add(other).add(one);
  expect([set.size, set.has(one), set.has(other), set.delete(one), set.has(one)]).toEqual([2, true, true, true, false]);
  expect([...set].every((key) => key.length <= 256)).toBe(true);
});
