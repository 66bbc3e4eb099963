/** The registry in this process's memory: for one proxy, and for as long as it runs. */

import type { Session, Sessions } from '../contract.ts';

type Entry = { readonly session: Session; readonly aliveUntil: number };

export type MemorySessionsOptions = {
  /** Idle life. */
  readonly ttlSeconds: number;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
};

/** Nobody else can change what is here, so `onChange` never calls. Never throws. */
export function memorySessions({ ttlSeconds, now = Date.now }: MemorySessionsOptions): Sessions {
  /** Each renewal moves an entry to the end, so the first are always the first to expire. */
  const entries = new Map<string, Entry>();

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
    entries.delete(session.id);
    entries.set(session.id, { session, aliveUntil: now() + ttlSeconds * 1_000 });
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
    onChange: () => () => {},
    async countByBackend() {
      sweep();
      const counts = new Map<string, number>();
      for (const { session } of entries.values()) counts.set(session.home.id, (counts.get(session.home.id) ?? 0) + 1);
      return counts;
    },
    async close() {
      entries.clear();
    },
  };
}
