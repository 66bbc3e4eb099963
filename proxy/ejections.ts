/** Backends that fail to open sessions: passed over for a while, longer each time (as Envoy's outlier ejection). */
import { BoundedMap } from './bounded.ts';

export interface Ejections {
  /** It has not opened a session that it was asked for. */
  failed(backend: string): void;
  succeeded(backend: string): void;
  ejected(backend: string): boolean;
}

/** Milliseconds; doubled with each failure in a row, up to the longest. */
const FIRST = 1_000;
const LONGEST = 60_000;
const MOST = 10_000;

/** `now` is in milliseconds. */
export function createEjections(now: () => number): Ejections {
  const failures = new BoundedMap<{ readonly inARow: number; readonly until: number }>(MOST);
  return {
    failed(backend) {
      const last = failures.get(backend);
      // Those that were asked in the same moment count once.
      if (last !== undefined && last.until > now()) return;
      const inARow = (last?.inARow ?? 0) + 1;
      failures.set(backend, { inARow, until: now() + Math.min(FIRST * 2 ** (inARow - 1), LONGEST) });
    },
    succeeded: (backend) => void failures.delete(backend),
    ejected: (backend) => (failures.get(backend)?.until ?? 0) > now(),
  };
}
