/** Streams that other proxies hold are attached to what may become the home of their session, and closed if it does not. */

import { hash } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Session } from '../../proxy/contract.ts';
import { createPeerStreams } from '../../proxy/peer-streams.ts';
import type { Streams } from '../../proxy/streams.ts';
import { newNetwork } from '../house/network.ts';
import { migrated, newSession } from '../house/sessions.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Streams of one session, or of none, that write down what becomes of them. */
function newStreams(listening: Session | undefined, state: 'attached' | 'refused' = 'attached') {
  let session = listening;
  const log: string[] = [];
  const discard = (_id: string, backendSessionId: string) => void log.push(`discard ${backendSessionId}`);
  let begins = (_hash: string): void => {};
  const streams: Pick<Streams, 'prepare' | 'discard' | 'named' | 'onBegin'> = {
    prepare(housed, to) {
      log.push(`prepare ${housed.backendSessionId} ${housed.epoch} ${to.id}`);
      return { ready: async () => state, discard: () => discard(housed.id, housed.backendSessionId) };
    },
    discard,
    onBegin(f) {
      begins = f;
      return () => {};
    },
    named: (asked) => (session !== undefined && asked === hash('sha256', session.id) ? session : undefined),
  };
  /** Somebody begins to listen. */
  function listen(begun: Session): void {
    session = begun;
    begins(hash('sha256', begun.id));
  }
  return { log, streams, listen };
}

function begin(theirs: ReturnType<typeof newStreams>, mine = newStreams(undefined), complete = true) {
  const join = newNetwork();
  const own = createPeerStreams(mine.streams, join(complete), 1_000);
  createPeerStreams(theirs.streams, join(), 1_000);
  return own;
}

const session = newSession();
const next = { ...migrated(session, 'b'), backendSessionId: 'next' };
const to = { ...next.home, draining: false, suspect: false };

test('another proxy’s stream is attached, and left when that is said', async () => {
  const theirs = newStreams(session);
  const prepared = begin(theirs).prepare(next, to);
  expect(await prepared.ready()).toBe('attached');
  expect(theirs.log).toEqual(['prepare next 1 b']);
  prepared.discard();
  await vi.advanceTimersByTimeAsync(0);
  expect(theirs.log).toEqual(['prepare next 1 b', 'discard next']);
});

test('it is left when nothing more is said within 30 s', async () => {
  const theirs = newStreams(session);
  await begin(theirs).prepare(next, to).ready();
  await vi.advanceTimersByTimeAsync(29_999);
  expect(theirs.log).toEqual(['prepare next 1 b']);
  await vi.advanceTimersByTimeAsync(1);
  expect(theirs.log).toEqual(['prepare next 1 b', 'discard next']);
});

test.each([
  ['attached', 'attached', true, 'attached'],
  ['refused', 'attached', true, 'refused'],
  ['attached', 'refused', true, 'refused'],
  ['attached', 'attached', false, 'late'],
  ['refused', 'attached', false, 'refused'],
] as const)('ours %s, theirs %s, all have answered: %s → %s', async (ours, state, complete, ready) => {
  const own = begin(newStreams(session, state), newStreams(session, ours), complete);
  expect(await own.prepare(next, to).ready()).toBe(ready);
});

test('a proxy to which nobody of that session listens attaches nothing', async () => {
  const theirs = newStreams(newSession());
  expect(await begin(theirs).prepare(next, to).ready()).toBe('attached');
  expect(theirs.log).toEqual([]);
});

test('what begins at another proxy while the session migrates is attached, for 30 s', async () => {
  const theirs = newStreams(undefined);
  const own = begin(theirs);
  await own.prepare(next, to).ready();
  theirs.listen(session);
  expect(theirs.log).toEqual(['prepare next 1 b']);

  const later = newStreams(undefined);
  await begin(later).prepare(next, to).ready();
  await vi.advanceTimersByTimeAsync(30_000);
  later.listen(session);
  expect(later.log).toEqual([]);
});

test('not what begins after it was given up, or at the new home', async () => {
  const theirs = newStreams(undefined);
  const prepared = begin(theirs).prepare(next, to);
  await prepared.ready();
  prepared.discard();
  await vi.advanceTimersByTimeAsync(0);
  theirs.listen(session);
  expect(theirs.log).toEqual([]);

  const late = newStreams(undefined);
  await begin(late).prepare(next, to).ready();
  late.listen(next);
  expect(late.log).toEqual([]);
});
