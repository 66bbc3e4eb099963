/** How a backend leaves the list of discovery. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createMembers } from '../../proxy/backends/members.ts';

const REFUSED = new Error('refused');
let members: ReturnType<typeof createMembers>;
let lists: string[];
beforeEach(() => {
  vi.useFakeTimers();
  members = createMembers({ lingerMs: 1000, suspectMs: 100 });
  are('a', 'b');
  lists = [];
  members.onChange(() => lists.push(seen()));
});
afterEach(async () => {
  await members.close();
  vi.useRealTimers();
});

const are = (...ids: string[]) => members.set(ids.map((id) => ({ id, origin: `http://${id}` })));
const seen = () =>
  members
    .list()
    .map(({ id, draining, suspect }) => `${draining ? `(${id})` : id}${suspect ? '?' : ''}`)
    .join(' ');

test('one that has left is draining for a while', () => {
  are('b');
  vi.advanceTimersByTime(999);
  are('b');
  expect(seen()).toBe('(a) b');
  vi.advanceTimersByTime(1);
  expect(lists).toEqual(['(a) b', 'b']);
});

test('one that has left and fails is gone at once', () => {
  are('b');
  members.suspect('a', REFUSED);
  members.suspect('a', REFUSED);
  expect(lists).toEqual(['(a) b', 'b']);
});

test('one that fails and leaves is gone at once', () => {
  members.suspect('a', REFUSED);
  are('b');
  expect(lists).toEqual(['a? b', 'b']);
});

test('one that comes back is ready, and leaves anew', () => {
  are('b');
  vi.advanceTimersByTime(999);
  are('a', 'b');
  vi.advanceTimersByTime(999);
  are('b');
  vi.advanceTimersByTime(999);
  expect(lists).toEqual(['(a) b', 'a b', '(a) b']);
});

test('one that has gone may come back', () => {
  are('b');
  members.suspect('a', REFUSED);
  are('a', 'b');
  expect(seen()).toBe('b a');
});

test('a set in another order, or with one twice, is no change', () => {
  are('b', 'a', 'b');
  expect(lists).toEqual([]);
});

test('a new address or zone of a known id is a change', () => {
  members.set([
    { id: 'a', origin: 'http://a:2' },
    { id: 'b', origin: 'http://b', zone: 'eu-1a' },
  ]);
  expect(members.list()).toMatchObject([{ origin: 'http://a:2' }, { zone: 'eu-1a' }]);
  expect(lists).toHaveLength(1);
});

test('everybody may leave', () => {
  are();
  expect(lists).toEqual(['(a) (b)']);
});

test('everybody who has left stays until it fails, or somebody comes', () => {
  are();
  vi.advanceTimersByTime(5000);
  members.suspect('a', REFUSED);
  expect(seen()).toBe('(b)');
  are('c');
  vi.advanceTimersByTime(1000);
  expect(lists).toEqual(['(a) (b)', '(b)', '(b) c', 'c']);
});

test('one whose address another has is gone at once, if it has left a while ago or just now', () => {
  are('b');
  members.set([
    { id: 'a2', origin: 'http://a' },
    { id: 'b2', origin: 'http://b' },
  ]);
  expect(lists).toEqual(['(a) b', 'a2 b2']);
  vi.advanceTimersByTime(1000);
  expect(seen()).toBe('a2 b2');
});

test('a member may be draining, and can be suspect without being dropped', () => {
  members.set([
    { id: 'a', origin: 'http://a', draining: true },
    { id: 'b', origin: 'http://b' },
  ]);
  members.suspect('a', REFUSED);
  are('a', 'b');
  expect(lists).toEqual(['(a) b', '(a)? b', 'a? b']);
});

test('closed, it takes no more members', async () => {
  await members.close();
  are('c');
  expect(seen()).toBe('a b');
});

test('who comes later is known by when it came, those of the first set are not', () => {
  are('a', 'b', 'c');
  are('a', 'b', 'c');
  expect(members.list().map(({ id, since }) => [id, since])).toEqual([
    ['a', undefined],
    ['b', undefined],
    ['c', Date.now()],
  ]);
});
