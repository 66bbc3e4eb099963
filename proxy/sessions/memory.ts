/** The registry in this process's memory: for one proxy, and for as long as it runs. */

import { hash as digest } from 'node:crypto';
import { type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import type { Session, Sessions } from '../contract.ts';
import { newListeners } from '../listeners.ts';
import type { SessionsByHash } from './by-hash.ts';
import { memoryBackendSessions } from './memory-backend-sessions.ts';
import { type Held, countByHome, memoryByHash } from './memory-by-hash.ts';

export type MemorySessionsOptions = {
  /** Idle life. */
  readonly ttlSeconds: number;
  /** After which a session ends though it is used; undefined: never. */
  readonly maxAgeSeconds?: number | undefined;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
};

/** Nobody but an operator can change what is here unasked: `onChange` hears of sessions ended by hash. Never throws. */
export function memorySessions(options: MemorySessionsOptions): Sessions & {
  readonly byHash: SessionsByHash;
  readonly backendSessions: BackendSessions;
} {
  const listeners = newListeners<string>();
  const dropUnasked = (session: Session): void => {
    drop(session);
    listeners.tell(session.id);
  };
  const { entries, sweep, alive, keep, drop, backendSessions } = newEntries(options, dropUnasked);

  return {
    async find(id) {
      const session = alive(id);
      return session && keep(session);
    },
    async create(session) {
      const there = alive(session.id);
      if (there && there.revision !== session.revision) return 'taken';
      keep(session);
      return 'created';
    },
    async replace(from, to) {
      const there = alive(from.id);
      if (there?.revision !== from.revision) return there;
      if (from.epoch !== to.epoch) backendSessions.closeLater(backendSessionOf(from));
      return keep(to);
    },
    async end(id) {
      const there = alive(id);
      if (there) drop(there);
      return there;
    },
    onChange: listeners.add,
    async countByBackend() {
      sweep();
      return countByHome(entries.values());
    },
    async close() {
      entries.clear();
      listeners.clear();
    },
    byHash: memoryByHash(() => (sweep(), entries.values()), dropUnasked),
    backendSessions,
  };
}

function newEntries(options: MemorySessionsOptions, end: (session: Session) => void) {
  const { ttlSeconds, maxAgeSeconds = Infinity, now = Date.now } = options;
  /** Each renewal moves an entry to the end, so the first are always the first to expire. */
  const entries = new Map<string, Held>();

  function sweep(): void {
    const at = now();
    for (const [id, { session, aliveUntil }] of entries) {
      if (aliveUntil > at) return;
      entries.delete(id);
      backendSessions.expired(session);
    }
  }
  function alive(id: string): Session | undefined {
    sweep();
    return entries.get(id)?.session;
  }
  function keep(session: Session): Session {
    const hash = entries.get(session.id)?.hash ?? digest('sha256', session.id);
    entries.delete(session.id);
    entries.set(session.id, { session, hash, aliveUntil: now() + ttlSeconds * 1_000 });
    return session;
  }
  function drop(session: Session): void {
    entries.delete(session.id);
    backendSessions.closeLater(backendSessionOf(session));
  }
  const maxAgeMs = maxAgeSeconds * 1_000;
  const all = (): readonly Session[] => (sweep(), [...entries.values()].map(({ session }) => session));
  const backendSessions = memoryBackendSessions({ alive: all, find: alive, end, maxAgeMs, now });
  return { entries, sweep, alive, keep, drop, backendSessions };
}
