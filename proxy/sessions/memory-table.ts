/** The sessions in this process's memory: what any call does with them costs the same beside few and beside many. */

import type { Session } from '../contract.ts';
import { OrderedMap } from '../ordered.ts';
import { SharedParts } from './shared-parts.ts';

export type Held = {
  readonly session: Session;
  /** The SHA-256 of its id, in hex. */
  readonly hash: string;
  /** Milliseconds since 1970. */
  readonly aliveUntil: number;
};

/** Taken out by one call whose idle life is over: a hundred thousand at once would hold up everybody. */
const MOST_SWEPT = 1_000;

export class MemoryTable {
  readonly #ttlMs: number;
  readonly #now: () => number;
  readonly #expired: (session: Session) => void;
  /** By hash. Each renewal moves one to the end, so the first are always the first to expire. */
  readonly #held = new OrderedMap<Held>();
  readonly #byHome = new Map<string, number>();
  readonly #parts = new SharedParts();
  #lastUntil = 0;

  /** `now`: milliseconds since 1970. `expired` is told of each whose idle life is over. */
  constructor(ttlMs: number, now: () => number, expired: (session: Session) => void = () => {}) {
    this.#ttlMs = ttlMs;
    this.#now = now;
    this.#expired = expired;
  }

  /** Sessions, and perhaps some whose idle life has just ended. */
  get size(): number {
    this.#sweep();
    return this.#held.size;
  }

  /** What they take, an estimate. */
  get bytes(): number {
    return this.#parts.bytes;
  }

  find(hash: string): Held | undefined {
    this.#sweep();
    const held = this.#held.get(hash);
    return held !== undefined && held.aliveUntil > this.#now() ? held : undefined;
  }

  /** Puts the session in the place of what was there; its idle life begins anew. */
  keep(hash: string, session: Session): Session {
    const kept = this.#parts.keep(session);
    this.remove(hash);
    // A clock that is set back does not change the order.
    this.#lastUntil = Math.max(this.#lastUntil, this.#now() + this.#ttlMs);
    this.#held.set(hash, { session: kept, hash, aliveUntil: this.#lastUntil });
    this.#count(kept, 1);
    return kept;
  }

  /** Its idle life begins anew. */
  renew({ hash, session }: Held): void {
    this.#lastUntil = Math.max(this.#lastUntil, this.#now() + this.#ttlMs);
    this.#held.set(hash, { session, hash, aliveUntil: this.#lastUntil });
  }

  remove(hash: string): void {
    const held = this.#held.get(hash);
    if (held === undefined) return;
    this.#held.delete(hash);
    this.#parts.drop(held.session);
    this.#count(held.session, -1);
  }

  /** Sessions by home. */
  byHome(): ReadonlyMap<string, number> {
    this.#sweep();
    return new Map(this.#byHome);
  }

  /** Those that are alive, the first to expire first. */
  *all(): Generator<Held> {
    this.#sweep();
    const at = this.#now();
    for (const [, held] of this.#held) if (held.aliveUntil > at) yield held;
  }

  clear(): void {
    for (const hash of this.#held.keys()) this.remove(hash);
  }

  #sweep(): void {
    const at = this.#now();
    let swept = 0;
    for (const [hash, { session, aliveUntil }] of this.#held) {
      if (aliveUntil > at || swept === MOST_SWEPT) return;
      this.remove(hash);
      this.#expired(session);
      swept += 1;
    }
  }

  #count({ home }: Session, change: 1 | -1): void {
    const count = (this.#byHome.get(home.id) ?? 0) + change;
    if (count === 0) this.#byHome.delete(home.id);
    else this.#byHome.set(home.id, count);
  }
}
