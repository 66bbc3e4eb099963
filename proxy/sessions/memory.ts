/** The registry in this process's memory: for one proxy, and for as long as it runs. */

import { type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import { type Session, type Sessions, SessionsUnavailable } from '../contract.ts';
import { newListeners } from '../listeners.ts';
import type { SessionsByHash } from './by-hash.ts';
import { hashOf } from './changes.ts';
import { memoryBackendSessions } from './memory-backend-sessions.ts';
import { memoryByHash } from './memory-by-hash.ts';
import { MemoryTable } from './memory-table.ts';

export type MemorySessionsOptions = {
  /** Idle life. */
  readonly ttlSeconds: number;
  /** After which a session ends though it is used; undefined: never. */
  readonly maxAgeSeconds?: number | undefined;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** Beside so many there is no room for another. Unlimited by default. */
  readonly maxSessions?: number;
  /** Nor where all take so many, an estimate; changes that would take more are refused. Unlimited by default. */
  readonly maxBytes?: number;
};

/** Nobody but an operator can change what is here unasked: `onChange` hears of sessions ended by hash. */
export function memorySessions(options: MemorySessionsOptions): Required<Omit<Sessions, 'known'>> & {
  readonly byHash: SessionsByHash;
  readonly backendSessions: BackendSessions;
} {
  const { maxSessions = Infinity, maxBytes = Infinity } = options;
  const listeners = newListeners<string>();
  const { table, backendSessions } = newTable(options, (session) => listeners.tell(session.id));

  return {
    async find(id) {
      const held = table.find(hashOf(id));
      if (held !== undefined) table.renew(held);
      return held?.session;
    },
    async create(session) {
      const hash = hashOf(session.id);
      const there = table.find(hash);
      if (there !== undefined && there.session.revision !== session.revision) return 'taken';
      table.keep(hash, session);
      return 'created';
    },
    async replace(from, to) {
      const hash = hashOf(from.id);
      const there = table.find(hash)?.session;
      if (there?.revision !== from.revision) return there;
      const before = table.bytes;
      const kept = table.keep(hash, to);
      // A session that needs a new home gets it in any case.
      if (table.bytes <= maxBytes || table.bytes <= before || to.epoch !== from.epoch) {
        if (to.epoch !== from.epoch) backendSessions.closeLater(backendSessionOf(from));
        return kept;
      }
      table.keep(hash, there);
      throw new SessionsUnavailable('Sessions take as much memory as they may');
    },
    async end(id) {
      const hash = hashOf(id);
      const there = table.find(hash)?.session;
      table.remove(hash);
      if (there !== undefined) backendSessions.closeLater(backendSessionOf(there));
      return there;
    },
    onChange: listeners.add,
    countByBackend: async () => table.byHome(),
    room: () => (table.bytes < maxBytes ? Math.max(0, maxSessions - table.size) : 0),
    async close() {
      table.clear();
      listeners.clear();
    },
    byHash: memoryByHash(table, (session) => {
      backendSessions.closeLater(backendSessionOf(session));
      listeners.tell(session.id);
    }),
    backendSessions,
  };
}

/** `ended` is told of each that ends by its age. */
function newTable(options: MemorySessionsOptions, ended: (session: Session) => void) {
  const { ttlSeconds, maxAgeSeconds = Infinity, now = Date.now } = options;
  const table = new MemoryTable(ttlSeconds * 1_000, now, (session) => backendSessions.expired(session));
  const backendSessions = memoryBackendSessions({
    alive: () => table.all(),
    find: (id) => table.find(hashOf(id))?.session,
    end(session) {
      table.remove(hashOf(session.id));
      backendSessions.closeLater(backendSessionOf(session));
      ended(session);
    },
    maxAgeMs: maxAgeSeconds * 1_000,
    now,
  });
  return { table, backendSessions };
}
