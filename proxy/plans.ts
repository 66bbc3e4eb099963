/** Which sessions should migrate though their home serves them: it drains, a person ordered it, or the drill is on. */
import { hash as digest } from 'node:crypto';
import { BoundedMap } from './bounded.ts';
import type { Backends, JsonRpcMessage, PlannedReason, Session } from './contract.ts';
import { isRequest } from './jsonrpc.ts';

/** Orders that reach every proxy: hashes of session ids. */
export interface Orders {
  list(): ReadonlySet<string>;
  /** Not what is known of it, but what is. Throws SessionsUnavailable. */
  has(hash: string): Promise<boolean>;
  /** Throws SessionsUnavailable. */
  clear(hash: string): Promise<void>;
  onChange(f: () => void): () => void;
}

/** Ids of backends that drain in the eyes of some proxy: no two see the same at the same moment. */
export interface Watched {
  list(): ReadonlySet<string>;
  /** For `WATCHED_MS`. Throws SessionsUnavailable. */
  set(id: string): Promise<void>;
  onChange(f: () => void): () => void;
}

export interface Plans {
  /** Why the session should migrate at an exchange with these messages; not while it has something to lose by it. */
  due(session: Session, messages: readonly JsonRpcMessage[]): PlannedReason | undefined;
  /** It is due, may soon be, or has been until a moment ago: every proxy must know what runs in it. */
  watches(session: Session): boolean;
  /** Some are due, or may soon be. */
  readonly any: boolean;
  /** Whether it is due still, whatever another proxy has done meanwhile. Throws SessionsUnavailable. */
  stands(session: Session, reason: PlannedReason): Promise<boolean>;
  /** It has a new home: what was ordered is done. Resolves when every proxy can know. */
  done(session: Session): Promise<void>;
  /** It could not be done: not again for a while. */
  postpone(session: Session): void;
  onChange(f: () => void): () => void;
  close(): void;
}

export type PlansOptions = {
  readonly backends: Backends;
  readonly orders: Orders;
  readonly watched: Watched;
  /** Migrate before every POST that carries a request. */
  readonly chaos: boolean;
  /** Milliseconds until every proxy knows what one has learnt. */
  readonly settleMs: number;
  readonly now: () => number;
};

/** Milliseconds. */
const POSTPONED = 10_000;
/** Sessions. */
const MOST_POSTPONED = 20_000;
/** Milliseconds: a migration that was begun before its order was undone has ended then, as has its claim. */
const UNDER_WAY = 30_000;
export const WATCHED_MS = 60_000;
const ANNOUNCE_EVERY = 20_000;
const ANNOUNCE_AGAIN = 1_000;

export function createPlans({ backends, orders, watched, chaos, settleMs, now }: PlansOptions): Plans {
  /** Since when, by backend id and by hash. */
  let draining = new Map<string, number>();
  let ordered = new Map<string, number>();
  /** Until when, by backend id and by hash. */
  const undone = new Map<string, number>();
  const postponed = new BoundedMap<number>(MOST_POSTPONED);
  const listeners = new Set<() => void>();

  function learn(): void {
    const before = [...draining.keys(), ...ordered.keys()];
    const drainingNow = backends.list().flatMap((one) => (one.draining ? [one.id] : []));
    draining = new Map(drainingNow.map((id) => [id, draining.get(id) ?? Infinity]));
    for (const [id, since] of draining) if (since === Infinity) announcer.announce(id);
    ordered = new Map([...orders.list()].map((hash) => [hash, ordered.get(hash) ?? now()]));
    if (draining.size + ordered.size === 0) postponed.clear();
    for (const id of before) if (!draining.has(id) && !ordered.has(id)) undone.set(id, now() + UNDER_WAY);
    for (const [id, until] of undone) if (until <= now()) undone.delete(id);
    for (const listener of listeners) listener();
  }
  const announcer = newAnnouncer(watched, () => draining, now, learn);
  const undo = [backends.onChange(learn), orders.onChange(learn), watched.onChange(learn)];
  learn();

  const orderedSince = (session: Session): number | undefined =>
    ordered.size === 0 ? undefined : ordered.get(digest('sha256', session.id));
  const mayBeUnderWay = ({ id, home }: Session): boolean =>
    undone.size > 0 && [home.id, digest('sha256', id)].some((key) => (undone.get(key) ?? 0) > now());
  const settled = (since: number | undefined): boolean => since !== undefined && now() - since >= settleMs;

  function reason(session: Session, messages: readonly JsonRpcMessage[]): PlannedReason | undefined {
    if (settled(orderedSince(session))) return 'manual';
    if (settled(draining.get(session.home.id))) return 'drain';
    return chaos && messages.some(isRequest) ? 'chaos' : undefined;
  }

  return {
    due(session, messages) {
      const { journal, busyUntil = 0 } = session;
      const planned = reason(session, messages);
      if (planned === undefined || !journal.initialized || busyUntil > now()) return undefined;
      return (postponed.get(session.id) ?? 0) > now() ? undefined : planned;
    },
    watches: (session) =>
      chaos ||
      draining.has(session.home.id) ||
      watched.list().has(session.home.id) ||
      orderedSince(session) !== undefined ||
      mayBeUnderWay(session),
    get any() {
      return draining.size + ordered.size > 0;
    },
    stands: async (session, why) => why !== 'manual' || orders.has(digest('sha256', session.id)),
    async done(session) {
      postponed.delete(session.id);
      if (orderedSince(session) === undefined) return;
      // Where it cannot be cleared now it is done twice, which harms nobody.
      await orders.clear(digest('sha256', session.id)).catch(() => {});
    },
    postpone: (session) => void postponed.set(session.id, now() + POSTPONED),
    onChange(f) {
      listeners.add(f);
      return () => void listeners.delete(f);
    },
    close: () => [announcer.close, ...undo].forEach((one) => one()),
  };
}

/** Only when all can know of it may its sessions leave: what runs in them at another proxy must be known. */
function newAnnouncer(watched: Watched, draining: () => Map<string, number>, now: () => number, learn: () => void) {
  function announce(id: string): void {
    const known = (): void => {
      if (draining().get(id) === Infinity) draining().set(id, now());
    };
    if (watched.list().has(id)) known();
    else watched.set(id).then(known, () => {});
  }
  const renewing = setInterval(() => {
    for (const id of draining().keys()) watched.set(id).then(learn, () => {});
  }, ANNOUNCE_EVERY).unref();
  const again = setInterval(() => {
    for (const [id, since] of draining()) if (since === Infinity) announce(id);
  }, ANNOUNCE_AGAIN).unref();
  function close(): void {
    clearInterval(renewing);
    clearInterval(again);
  }
  return { announce, close };
}
