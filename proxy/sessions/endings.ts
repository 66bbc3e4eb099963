/** Sessions that have ended, as far as this proxy has heard: what the registry may have lost. */

import { OrderedMap } from '../ordered.ts';

export type Endings = {
  /** `createdAt` tells it from a later session that got the same id. */
  readonly add: (hash: string, createdAt: number) => void;
  /** Its id has been given to another. */
  readonly forget: (hash: string) => void;
  /** When the session that ended was created, in milliseconds since 1970. */
  readonly of: (hash: string) => number | undefined;
};

/** Milliseconds for which it is remembered that a session has ended: an hour, or its idle life where that is shorter. */
export function endedMs(ttlMs: number): number {
  return Math.min(ttlMs, 3_600_000);
}

export type EndingsOptions = {
  /** Milliseconds for which each is remembered. */
  readonly lifeMs: number;
  /** The oldest go first. */
  readonly most: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

export function newEndings({ lifeMs, most, now }: EndingsOptions): Endings {
  const endings = new OrderedMap<{ readonly createdAt: number; readonly until: number }>();

  function sweep(): void {
    const at = now();
    for (const [hash, { until }] of endings) {
      if (until > at && endings.size <= most) return;
      endings.delete(hash);
    }
  }
  return {
    add(hash, createdAt) {
      endings.set(hash, { createdAt, until: now() + lifeMs });
      sweep();
    },
    forget: (hash) => void endings.delete(hash),
    of(hash) {
      const ending = endings.get(hash);
      return ending && ending.until > now() ? ending.createdAt : undefined;
    },
  };
}
