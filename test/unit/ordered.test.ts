/** A map in the order in which its entries were set last. */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { OrderedMap } from '../../proxy/ordered.ts';

const change = fc.record({ what: fc.constantFrom('set', 'delete', 'clear'), key: fc.constantFrom('a', 'b', 'c', 'd') });
type Change = { readonly what: string; readonly key: string };

/** What each of the changes leaves in a map of either kind. */
function told(map: Map<string, number> | OrderedMap<number>, changes: readonly Change[]): readonly unknown[] {
  return changes.map(({ what, key }, at) => {
    const there = [map.has(key), map.get(key)];
    if (what === 'clear') map.clear();
    const deleted = map.delete(key);
    if (what === 'set') map.set(key, at);
    return [there, deleted, [...map], map.size];
  });
}

test('it is as a Map whose entries are deleted before they are set', () => {
  const property = fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
    const map = new OrderedMap<number>();
    expect(told(map, changes)).toEqual(told(new Map(), changes));
    expect(map.first()).toEqual([...map][0]);
  });
  fc.assert(property);
});

test('what is set anew is the last, though it was not deleted before', () => {
  const map = new OrderedMap<number>().set('a', 1).set('b', 2).set('a', 3);
  expect([...map]).toEqual([
    ['b', 2],
    ['a', 3],
  ]);
});

test('the entry at hand may be deleted', () => {
  const map = new OrderedMap<number>().set('a', 1).set('b', 2).set('c', 3);
  const seen: string[] = [];
  for (const [key] of map) {
    seen.push(key);
    map.delete(key);
  }
  expect([seen, map.size]).toEqual([['a', 'b', 'c'], 0]);
});
