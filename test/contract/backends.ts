/** What every implementation of Backends promises; the fake clock is on while a test runs. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Backends } from '../../proxy/contract.ts';

/** An implementation that knows the backends `a:3000` and `b:3000`, and nothing bad about them. */
export type BackendsUnderTest = {
  readonly make: () => Promise<Backends>;
  /** How long a suspect stays one, in milliseconds. */
  readonly suspectMs: number;
  /** Theirs, where discovery knows addresses only; `http://a:3000` and `http://b:3000` by default. */
  readonly origins?: readonly [string, string];
};

const CAUSE = new Error('connect ECONNREFUSED');
const suspects = (backends: Backends) => backends.list().flatMap(({ id, suspect }) => (suspect ? [id] : []));

/** Registers the suite for one implementation. */
export function backendsContract(name: string, { make, suspectMs, origins }: BackendsUnderTest): void {
  const [originA, originB] = origins ?? ['http://a:3000', 'http://b:3000'];
  describe(`Backends: ${name}`, () => {
    let backends: Backends;
    let changes: string[][];
    beforeEach(async () => {
      vi.useFakeTimers();
      backends = await make();
      changes = [];
      backends.onChange(() => changes.push(suspects(backends)));
    });
    afterEach(async () => {
      await backends.close();
      vi.useRealTimers();
    });

    test('lists who is there', () => {
      expect(backends.list().toSorted((a, b) => (a.id < b.id ? -1 : 1))).toMatchObject([
        { id: 'a:3000', origin: originA, draining: false, suspect: false },
        { id: 'b:3000', origin: originB, draining: false, suspect: false },
      ]);
    });

    test('a suspect is one for a while', () => {
      backends.suspect('b:3000', CAUSE);
      expect(suspects(backends)).toEqual(['b:3000']);
      vi.advanceTimersByTime(suspectMs - 1);
      expect(suspects(backends)).toEqual(['b:3000']);
      vi.advanceTimersByTime(1);
      expect(suspects(backends)).toEqual([]);
      expect(changes).toEqual([['b:3000'], []]);
    });

    test('suspected again, it is one for longer, and listeners hear of it once', () => {
      backends.suspect('a:3000', CAUSE);
      vi.advanceTimersByTime(suspectMs - 1);
      backends.suspect('a:3000', CAUSE);
      vi.advanceTimersByTime(suspectMs - 1);
      expect(suspects(backends)).toEqual(['a:3000']);
      vi.advanceTimersByTime(1);
      expect(changes).toEqual([['a:3000'], []]);
    });

    test('each suspect has its own time', () => {
      backends.suspect('a:3000', CAUSE);
      vi.advanceTimersByTime(1);
      backends.suspect('b:3000', CAUSE);
      vi.advanceTimersByTime(suspectMs - 1);
      expect(suspects(backends)).toEqual(['b:3000']);
    });

    test('a backend that nobody knows cannot be suspect', () => {
      backends.suspect('z:3000', CAUSE);
      expect(backends.list()).toHaveLength(2);
      expect(changes).toEqual([]);
    });

    test('a list that was given out stays as it was', () => {
      const before = backends.list();
      backends.suspect('a:3000', CAUSE);
      expect(before.some(({ suspect }) => suspect)).toBe(false);
    });

    test('the undo of onChange can be called twice, and undoes one subscription only', () => {
      const heard: string[] = [];
      const listener = () => heard.push('heard');
      const undo = backends.onChange(listener);
      backends.onChange(listener);
      undo();
      undo();
      backends.suspect('a:3000', CAUSE);
      expect(heard).toEqual(['heard']);
    });

    test('a listener that throws harms nobody', () => {
      backends.onChange(() => {
        throw new Error('mine');
      });
      const later: string[][] = [];
      backends.onChange(() => later.push(suspects(backends)));
      expect(() => backends.suspect('a:3000', CAUSE)).not.toThrow();
      vi.advanceTimersByTime(suspectMs);
      expect(later).toEqual([['a:3000'], []]);
    });

    test('closed, it is silent, and can be closed again', async () => {
      backends.suspect('a:3000', CAUSE);
      await backends.close();
      await backends.close();
      backends.suspect('b:3000', CAUSE);
      backends.onChange(() => changes.push(['late']));
      vi.advanceTimersByTime(suspectMs);
      expect(changes).toEqual([['a:3000']]);
      expect(vi.getTimerCount()).toBe(0);
    });
  });
}
