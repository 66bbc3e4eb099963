/** Sessions as this proxy knew them last: bounded, and never set back by an answer that a change has overtaken. */

import type { Session } from '../contract.ts';
import { OrderedMap } from '../ordered.ts';
import { SharedParts } from './shared-parts.ts';

type Entry = {
  readonly session: Session;
  /** Changes made since it was read might not have been heard: to be read again before use. */
  stale: boolean;
  /** Another proxy has changed it: of no use, but to tell whether the registry has lost that change and this. */
  superseded: boolean;
  /** Milliseconds since 1970: when its idle life is to be renewed next, and when it ends unless that is done. */
  renewAt: number;
  readonly aliveUntil: number;
  /** When the registry had it last, in milliseconds since 1970. */
  confirmedAt: number;
};

/** In one idle life. */
const RENEWALS = 10;

/** A call to the registry about one session, on its way. */
export type Flight = {
  readonly id: string;
  readonly startedAt: number;
  /** The session was changed since the call was made: what it answers may be old. */
  overtaken: boolean;
  /** A change made since might not have been heard. */
  stale: boolean;
};

export type EntriesOptions = {
  readonly ttlMs: number;
  readonly maxEntries: number;
  /** Milliseconds for which what the registry had is known not to have ended and been forgotten since. */
  readonly sureMs: number;
  /** Whether this proxy serves the session right now. */
  readonly inUse: (id: string) => boolean;
  /** An estimate of what they take. */
  readonly maxBytes: number;
  readonly now: () => number;
  /** Neither an entry nor a flight of this session is left. */
  readonly onForgotten: (id: string) => void;
};

/** Whether what the registry has of a session, or has not, was so before what is known. */
export function isBehind(there: Session | undefined, known: Session): boolean {
  return !there || (there.createdAt === known.createdAt && there.changes < known.changes);
}

/** Least recently used first. */
export class Entries {
  readonly #options: EntriesOptions;
  readonly #entries = new OrderedMap<Entry>();
  readonly #flights = new Map<string, Set<Flight>>();
  readonly #parts = new SharedParts();
  #linked = false;

  constructor(options: EntriesOptions) {
    this.#options = options;
  }

  /** What is known of the session, stale or not, unless it was changed since. Counts as a use. */
  known(id: string): Session | undefined {
    const entry = this.#entries.get(id);
    if (!entry || entry.superseded) return undefined;
    this.#entries.set(id, entry);
    return entry.session;
  }

  /** Whether what is known may be used, and whether this use is the one that should renew the idle life. */
  state(id: string): 'unusable' | 'good' | 'good, to be renewed' {
    const entry = this.#entries.get(id);
    const at = this.#options.now();
    if (!entry || entry.stale || at >= entry.aliveUntil) return 'unusable';
    if (at < entry.renewAt) return 'good';
    entry.renewAt = at + this.#options.ttlMs / RENEWALS;
    return 'good, to be renewed';
  }

  /**
   * What is known and must be in the registry still, or something later, unless that says that the session has ended. A
   * session that is served right now has not: its home would have ended what runs.
   */
  vouched(id: string): Session | undefined {
    const entry = this.#entries.get(id);
    const { now, sureMs, inUse } = this.#options;
    if (!entry) return undefined;
    const sure = now() < entry.aliveUntil && now() < entry.confirmedAt + sureMs;
    return sure || inUse(id) ? entry.session : undefined;
  }

  /** It is known, lives, and may have ended without anybody's remembering it. */
  isUnsure(id: string): boolean {
    const entry = this.#entries.get(id);
    return entry !== undefined && this.#options.now() < entry.aliveUntil && !this.vouched(id);
  }

