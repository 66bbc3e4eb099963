/** Closes what backends hold of sessions that are over: idled out, too old, or left behind by a proxy that died. */
import { setTimeout as delay } from 'node:timers/promises';
import { asError } from './as-error.ts';
import type { AskUse, BackendSession, BackendSessions, Use } from './backend-sessions.ts';
import { BoundedMap } from './bounded.ts';
import { SessionsUnavailable } from './contract.ts';
import type { Backend, Backends, Exchange, Session, Upstream } from './contract.ts';
import type { SweepOutcome, Telemetry } from './events.ts';
import { newLimit } from './limit.ts';
import { ask, ownDelete, versionOf } from './own-requests.ts';

export type SweepRooms = {
  readonly backendSessions: BackendSessions;
  readonly use: AskUse;
  readonly upstream: Upstream;
  readonly backends: Pick<Backends, 'list'>;
  readonly telemetry: Telemetry;
  /** Where the backend has the session's endpoint. */
  readonly endpointOf: (one: BackendSession) => string;
};

export type SweepOptions = {
  /** Milliseconds between two rounds. */
  readonly everyMs: number;
  /** DELETEs a second, of all backends together. */
  readonly perSecond?: number;
};

const PER_SECOND = 200;
/** At one backend, and at all together. */
const AT_ONCE_THERE = 4;
const AT_ONCE = 32;
/** In one pass over all of them. */
const MOST = 1_000;
/** Milliseconds: a backend that takes longer is asked in a later round. */
const ANSWER_MS = 5_000;
/** Milliseconds until one that failed is tried again, and how often it is. */
const AGAIN_MS = 60_000;
const TRIES = 10;
const MOST_TRIED = 10_000;

type Told = SweepOutcome | 'again';
type Counts = { [outcome in SweepOutcome | 'expired']: number };
const sum = (counts: Counts): number => Object.values(counts).reduce((all, count) => all + count, 0);

export interface Sweep {
  /** A round now, unless one is under way. Never rejects. */
  round(): Promise<void>;
  close(): void;
}

/** One proxy does it for all. Nothing is closed but what the registry has said to be over, for good, in the same moment. */
export function createSweep(rooms: SweepRooms, { everyMs, perSecond = PER_SECOND }: SweepOptions): Sweep {
  const { backendSessions, backends, telemetry } = rooms;
  const over = new AbortController();
  const closing = { ...rooms, over: over.signal, pace: newPace(1000 / perSecond, over.signal) };
  const closer = newCloser(closing);
  let sweeping = false;

  /** Whether there may be more. */
  async function pass(counts: Counts): Promise<boolean> {
    if (over.signal.aborted || !(await backendSessions.lead())) return false;
    const listed = backends.list();
    const most = Math.ceil(MOST / Math.max(1, listed.length));
    const due = await backendSessions.due(
      listed.map(({ id }) => id),
      most,
    );
    const use = due.length > 0 ? await rooms.use(due.map(({ id }) => id)) : undefined;
    if (use === undefined) return false;
    const before = sum(counts);
    const held = Map.groupBy(due, ({ backend }) => backend);
    await Promise.all(listed.map((at) => closer(at, held.get(at.id) ?? [], use, counts)));
    return sum(counts) > before && [...held.values()].some(({ length }) => length >= most);
  }
  async function round(): Promise<void> {
    if (sweeping) return;
    sweeping = true;
    const counts: Counts = { expired: 0, closed: 0, unknown: 0, refused: 0, failed: 0 };
    try {
      while (await pass(counts));
    } catch (error) {
      // What a registry that is away does not say is asked in the next one.
      if (!(error instanceof SessionsUnavailable)) telemetry.record({ type: 'fault', error: asError(error) });
    } finally {
      sweeping = false;
      if (sum(counts) > 0) telemetry.record({ type: 'sweep', ...counts });
    }
  }
  const rounds = setInterval(() => void round(), everyMs).unref();
  return {
    round,
    close() {
      over.abort();
      clearInterval(rounds);
      backendSessions.resign();
    },
  };
}

