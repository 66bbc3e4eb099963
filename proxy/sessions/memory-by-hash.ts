/** The sessions in this process's memory by hash. */

import type { Session } from '../contract.ts';
import { type Cursor, type SessionsByHash, isAfter, seen, writeCursor } from './by-hash.ts';
import type { Held, MemoryTable } from './memory-table.ts';

/** `ended` is told of each that is ended here. */
export function memoryByHash(table: MemoryTable, ended: (session: Session) => void): SessionsByHash {
  return {
    async find(hash) {
      const found = table.find(hash);
      return found && seen(hash, found.session);
    },
    async page({ backend, limit, after }) {
      const found = firstAfter(table, backend, after, limit + 1).toSorted((one, other) =>
        isAfter(cursorOf(one), cursorOf(other)) ? -1 : 1,
      );
      const shown = found.slice(0, limit);
      const last = found.length > limit ? shown.at(-1) : undefined;
      return {
        sessions: shown.map(({ hash, session }) => seen(hash, session)),
        next: last && writeCursor(cursorOf(last)),
      };
    },
    count: async () => table.byHome(),
    async end(hash) {
      const found = table.find(hash);
      if (found === undefined) return undefined;
      table.remove(hash);
      ended(found.session);
      return { seen: seen(hash, found.session), session: found.session };
    },
  };
}

function cursorOf({ session, hash, aliveUntil }: Held): Cursor {
  return { backend: session.home.id, until: aliveUntil, hash };
}

/** So many at least, where there are so many; of those that end in the same millisecond all, for they are in no order. */
function firstAfter(
  table: MemoryTable,
  backend: string | undefined,
  after: Cursor | undefined,
  count: number,
): readonly Held[] {
  const found: Held[] = [];
  for (const held of table.all()) {
    const last = found.at(-1);
    if (found.length >= count && held.aliveUntil !== last?.aliveUntil) break;
    if (backend !== undefined && held.session.home.id !== backend) continue;
    if (after === undefined || isAfter(after, cursorOf(held))) found.push(held);
  }
  return found;
}