  /** Those that are vouched for, and soon will not be unless the registry is asked whether it has them. */
  unconfirmed(): readonly string[] {
    const before = this.#options.now() - this.#options.sureMs / 2;
    const old = [...this.#entries].filter(([id, { confirmedAt }]) => confirmedAt < before && this.vouched(id));
    return old.map(([id]) => id);
  }

  /** What has idled out is of no use while the registry can be asked. */
  dropDead(): void {
    const at = this.#options.now();
    if (!this.#linked) return;
    for (const [id, { aliveUntil }] of this.#entries) {
      if (at < aliveUntil || this.#options.inUse(id)) continue;
      this.#entries.delete(id);
      this.#forgetIfGone(id);
    }
  }

  /** The registry has forgotten what had ended, with all else: what is known is the best that there is. */
  trust(): void {
    const at = this.#options.now();
    for (const [, entry] of this.#entries) if (at < entry.aliveUntil) entry.confirmedAt = at;
  }

  /**
   * What the registry has lost, as a read shows that nothing has overtaken. `superseded`: another proxy had changed it
   * again, and the registry has lost that too.
   */
  missed(
    { id, overtaken }: Flight,
    session: Session | undefined,
  ): { readonly known: Session; readonly superseded: boolean } | undefined {
    const known = overtaken ? undefined : this.vouched(id);
    if (!known) return undefined;
    const superseded = this.#entries.get(id)?.superseded === true;
    const behind = isBehind(session, known) || (superseded && session?.revision === known.revision);
    return behind ? { known, superseded } : undefined;
  }

  /** The session as it is known, where that is the same: what it shares with others is then kept once. */
  shared(session: Session): Session {
    const known = this.#entries.get(session.id)?.session;
    return known?.revision === session.revision ? known : session;
  }

  depart(id: string): Flight {
    const flight = { id, startedAt: this.#options.now(), overtaken: false, stale: !this.#linked };
    const flights = this.#flights.get(id);
    if (flights) flights.add(flight);
    else this.#flights.set(id, new Set([flight]));
    return flight;
  }

  /** A read has answered: kept, unless a change has overtaken it. Returns whether it shows a change nobody told of. */
  landRead(flight: Flight, session: Session | undefined): boolean {
    const before = this.#entries.get(flight.id);
    this.#land(flight, () => {
      if (!flight.overtaken) this.#put(flight, session);
    });
    const told = before?.stale !== true || before.superseded;
    return !told && !flight.overtaken && before.session.revision !== session?.revision;
  }

  /** The registry was asked whether it has what is known: its idle life there may have gone on from before. */
  landLook(flight: Flight, session: Session | undefined): boolean {
    const entry = this.#entries.get(flight.id);
    if (entry?.session.revision !== session?.revision || !entry) return this.landRead(flight, session);
    this.#land(flight, () => {
      const { overtaken, stale, startedAt: confirmedAt } = flight;
      if (!overtaken) Object.assign(entry, { stale, superseded: false, confirmedAt });
    });
    return false;
  }

  /** A change of ours was made; when another's overtook it, nobody knows which was the last. */
  landWrite(flight: Flight, session: Session | undefined): void {
    this.#land(flight, () => {
      this.#put(flight, flight.overtaken ? undefined : session);
      this.#overtake(flight.id);
    });
  }

  /** A call failed; a change may have been made all the same. */
  landFailed(flight: Flight, tried: 'read' | 'write'): void {
    this.#land(flight, () => {
      if (tried === 'read') return;
      const entry = this.#entries.get(flight.id);
      if (entry) entry.stale = true;
      this.#overtake(flight.id);
    });
  }

  /** Another proxy has changed the session. */
  supersede(id: string): void {
    this.#overtake(id);
    const entry = this.#entries.get(id);
    if (entry) Object.assign(entry, { stale: true, superseded: true });
  }

  /** The session has ended, at whichever proxy: nothing of it may be put back. */
  end(id: string): void {
    this.#overtake(id);
    this.#remove(id);
    this.#forgetIfGone(id);
  }

  /** Changes of others are heard from now on, or no more: either way some may have been missed. */
  link(linked: boolean): void {
    this.#linked = linked;
    for (const [, entry] of this.#entries) entry.stale = true;
    for (const flights of this.#flights.values()) for (const flight of flights) flight.stale = true;
  }

  /** The sessions that are known, as they are now, the least recently used first. */
  ids(): readonly string[] {
    return [...this.#entries.keys()];
  }

  clear(): void {
    for (const id of this.#entries.keys()) this.#remove(id);
  }

  #land(flight: Flight, then: () => void): void {
    const flights = this.#flights.get(flight.id);
    flights?.delete(flight);
    if (flights?.size === 0) this.#flights.delete(flight.id);
    then();
    this.#forgetIfGone(flight.id);
  }

  #put(flight: Flight, session: Session | undefined): void {
    const kept = session && this.#parts.keep(session);
    this.#remove(flight.id);
    if (kept === undefined) return;
    const { ttlMs } = this.#options;
    const { startedAt, stale } = flight;
    this.#entries.set(flight.id, {
      session: kept,
      stale,
      superseded: false,
      renewAt: startedAt + ttlMs / RENEWALS,
      aliveUntil: startedAt + ttlMs,
      confirmedAt: startedAt,
    });
    this.#makeRoom();
  }

  #makeRoom(): void {
    const { maxEntries, maxBytes } = this.#options;
    for (const id of this.#entries.keys()) {
      if (this.#entries.size <= maxEntries && this.#parts.bytes <= maxBytes) return;
      this.#remove(id);
      this.#forgetIfGone(id);
    }
  }

  #remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    this.#parts.drop(entry.session);
  }

  #overtake(id: string): void {
    for (const flight of this.#flights.get(id) ?? []) flight.overtaken = true;
  }

  #forgetIfGone(id: string): void {
    if (!this.#entries.has(id) && !this.#flights.has(id)) this.#options.onForgotten(id);
  }
}