type Closing = SweepRooms & { readonly over: AbortSignal; readonly pace: () => Promise<void> };
type Closer = (at: Backend, held: readonly BackendSession[], use: Use, counts: Counts) => Promise<void>;

/** So many at once; where one is not answered, the others of that backend wait for another round. */
function newCloser(rooms: Closing): Closer {
  const { backendSessions, over, pace } = rooms;
  const limit = newLimit(AT_ONCE);
  const tries = new BoundedMap<number>(MOST_TRIED);

  /** Of one that is claimed. Returns whether it may be asked for the next. */
  async function close(one: BackendSession, at: Backend, counts: Counts): Promise<boolean> {
    await pace();
    // Another proxy does it, maybe: what was claimed long ago says nothing of a session that got the same id since.
    if (over.aborted || !backendSessions.leads()) return false;
    const name = `${one.backend} ${one.backendSessionId}`;
    const tried = (tries.get(name) ?? 0) + 1;
    const told = await tell(rooms, one, at);
    if (told === 'again' && tried < TRIES) {
      tries.set(name, tried);
      backendSessions.putOff(one, AGAIN_MS);
      return false;
    }
    tries.delete(name);
    backendSessions.closed(one);
    counts[told === 'again' ? 'failed' : told] += 1;
    return told !== 'again';
  }
  async function claimAndClose(one: BackendSession, at: Backend, use: Use, counts: Counts): Promise<boolean> {
    const claim = await backendSessions.claim(one, use);
    if (claim === 'expired') counts.expired += 1;
    return claim === 'lives' || close(one, at, counts);
  }
  return async (at, held, use, counts) => {
    const queue = held.values();
    let failed = false;
    const some = async (): Promise<void> => {
      for (const one of queue) {
        if (failed) return;
        failed ||= !(await limit.run(() => claimAndClose(one, at, use, counts)));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE_THERE }, some));
  };
}

/** Resolves when the next may begin: they begin so many milliseconds apart. */
function newPace(apartMs: number, signal: AbortSignal): () => Promise<void> {
  let nextAt = 0;
  return async () => {
    const at = Math.max(performance.now(), nextAt);
    nextAt = at + apartMs;
    const wait = at - performance.now();
    if (wait >= 1) await delay(wait, undefined, { ref: false, signal }).catch(() => {});
  };
}

/** Without credentials: none are kept. */
async function tell({ upstream, endpointOf }: SweepRooms, one: BackendSession, at: Backend): Promise<Told> {
  const session = sessionOf(one, at);
  const own = ownDelete({ ...NOBODY, target: endpointOf(one) }, one.id);
  const goodbye: Exchange = { ...own, headers: [...own.headers, ...versionOf(session)] };
  const { attempt, said } = await ask(upstream, goodbye, session, at, ANSWER_MS);
  if (attempt.kind === 'marked') return 'unknown';
  return attempt.kind === 'answered' ? outcomeOf(said.status) : 'again';
}

const NOBODY = {
  method: 'DELETE',
  headers: [],
  body: undefined,
  intent: { kind: 'any', messages: [] },
  signal: new AbortController().signal,
} satisfies Omit<Exchange, 'target'>;

function outcomeOf(status: number): Told {
  if (status < 300) return 'closed';
  if (status === 404 || status === 410 || status === 400) return 'unknown';
  return status === 429 || status >= 500 ? 'again' : 'refused';
}

/** What is not kept of it does not matter to who closes it. */
function sessionOf({ id, backendSessionId, protocolVersion }: BackendSession, at: Backend): Session {
  return {
    id,
    backendSessionId,
    protocolVersion,
    home: { id: at.id, origin: at.origin },
    epoch: 0,
    revision: '',
    changes: 0,
    createdAt: 0,
    capabilities: {},
    serverInfo: {},
    journal: { initialize: {}, initialized: true, subscriptions: [] },
    safeTools: [],
  };
}
