/** The registry in this process's memory: for one proxy, and for as long as it runs. */

import { hash as digest } from 'node:crypto';
import type { Session, Sessions } from '../contract.ts';
import { newListeners } from '../listeners.ts';
import type { SessionsByHash } from './by-hash.ts';
import { type Held, countByHome, memoryByHash } from './memory-by-hash.ts';

export type MemorySessionsOptions = {
  /** Idle life. */
  readonly ttlSeconds: number;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
};

/** Nobody but an operator can change what is here unasked: `onChange` hears of sessions ended by hash. Never throws. */
export function memorySessions({ ttlSeconds, now = Date.now }: MemorySessionsOptions): Sessions & {
  readonly byHash: SessionsByHash;
} {
  /** Each renewal moves an entry to the end, so the first are always the first to expire. */
  const entries = new Map<string, Held>();
  const listeners = newListeners<string>();

  function sweep(): void {
    const at = now();
    for (const [id, { aliveUntil }] of entries) {
      if (aliveUntil > at) return;
      entries.delete(id);
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
      return there?.revision === from.revision ? keep(to) : there;
    },
    async end(id) {
      const there = alive(id);
      entries.delete(id);
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
    byHash: memoryByHash(
      () => (sweep(), entries.values()),
      ({ id }) => {
        entries.delete(id);
        listeners.tell(id);
      },
    ),
  };
}
