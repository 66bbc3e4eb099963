/** Collections that keep what was set or added last. */

import { expect, test } from 'vitest';
import { BoundedMap, BoundedSet } from '../../proxy/bounded.ts';

test('a map drops what was set longest ago, and nothing while there is room', () => {
  const map = new BoundedMap<string, number>(2);
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
