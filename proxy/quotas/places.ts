/** How many sessions each owner or client has, counted in this process's memory: exact, and as long as this process lives. */

import { hash as digest } from 'node:crypto';

/** Kept for a session before it is opened, so that those that are opened at the same time count too. */
export type Place = {
  /** The session has it from now on. */
  fill(session: string): void;
  /** Idempotent; a session that has it keeps it. */
  giveBack(): void;
};

export interface Places {
  /** Undefined: whoever it is has as many as may be. Never rejects. */
  keep(who: string): Promise<Place | undefined>;
  /** The session lives, and is theirs, so it counts even where that was lost. Cheap: to be told at each use. */
  has(who: string, session: string): void;
  /** The session lives; `who` uses it, where that is known, and may have opened it. */
  used(session: string, who?: string): void;
  /** `who`: where it is known whose it was. */
  ended(session: string, who?: string): void;
}

export type PlacesOptions = {
  /** Sessions of one. */
  readonly most: number;
  /** Idle life of a session, in milliseconds. */
  readonly ttlMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

/** The SHA-256 in hex. */
export function hashOf(text: string): string {
  return digest('sha256', text);
}

/** A session counts for one only. */
type Entry = { readonly who: string; readonly aliveUntil: number };

export function memoryPlaces({ most, ttlMs, now }: PlacesOptions): Places {
  const counts = new Map<string, number>();
  /** By session; each use moves one to the end, so the first are always the first to expire. */
  const entries = new Map<string, Entry>();

  function count(who: string, change: 1 | -1): void {
    const sessions = (counts.get(who) ?? 0) + change;
    if (sessions > 0) counts.set(who, sessions);
    else counts.delete(who);
  }
  function drop(session: string): void {
    const entry = entries.get(session);
    if (entries.delete(session) && entry !== undefined) count(entry.who, -1);
  }
  function sweep(): void {
    const at = now();
    for (const [session, { aliveUntil }] of entries) {
      if (aliveUntil > at) return;
      drop(session);
    }
  }
  function put(who: string, session: string): void {
    drop(session);
    entries.set(session, { who, aliveUntil: now() + ttlMs });
    count(who, 1);
  }

  return {
    async keep(who) {
      sweep();
      if ((counts.get(who) ?? 0) >= most) return undefined;
      count(who, 1);
      let kept = true;
      const giveBack = (): void => {
        if (kept) count(who, -1);
        kept = false;
      };
      return {
        fill(session) {
          giveBack();
          put(who, session);
        },
        giveBack,
      };
    },
    has: put,
    used(session) {
      const entry = entries.get(session);
      if (entry !== undefined) put(entry.who, session);
    },
    ended: drop,
  };
}
