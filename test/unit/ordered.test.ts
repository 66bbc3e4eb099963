/** A map in the order in which its entries were set last. */

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { OrderedMap } from '../../proxy/ordered.ts';

test('it is as a Map whose entries are deleted before they are set', () => {
  const change = fc.record({ what: fc.constantFrom('set', 'delete', 'clear'), key: fc.constantFrom(...'abcd') });
  const property = fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
    const [model, map] = [new Map<string, number>(), new OrderedMap<number>()];
    for (const [at, { what, key }] of changes.entries()) {
      if (what === 'clear') {
        model.clear();
        map.clear();
      } else {
        expect(map.has(key)).toBe(model.has(key));
        const deleted = model.delete(key);
        if (what === 'delete') expect(map.delete(key)).toBe(deleted);
        else model.set(key, map.set(key, at).get(key) ?? -1);
      }
      expect([[...map], map.first(), map.size]).toEqual([[...model], [...model][0], model.size]);
    }
  });
  fc.assert(property);
});

test('the entry at hand may be deleted, and set anew', () => {
  const map = new OrderedMap<number>().set('a', 1).set('b', 2).set('c', 3);
  const seen: string[] = [];
  for (const [key] of map) {
    seen.push(key);
    map.delete(key);
  }
  expect([seen, map.size]).toEqual([['a', 'b', 'c'], 0]);
});
