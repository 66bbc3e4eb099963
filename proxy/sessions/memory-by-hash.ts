/** The sessions in this process's memory by hash. */

import type { Session } from '../contract.ts';
import { type SessionsByHash, isAfter, seen, writeCursor } from './by-hash.ts';

export type Held = { readonly session: Session; readonly hash: string; readonly aliveUntil: number };

/** `alive` gives those that live now; `drop` forgets one for good, and tells of it. */
export function memoryByHash(alive: () => Iterable<Held>, drop: (session: Session) => void): SessionsByHash {
  const find = (hash: string): Held | undefined => [...alive()].find((one) => one.hash === hash);
  return {
    async find(hash) {
      const found = find(hash);
      return found && seen(hash, found.session);
    },
    async page({ backend, limit, after }) {
      const found = [...alive()]
        .map(({ session, hash, aliveUntil: until }) => ({ session, hash, until, backend: session.home.id }))
        .filter((one) => backend === undefined || one.backend === backend)
        .filter((one) => after === undefined || isAfter(after, one))
        .toSorted((one, other) => (isAfter(one, other) ? -1 : 1));
      const shown = found.slice(0, limit);
      const last = found.length > limit ? shown.at(-1) : undefined;
      return { sessions: shown.map(({ hash, session }) => seen(hash, session)), next: last && writeCursor(last) };
    },
    count: async () => countByHome(alive()),
    async end(hash) {
      const found = find(hash);
      if (found === undefined) return undefined;
      drop(found.session);
      return { seen: seen(hash, found.session), session: found.session };
    },
  };
}

export function countByHome(held: Iterable<Held>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { session } of held) counts.set(session.home.id, (counts.get(session.home.id) ?? 0) + 1);
  return counts;
}
