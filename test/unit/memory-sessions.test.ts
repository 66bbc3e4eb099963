/** The registry in memory: it has bounds, and what a call costs does not depend on how many sessions there are. */

import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { SessionsUnavailable } from '../../proxy/contract.ts';
import { hashOf } from '../../proxy/sessions/changes.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

const ttlSeconds = 100;

function begin(bounds: { readonly maxSessions?: number; readonly maxBytes?: number } = {}) {
  let at = 0;
  const sessions = memorySessions({ ttlSeconds, now: () => at, ...bounds });
  onTestFinished(() => sessions.close());
  const open = async (count: number) => {
    const opened = Array.from({ length: count }, () => newSession());
    for (const one of opened) {
      await sessions.create(one);
      at += 1;
    }
    return opened;
  };
  return { sessions, open, pass: (seconds: number) => void (at += seconds * 1_000) };
}

/** How many entries of maps and sets are visited while `f` runs. */
async function visitedBy(f: () => Promise<unknown>): Promise<number> {
  const generated = Object.getPrototypeOf(Object.getPrototypeOf((function* none() {})()));
  const iterators = [new Map().values(), new Set().values()].map((one) => Object.getPrototypeOf(one)).concat(generated);
  const spies = iterators.map((one) => vi.spyOn(one, 'next'));
  await f();
  const visited = spies.reduce((sum, { mock }) => sum + mock.calls.length, 0);
  for (const spy of spies) spy.mockRestore();
  return visited;
}

describe('what a call costs', () => {
  async function costs(count: number) {
    const { sessions, open } = begin();
    const [one] = await open(count);
    const opened = newSession();
    const visited: Record<string, number> = {};
    const note = async (name: string, f: () => Promise<unknown>) => void (visited[name] = await visitedBy(f));
    await note('room and counts', async () => [sessions.room(), await sessions.countByBackend()]);
    await note('create', () => sessions.create(opened));
    await note('find', () => sessions.find(one!.id));
    await note('replace', () => sessions.replace(one!, migrated(one!, 'b')));
    await note('find by hash', () => sessions.byHash.find(hashOf(one!.id)));
    await note('page', () => sessions.byHash.page({ backend: undefined, limit: 10, after: undefined }));
    await note('end', () => sessions.end(opened.id));
    return visited;
  }

  test('is the same beside ten sessions and beside ten thousand', async () => {
    const few = await costs(100);
    expect(await costs(10_000)).toEqual(few);
    expect(Math.max(...Object.values(few))).toBeLessThan(100);
  });

  test('is bounded when all sessions have ended at once', async () => {
    const { sessions, open, pass } = begin();
    const [one] = await open(5_000);
    pass(101);
    expect(await visitedBy(() => sessions.find(one!.id))).toBeLessThan(1_100);
    expect(await sessions.find(one!.id)).toBeUndefined();
    for (let call = 0; call < 5; call += 1) await sessions.find(one!.id);
    expect([...(await sessions.countByBackend())]).toEqual([]);
  });

  test('one whose idle life is over is not found, not shown and not counted as taken before it is swept', async () => {
    const { sessions, open, pass } = begin();
    const opened = await open(3_000);
    pass(101);
    const last = opened.at(-1)!;
    expect(await sessions.byHash.page({ backend: undefined, limit: 5, after: undefined })).toEqual({
      sessions: [],
      next: undefined,
    });
    expect(await sessions.create(newSession({ id: last.id }))).toBe('created');
  });
});

test('a clock that is set back keeps nobody alive for longer than another', async () => {
  const { sessions, open, pass } = begin();
  const [one] = await open(1);
  pass(-50);
  const [two] = await open(1);
  pass(149);
  expect(await sessions.find(one!.id)).toEqual(one);
  pass(102);
  expect([await sessions.find(one!.id), await sessions.find(two!.id)]).toEqual([undefined, undefined]);
});

describe('room', () => {
  test('is for so many, until some end', async () => {
    const { sessions, open, pass } = begin({ maxSessions: 3 });
    expect(sessions.room()).toBe(3);
    const [one] = await open(2);
    expect(sessions.room()).toBe(1);
    await open(1);
    expect(sessions.room()).toBe(0);
    await sessions.end(one!.id);
    expect(sessions.room()).toBe(1);
    pass(101);
    expect(sessions.room()).toBe(3);
  });

  test('is for so many bytes', async () => {
    const { sessions } = begin({ maxBytes: 100_000 });
    const large = (at: number) =>
      newSession({ journal: { initialize: { at, text: 'x'.repeat(30_000) }, initialized: true, subscriptions: [] } });
    for (let at = 0; at < 3; at += 1) await sessions.create(large(at));
    expect(sessions.room()).toBe(Infinity);
    const last = large(3);
    await sessions.create(last);
    expect(sessions.room()).toBe(0);
    await sessions.end(last.id);
    expect(sessions.room()).toBe(Infinity);
  });

  test('there is none: what takes more is refused, what does not is taken, and so is a new home', async () => {
    const { sessions, open } = begin({ maxBytes: 1_000 });
    const [one] = await open(1);
    const { journal } = one!;
    const grown = { ...changed(one!), journal: { ...journal, subscriptions: ['file:///y'.padEnd(2_000, 'y')] } };
    await expect(sessions.replace(one!, grown)).rejects.toThrow(SessionsUnavailable);
    expect(await sessions.find(one!.id)).toEqual(one);
    const two = changed(one!);
    expect(await sessions.replace(one!, two)).toEqual(two);
    const three = migrated(two, 'b');
    expect(await sessions.replace(two, three)).toEqual(three);
    expect([...(await sessions.countByBackend())]).toEqual([['b', 1]]);
  });
});
