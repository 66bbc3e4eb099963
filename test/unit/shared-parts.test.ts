/** Sessions in memory: what is equal in many is kept once, and what they take is known. */

import { describe, expect, test } from 'vitest';
import { SharedParts } from '../../proxy/sessions/shared-parts.ts';
import { sizeOf } from '../../proxy/sessions/size.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

/** As it comes from a registry: equal to another, and not the same. */
const read = (different: Parameters<typeof newSession>[0] = {}) => structuredClone(newSession(different));

test('what is kept is equal to what came', () => {
  const parts = new SharedParts();
  const sessions = [
    read(),
    read({ path: '/mcp', owner: 'me', backendSessionId: 'other' }),
    read({ capabilities: { tools: {} } }),
    read({ journal: { initialize: {}, initialized: false, subscriptions: [] } }),
  ];
  expect(sessions.map((one) => parts.keep(one))).toEqual(sessions);
});

test('equal parts of two sessions are the same, others are not', () => {
  const parts = new SharedParts();
  const [one, other] = [parts.keep(read()), parts.keep(read())];
  expect(other.capabilities).toBe(one.capabilities);
  expect(other.serverInfo).toBe(one.serverInfo);
  expect(other.home).toBe(one.home);
  expect(other.safeTools).toBe(one.safeTools);
  expect(other.journal.initialize).toBe(one.journal.initialize);
  const third = parts.keep(read({ capabilities: { tools: {} }, serverInfo: { name: 'another' } }));
  expect([third.capabilities, third.serverInfo]).toEqual([{ tools: {} }, { name: 'another' }]);
});

test('a thousand sessions of one large client take little more than one', () => {
  const parts = new SharedParts();
  const initialize = { clientInfo: { name: 'x'.repeat(50_000) } };
  const keep = () => parts.keep(read({ journal: { initialize, initialized: true, subscriptions: [] } }));
  keep();
  const ofOne = parts.bytes;
  expect(ofOne).toBeGreaterThan(50_000);
  for (let at = 0; at < 1_000; at += 1) keep();
  expect((parts.bytes - ofOne) / 1_000).toBeLessThan(1_024);
});

test('what nobody uses any more takes nothing', () => {
  const parts = new SharedParts();
  const kept = Array.from({ length: 10 }, (_, at) => parts.keep(read({ serverInfo: { name: `server ${at % 3}` } })));
  const more = kept.map((one) => parts.keep(migrated(changed(one), `b${one.id}`)));
  for (const one of [...kept, ...more]) parts.drop(one);
  expect(parts.bytes).toBe(0);
});

test('ids and subscriptions of any length count', () => {
  const parts = new SharedParts();
  const bytesOf = (different: Parameters<typeof newSession>[0]) => {
    const before = parts.bytes;
    parts.keep(read(different));
    return parts.bytes - before;
  };
  parts.keep(read());
  expect(bytesOf({ id: 'x'.repeat(48_000) })).toBeGreaterThan(48_000);
  expect(bytesOf({ backendSessionId: 'x'.repeat(48_000) })).toBeGreaterThan(48_000);
  const subscriptions = Array.from({ length: 1_000 }, (_, at) => `file:///${at}`.padEnd(2_000, 'x'));
  expect(bytesOf({ journal: { initialize: {}, initialized: true, subscriptions } })).toBeGreaterThan(2_000_000);
});

describe('the size of a value', () => {
  /** By measure, V8 takes so many bytes for each character of text at most. */
  test.each([
    ['empty lists', '[]', 13.3],
    ['empty objects', '{}', 21.3],
    ['lists in lists', '[[[[[[[[]]]]]]]]', 20],
    ['objects with names of their own', '{"k":1}', 8],
    ['texts', '"abcdefgh"', 1],
  ])('counts %s high', (_name, item, perCharacter) => {
    const text = `[${Array.from({ length: 1_000 }, () => item).join(',')}]`;
    expect(sizeOf(JSON.parse(text)) / text.length).toBeGreaterThan(perCharacter);
  });

  test('two bytes a character where one is not enough', () => {
    expect(sizeOf('€'.repeat(1_000)) - sizeOf('x'.repeat(1_000))).toBe(1_000);
  });

  test('is told of any depth', () => {
    const depth = 20_000;
    expect(sizeOf(JSON.parse('['.repeat(depth) + ']'.repeat(depth)))).toBeGreaterThan(depth);
  });
});
