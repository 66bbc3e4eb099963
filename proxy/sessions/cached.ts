/** A cache in front of a shared registry: a session that is known costs no call to it. */

import { type Session, type Sessions, SessionsUnavailable } from '../contract.ts';
import { type Counts, newCounts } from './counts.ts';
import { Entries, type Flight, isBehind } from './entries.ts';
import { newListeners } from '../listeners.ts';
import { newRecovery } from './recovery.ts';

/** A registry that other proxies change too, and that tells of it. */
export type LinkedSessions = Sessions & {
  /**
   * Calls `f` when changes of others begin to be heard and calls can be made (`true`, at once if they are and can), or
   * changes cease to be heard (`false`). `onChange` hears of sessions that this proxy has called about. Returns an
   * idempotent undo.
   */
  onLink(f: (linked: boolean) => void): () => void;
  /** Changes of this session need not be heard any more. */
  forget(id: string): void;
  /**
   * Puts back what the registry has lost, as after a failover, unless the session has ended or is there in a later
   * state. Returns what is true now, undefined = ended. Does not renew an idle life. Throws SessionsUnavailable.
   */
  restore(known: Session): Promise<Session | undefined>;
};

export type CachedSessionsOptions = {
  /** Idle life, the registry's: renewed there at most once per tenth of it. */
  readonly ttlSeconds: number;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** 20,000 by default; the least recently used go first. */
  readonly maxEntries?: number;
  /** Milliseconds between counts of the registry: 2,000 by default. */
  readonly countEveryMs?: number;
};

/**
 * While changes cannot be heard, each session is read again before use; when it cannot be read either, what is known is
 * used: availability first. `fresh` never falls back so. When they can be heard again, `onChange` tells of every session
 * that is known, for it may have changed, and what the registry has lost is put back. Owns `store`: `close` closes it.
 */
export function cachedSessions(store: LinkedSessions, options: CachedSessionsOptions): Sessions {
  const { now = Date.now, maxEntries = 20_000, countEveryMs = 2_000, ttlSeconds } = options;
  const listeners = newListeners<string>();
  const entries = new Entries({ ttlMs: ttlSeconds * 1_000, maxEntries, now, onForgotten: (id) => store.forget(id) });
  const counts = newCounts({ read: () => store.countByBackend(), everyMs: countEveryMs, now });
  const reader = newReader(store, entries, listeners.tell);
  const recovery = newRecovery(store, entries, listeners.tell);
  const undo = [
    store.onChange((id) => {
      entries.supersede(id);
      listeners.tell(id);
    }),
    store.onLink((linked) => {
      entries.link(linked);
      recovery.link(linked);
      // Who has an open stream may not ask by itself for long.
      if (linked) for (const id of entries.ids()) listeners.tell(id);
    }),
  ];

  return {
    find: (id, { fresh = false } = {}) => recovery.find(id, () => (fresh ? reader.read(id) : reader.use(id))),
    ...newChanger(store, entries, counts),
    onChange: listeners.add,
    countByBackend: async () => counts.current(),
    async close() {
      for (const one of undo) one();
      recovery.close();
      listeners.clear();
      entries.clear();
      await store.close();
    },
  };
}

function newReader(store: LinkedSessions, entries: Entries, tell: (id: string) => void) {
  const reads = new Map<string, { readonly flight: Flight; readonly session: Promise<Session | undefined> }>();

  async function land(flight: Flight): Promise<Session | undefined> {
    try {
      const found = await store.find(flight.id);
      const missed = entries.missed(flight, found);
      const session = missed ? await store.restore(missed) : found;
      if (entries.landRead(flight, session)) tell(flight.id);
      return session;
    } catch (error) {
      entries.landFailed(flight, 'read');
      throw error;
    } finally {
      if (reads.get(flight.id)?.flight === flight) reads.delete(flight.id);
    }
  }
  function read(id: string): Promise<Session | undefined> {
    const flight = entries.depart(id);
    const session = land(flight);
    reads.set(id, { flight, session });
    return session;
  }
  /** One read serves all who ask while it is on its way, unless they ask after a change. */
  function shared(id: string): Promise<Session | undefined> {
    const running = reads.get(id);
    return running && !running.flight.overtaken ? running.session : read(id);
  }
  async function use(id: string): Promise<Session | undefined> {
    const state = entries.state(id);
    if (state === 'good, to be renewed') read(id).catch(() => {});
    if (state !== 'unusable') return entries.known(id);
    try {
      return await shared(id);
    } catch (error) {
      const known = entries.known(id);
      if (!known || !(error instanceof SessionsUnavailable)) throw error;
      return known;
    }
  }
  return { read, use };
}

function newChanger(
  store: LinkedSessions,
  entries: Entries,
  counts: Counts,
): Pick<Sessions, 'create' | 'replace' | 'end'> {
  async function write<T>(
    id: string,
    change: () => Promise<T>,
    outcome: (result: T) => Session | undefined,
  ): Promise<T> {
    const flight = entries.depart(id);
    try {
      const result = await change();
      entries.landWrite(flight, outcome(result));
      return result;
    } catch (error) {
      entries.landFailed(flight, 'write');
      throw error;
    }
  }
  return {
    async create(session) {
      const result = await write(
        session.id,
        () => store.create(session),
        (made) => (made === 'created' ? session : undefined),
      );
      if (result === 'created') counts.add(session.home.id, 1);
      return result;
    },
    async replace(from, to) {
      const result = await write(
        from.id,
        () => replaceKnown(store, entries, from, to),
        (there) => there,
      );
      if (result?.revision === to.revision && from.home.id !== to.home.id) {
        counts.add(from.home.id, -1);
        counts.add(to.home.id, 1);
      }
      return result;
    },
    async end(id) {
      const home = entries.known(id)?.home.id;
      const ended = await write(
        id,
        () => store.end(id),
        () => undefined,
      );
      if (home !== undefined) counts.add(home, -1);
      return ended;
    },
  };
}

/** A registry that has lost the session, or its last change, is told before it is believed. */
async function replaceKnown(
  store: LinkedSessions,
  entries: Entries,
  from: Session,
  to: Session,
): Promise<Session | undefined> {
  const known = entries.vouched(from.id);
  const now = await store.replace(from, to);
  if (!known || !isBehind(now, known)) return now;
  const there = await store.restore(known);
  return there?.revision === from.revision ? store.replace(from, to) : there;
}
