/** One migration: the handshake at the new home, the journal told there, the streams attached, then compare-and-set. */
import { SessionsUnavailable } from './contract.ts';
import type {
  Backend,
  Backends,
  Exchange,
  Journal,
  Migrated,
  MigrationReason,
  PreparedStreams,
  Session,
  Sessions,
  Upstream,
} from './contract.ts';
import type { Telemetry } from './events.ts';
import type { Handshake } from './handshake.ts';
import { agreed, incompatibility, replay } from './journal.ts';
import type { Kept, Orphans } from './orphans.ts';
import { credentialsOf } from './own-requests.ts';
import type { Said } from './own-requests.ts';
import { idsOfIssued } from './session-id.ts';

export type MigratorRooms = {
  readonly sessions: Sessions;
  readonly backends: Backends;
  readonly upstream: Upstream;
  readonly telemetry: Telemetry;
  /** Where what is to be closed is kept, should this proxy die before; nowhere by default. */
  readonly backendSessions?: Kept;
  /** The session's listening streams, attached to what may become its home. */
  readonly prepareStreams: (housed: Session, to: Backend) => PreparedStreams;
  /** The session has this home from now on: its streams are to leave the old one. */
  readonly moved: (session: Session) => void;
  /** Random, never the same twice. */
  readonly token: () => string;
  /** Milliseconds. */
  readonly now: () => number;
};

export type Means = MigratorRooms & { readonly handshake: Handshake; readonly orphans: Orphans };

/** What became of a write: stored, or what is true instead, or nobody knows. */
type Written = { readonly kind: 'true-now'; readonly session: Session | undefined } | { readonly kind: 'unknown' };

/** How long a write whose fate is unknown is asked about, before its backend session is left to expire. */
const READ_BACK_MS = 60_000;
const READ_BACK_EVERY_MS = 500;

/** How long a migration waits until the session's streams are attached, in milliseconds. */
export const STREAMS_MS = 1_000;

export async function migrateTo(
  means: Means,
  session: Session,
  to: Backend,
  exchange: Exchange,
  reason: MigrationReason,
  waitMs: number,
): Promise<Migrated> {
  // It may be called long after the exchange is over, whose body must not be kept for it.
  const credentials = credentialsOf(exchange);
  const orphaned = (backendSessionId: string): void =>
    means.orphans.close({ ...session, backendSessionId }, to, credentials);
  const initialized = await means.handshake.initialize(session, to, exchange, orphaned, waitMs);
  if (initialized.kind === 'failed') return initialized;
  const { said } = initialized;
  const { status, headers, body } = said;
  // Sent elsewhere, as to log in, it is no worse a home: that is for the client to follow.
  const elsewhere = status >= 300 && status < 400;
  if (status === 401 || status === 403 || elsewhere) return { kind: 'unauthorized', status, headers, body };
  const housed = house(means, session, to, said, reason);
  if ('kind' in housed) {
    idsOfIssued(said.issued).forEach(orphaned);
    return housed;
  }
  const why = incompatibility(session, housed);
  if (why !== undefined) {
    means.orphans.close(housed, to, exchange);
    return { kind: 'incompatible', cause: new Error(why) };
  }
  return tellAndStore(means, session, housed, to, exchange);
}

/** How many times are kept at which homes that could be reached did not know the session. */
const FORGOTTEN_KEPT = 3;

/** The session as it would be there. */
function house(means: Means, session: Session, to: Backend, said: Said, reason: MigrationReason): Session | Migrated {
  const { issued } = said;
  if (said.result === undefined || said.status >= 300) {
    return { kind: 'failed', cause: new Error(`initialize was answered with status ${said.status}`), reached: true };
  }
  if (issued.kind === 'none') return { kind: 'incompatible', cause: new Error('the new home keeps no sessions') };
  if (issued.kind === 'unusable') return { kind: 'failed', cause: new Error(issued.why), reached: true };
  // Its tasks ran at the old home.
  const { busyUntil: _, ...lasting } = session;
  const forgottenAt = [...(session.forgottenAt ?? []), means.now()].slice(-FORGOTTEN_KEPT);
  return {
    ...lasting,
    ...agreed(said.result),
    ...(reason === 'lost' && { forgottenAt }),
    backendSessionId: issued.id,
    home: { id: to.id, origin: to.origin },
    epoch: session.epoch + 1,
    revision: means.token(),
    changes: session.changes + 1,
  };
}

