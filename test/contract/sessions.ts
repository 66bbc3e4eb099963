/** What every implementation of Sessions promises. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Sessions } from '../../proxy/contract.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

export type Registry = {
  readonly sessions: Sessions;
  /** Another proxy's, over the same registry; undefined where there can be none. */
  readonly other: Sessions | undefined;
  /** Lets so much of the session's idle life pass as if nobody had used it. */
  readonly age: (id: string, seconds: number) => Promise<void>;
  /** Closes both. */
  readonly close: () => Promise<void>;
};

/** An implementation whose idle life is 100 s. */
export type SessionsUnderTest = { readonly make: () => Promise<Registry> };

/** Registers the suite for one implementation. */
export function sessionsContract(name: string, { make }: SessionsUnderTest): void {
  describe(`Sessions: ${name}`, () => {
    let registry: Registry;
    let sessions: Sessions;
    let other: Sessions;
    beforeEach(async () => {
      registry = await make();
      ({ sessions } = registry);
      other = registry.other ?? sessions;
    });
    afterEach(() => registry.close());

    const both = async (id: string) => [await sessions.find(id), await other.find(id, { fresh: true })];
    const heardBy = (one: Sessions) => {
      const heard: string[] = [];
      const undo = one.onChange((id) => heard.push(id));
      return { heard, undo };
    };

    describe('create and find', () => {
      test('what was created is found, whole', async () => {
        const session = newSession({ owner: 'me', busyUntil: 7, asksFirst: true });
        expect(await sessions.create(session)).toBe('created');
        expect(await both(session.id)).toEqual([session, session]);
      });

      test('a backend session id of its own is kept', async () => {
        const session = newSession({ backendSessionId: 'other' });
        await sessions.create(session);
        expect(await both(session.id)).toEqual([session, session]);
      });

      test('an unknown id is nobody', async () => {
        expect(await both('nobody')).toEqual([undefined, undefined]);
      });

      test('an id that is taken is not taken over', async () => {
        const session = newSession();
        await sessions.create(session);
        expect(await sessions.create(newSession({ id: session.id }))).toBe('taken');
        expect(await other.create(newSession({ id: session.id }))).toBe('taken');
        expect(await both(session.id)).toEqual([session, session]);
      });

      test('the very same call again is no other session', async () => {
        const session = newSession();
        await sessions.create(session);
        expect(await sessions.create(session)).toBe('created');
      });
    });

    describe('replace', () => {
      test('stores the new one', async () => {
        const one = newSession();
        const two = migrated(one, 'b');
        await sessions.create(one);
        expect(await sessions.replace(one, two)).toEqual(two);
        expect(await both(one.id)).toEqual([two, two]);
      });

      test('returns the winner to the loser', async () => {
        const one = newSession();
        const winner = migrated(one, 'b');
        await sessions.create(one);
        await other.replace(one, winner);
        expect(await sessions.replace(one, migrated(one, 'c'))).toEqual(winner);
        expect(await both(one.id)).toEqual([winner, winner]);
      });

      test('one of many at the same time wins, and all agree on it', async () => {
        const one = newSession();
        await sessions.create(one);
        const attempts = ['b', 'c', 'd', 'e'].map((home, i) =>
          (i % 2 ? sessions : other).replace(one, migrated(one, home)),
        );
        const results = await Promise.all(attempts);
        const [now] = await both(one.id);
        expect(now?.epoch).toBe(1);
        expect(results).toEqual([now, now, now, now]);
      });

      test('the very same call again is no race', async () => {
        const one = newSession();
        const two = migrated(one, 'b');
        await sessions.create(one);
        await sessions.replace(one, two);
        expect(await sessions.replace(one, two)).toEqual(two);
      });

      test('what has ended stays so', async () => {
        const one = newSession();
        await sessions.create(one);
        await other.end(one.id);
        expect(await sessions.replace(one, migrated(one, 'b'))).toBeUndefined();
        expect(await both(one.id)).toEqual([undefined, undefined]);
      });
    });

    describe('end', () => {
      test('is for good, and can be said twice', async () => {
        const session = newSession();
        await sessions.create(session);
        await sessions.end(session.id);
        expect(await both(session.id)).toEqual([undefined, undefined]);
        await sessions.end(session.id);
        await other.end('nobody');
      });
    });

    describe('idle life', () => {
      test('ends a session that nobody uses', async () => {
        const session = newSession();
        await sessions.create(session);
        await registry.age(session.id, 101);
        expect(await both(session.id)).toEqual([undefined, undefined]);
        expect(await sessions.replace(session, migrated(session, 'b'))).toBeUndefined();
      });

      test('is renewed by a find', async () => {
        const session = newSession();
        await sessions.create(session);
        for (let round = 0; round < 3; round += 1) {
          await registry.age(session.id, 60);
          expect(await sessions.find(session.id, { fresh: true })).toEqual(session);
        }
      });

      test('is renewed by a replace', async () => {
        const one = newSession();
        const two = changed(one);
        await sessions.create(one);
        await registry.age(one.id, 60);
        await sessions.replace(one, two);
        await registry.age(one.id, 60);
        expect(await both(one.id)).toEqual([two, two]);
      });
    });

    describe('onChange', () => {
      test('hears of what another proxy does, and not of its own', async () => {
        if (!registry.other) return;
        const one = newSession();
        const two = migrated(one, 'b');
        await sessions.create(one);
        await other.find(one.id);
        const [here, there] = [heardBy(sessions), heardBy(other)];
        await sessions.replace(one, two);
        await vi.waitFor(() => expect(there.heard).toEqual([one.id]));
        expect(await other.find(one.id)).toEqual(two);
        await other.end(one.id);
        await vi.waitFor(() => expect(here.heard).toEqual([one.id]));
        expect(await sessions.find(one.id)).toBeUndefined();
        expect(there.heard).toEqual([one.id]);
      });

      test('is never told of its own changes', async () => {
        const one = newSession();
        const { heard } = heardBy(sessions);
        await sessions.create(one);
        await sessions.replace(one, changed(one));
        await sessions.end(one.id);
        expect(heard).toEqual([]);
      });

      test('does not hear of a race that it won, or of one that changed nothing', async () => {
        if (!registry.other) return;
        const [one, last] = [newSession(), newSession()];
        for (const session of [one, last]) await other.create(session);
        for (const session of [one, last]) await sessions.find(session.id);
        const { heard } = heardBy(sessions);
        await sessions.replace(one, changed(one));
        await other.replace(one, changed(one));
        await other.end('nobody');
        await other.end(last.id);
        await vi.waitFor(() => expect(heard).toEqual([last.id]));
      });

      test('a listener that throws harms nobody, and an undo undoes its own', async () => {
        const one = newSession();
        sessions.onChange(() => {
          throw new Error('no harm');
        });
        const [first, second] = [heardBy(sessions), heardBy(sessions)];
        first.undo();
        first.undo();
        await sessions.create(one);
        if (!registry.other) return;
        await registry.other.replace(one, changed(one));
        await vi.waitFor(() => expect(second.heard).toEqual([one.id]));
        expect(first.heard).toEqual([]);
      });
    });

    describe('countByBackend', () => {
      test('follows sessions through their lives', async () => {
        const [one, two, three] = [newSession(), newSession(), newSession()];
        const settled = (expected: object) =>
          vi.waitFor(async () => expect(Object.fromEntries(await sessions.countByBackend())).toEqual(expected), 3_000);
        await settled({});
        for (const session of [one, two, three]) await sessions.create(session);
        await settled({ a: 3 });
        await sessions.replace(one, migrated(one, 'b'));
        await settled({ a: 2, b: 1 });
        await other.replace(two, migrated(two, 'b'));
        await settled({ a: 1, b: 2 });
        await sessions.replace(three, changed(three));
        await other.end(two.id);
        await settled({ a: 1, b: 1 });
        await sessions.end(one.id);
        await settled({ a: 1 });
      });
    });
  });
}
