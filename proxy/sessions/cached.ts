/** A cache in front of a shared registry: a session that is known costs no call to it. */

import type { AskUse } from '../backend-sessions.ts';
import type { JsonObject, Peers, Session, Sessions } from '../contract.ts';
import { type Ending, hashOf } from './changes.ts';
import { type Counts, newCounts } from './counts.ts';
import { newConfirming } from './confirming.ts';
import { type Endings, endedMs, newEndings } from './endings.ts';
import { Entries, isBehind } from './entries.ts';
import { newListeners } from '../listeners.ts';
import { newLostSessions } from './lost.ts';
import { newReader } from './reader.ts';
import { type Recovery, newRecovery, newSecure } from './recovery.ts';
import { type Serving, newAskUse } from './use.ts';

/** A registry that other proxies change too, and that tells of it. */
export type LinkedSessions = Sessions & {
  /**
   * Calls `f` when changes of others begin to be heard and calls can be made (`true`, at once if they are and can), or
   * changes cease to be heard (`false`). `onChange` hears of sessions that this proxy has called about. Returns an
   * idempotent undo.
   */
  onLink(f: (linked: boolean) => void): () => void;
  /** Calls `f` with each session that has ended, known or not, before `onChange`. Returns an idempotent undo. */
  onEnd(f: (ending: Ending) => void): () => void;
  /** The id of a session that this proxy has called about. */
  idOf(hash: string): string | undefined;
  /** Whether the registry knows that it has ended, rather than nothing of it. Throws SessionsUnavailable. */
  hasEnded(id: string): Promise<boolean>;
  /** Changes of this session need not be heard any more. */
  forget(id: string): void;
  /**
   * Puts back what the registry has lost, as after a failover, unless the session has ended or is there in a later
   * state. Returns what is true now, undefined = ended. Does not renew an idle life. Throws SessionsUnavailable.
   */
  restore(known: Session): Promise<Session | undefined>;
  /** Names what the registry remembers: another name when it has lost everything since. Throws SessionsUnavailable. */
  memory?(): Promise<string>;
};

export type CachedSessionsOptions = {
  /** Idle life, the registry's: renewed there at most once per tenth of it. */
  readonly ttlSeconds: number;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** 20,000 by default; the least recently used go first. */
  readonly maxEntries?: number;
  /** Likewise of what they take, an estimate: 64 MiB by default. */
  readonly maxBytes?: number;
  /** Milliseconds between counts of the registry: 2,000 by default. */
  readonly countEveryMs?: number;
  readonly serving?: Serving;
  /** The other proxies, asked for a session that the registry has lost. */
  readonly peers?: Peers;
  /** Told what they answered about a session that neither the registry nor this proxy knows. */
  readonly onAnswers?: (answers: readonly JsonObject[]) => void;
};

export type CachedSessions = Sessions & {
  readonly use: AskUse;
  /** Whether it is found without asking, or was here and must be there still. */
  knows(id: string): boolean;
};

/** Of the time for which the registry remembers an end: clocks and answers are not exact. */
const SURE = 0.8;

/**
 * While changes cannot be heard, each session is read again before use; when it cannot be read either, what is known is
 * used: availability first. `fresh` never falls back so. When they can be heard again, `onChange` tells of every session
 * that is known, for it may have changed, and what the registry has lost is put back. Owns `store`: `close` closes it.
 */
export function cachedSessions(store: LinkedSessions, options: CachedSessionsOptions): CachedSessions {
  const {
    now = Date.now,
    maxEntries = 20_000,
    maxBytes = 64 * 1_024 * 1_024,
    countEveryMs = 2_000,
    ttlSeconds,
    serving = { has: () => false, calls: () => false },
    peers,
    onAnswers = () => {},
  } = options;
  const ttlMs = ttlSeconds * 1_000;
  const listeners = newListeners<string>();
  const lifeMs = endedMs(ttlMs);
  const sureMs = lifeMs * SURE;
  const entries = new Entries({
    ttlMs,
    sureMs,
    maxEntries,
    maxBytes,
    inUse: serving.has,
    now,
    onForgotten: (id) => store.forget(id),
  });
  const endings = newEndings({ lifeMs, most: maxEntries, now });
  const counts = newCounts({ read: () => store.countByBackend(), everyMs: countEveryMs, now });
  const secure = newSecure(store, entries, listeners.tell);
  const vouched = (id: string): Session | undefined => entries.vouched(id);
  const lost = newLostSessions({ peers, store, endings, vouched, secure, onAnswers, now });
  const confirming = newConfirming({ store, entries, secure, everyMs: sureMs / 8 });
  const reader = newReader(store, entries, lost, confirming, listeners.tell);
  const recovery = newRecovery(entries, secure, lost, confirming.checkMemory);
  const knows = (id: string): boolean => entries.vouched(id) !== undefined;
  const use = newAskUse({ peers, serving, idOf: (hash) => store.idOf(hash), knows, secure });
  const undo = [confirming.stop, use.close, ...hear(store, entries, endings, recovery, listeners.tell)];

  return {
    find: (id, { fresh = false } = {}) => {
      const read = (): Promise<Session | undefined> => reader.read(id);
      return recovery.find(id, { use: fresh ? read : () => reader.use(id), read });
    },
    ...newChanger(store, entries, counts, endings),
    knows: (id) => entries.vouched(id) !== undefined,
    use: use.of,
    onChange: listeners.add,
    countByBackend: async () => counts.current(),
    async close() {
      for (const one of undo) one();
      lost.close();
      recovery.close();
      listeners.clear();
      entries.clear();
      await store.close();
    },
  };
}

function hear(
  store: LinkedSessions,
  entries: Entries,
  endings: Endings,
  recovery: Recovery,
  tell: (id: string) => void,
): readonly (() => void)[] {
  return [
    store.onEnd(({ hash, createdAt }) => {
      if (createdAt !== undefined) endings.add(hash, createdAt);
      const id = store.idOf(hash);
      if (id !== undefined) entries.end(id);
    }),
    store.onChange((id) => {
      entries.supersede(id);
      tell(id);
    }),
    store.onLink((linked) => {
      entries.link(linked);
      recovery.link(linked);
      // Who has an open stream may not ask by itself for long.
      if (linked) for (const id of entries.ids()) tell(id);
    }),
  ];
}

function newChanger(
  store: LinkedSessions,
  entries: Entries,
  counts: Counts,
  endings: Endings,
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
      if (result === 'taken') return result;
      endings.forget(hashOf(session.id));
      counts.add(session.home.id, 1);
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
      const was = await write(
        id,
        () => store.end(id),
        () => undefined,
      );
      if (was) endings.add(hashOf(id), was.createdAt);
      if (home !== undefined) counts.add(home, -1);
      return was;
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