/** The streams come first: the new home may ask the client something as soon as it is told that the handshake is over. */
async function tellAndStore(
  means: Means,
  session: Session,
  housed: Session,
  to: Backend,
  exchange: Exchange,
): Promise<Migrated> {
  let streams = means.prepareStreams(housed, to);
  let ready = await readyInTime(means, streams);
  let from = session;
  let next = housed;
  let told: Journal | undefined;
  for (;;) {
    const failure = await means.handshake.tell(replay(from.journal, told), next, to, exchange);
    if (failure !== undefined) {
      streams.discard();
      means.orphans.close(next, to, exchange);
      return { kind: 'failed', cause: failure, reached: true };
    }
    if (ready === 'refused' && told === undefined) {
      streams = means.prepareStreams(next, to);
      ready = await readyInTime(means, streams);
    }
    told = from.journal;
    const written = await write(means, from, { ...next, homedAt: means.now() });
    if (written.kind === 'unknown') {
      streams.discard();
      void readBack(means, next, to, credentialsOf(exchange));
      return { kind: 'unavailable' };
    }
    const { session: current } = written;
    if (current !== undefined && isOurs(current, next)) {
      // Streams that have begun meanwhile.
      if (ready !== 'late') await readyInTime(means, streams);
      return { kind: 'migrated', session: current };
    }
    if (current === undefined || current.epoch !== from.epoch) {
      streams.discard();
      means.orphans.close(next, to, exchange);
      return current === undefined ? { kind: 'ended' } : { kind: 'raced', session: current };
    }
    // A journal write came between: the new home is told the difference.
    from = current;
    const { journal, safeTools, asksFirst, changes } = current;
    const learnt = { journal, safeTools, ...(asksFirst !== undefined && { asksFirst }) };
    next = { ...housed, ...learnt, revision: means.token(), changes: changes + 1 };
  }
}

async function readyInTime({ telemetry }: Means, streams: PreparedStreams): ReturnType<PreparedStreams['ready']> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    // What has come while we were busy is read first.
    timer = setTimeout(() => setImmediate(() => resolve('late')), STREAMS_MS);
  });
  const state = await Promise.race([streams.ready(), late]);
  clearTimeout(timer);
  if (state === 'late') telemetry.record({ type: 'stream', change: 'late' });
  return state;
}

/** By its home, not its revision: a write that was given up may have been applied, and written over since. */
function isOurs(current: Session, next: Session): boolean {
  return current.backendSessionId === next.backendSessionId && current.home.id === next.home.id;
}

async function write(means: Means, from: Session, to: Session): Promise<Written> {
  try {
    return { kind: 'true-now', session: await means.sessions.replace(from, to) };
  } catch (error) {
    if (!(error instanceof SessionsUnavailable)) throw error;
    return whatIsTrue(means, to.id);
  }
}

/** A write that failed may have been applied all the same. */
async function whatIsTrue(means: Means, id: string): Promise<Written> {
  try {
    return { kind: 'true-now', session: await means.sessions.find(id, { fresh: true }) };
  } catch (error) {
    if (!(error instanceof SessionsUnavailable)) throw error;
    return { kind: 'unknown' };
  }
}

/** Cleans up only when it is known that the new backend session is nobody's home. */
async function readBack(means: Means, next: Session, to: Backend, credentials: Exchange): Promise<void> {
  const deadline = means.now() + READ_BACK_MS;
  while (means.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, READ_BACK_EVERY_MS).unref());
    const written = await whatIsTrue(means, next.id);
    if (written.kind === 'unknown') continue;
    if (written.session?.backendSessionId !== next.backendSessionId) means.orphans.close(next, to, credentials);
    return;
  }
}
