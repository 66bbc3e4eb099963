/** Gives a session a new home: replays its journal there, then compare-and-set; single flight per session. */
import { SessionsUnavailable } from './contract.ts';
import type {
  Backend,
  Backends,
  Exchange,
  Journal,
  Migrated,
  MigrationReason,
  Migrator,
  Session,
  Sessions,
  Upstream,
} from './contract.ts';
import type { Telemetry } from './events.ts';
import { createHandshake } from './handshake.ts';
import type { Handshake, Said } from './handshake.ts';
import { traceOf } from './headers.ts';
import { agreed, incompatibility, replay } from './journal.ts';
import { type Limit, newLimit } from './limit.ts';

export type MigratorRooms = {
  readonly sessions: Sessions;
  readonly backends: Backends;
  readonly upstream: Upstream;
  readonly telemetry: Telemetry;
  /** Random, never the same twice. */
  readonly token: () => string;
  /** Milliseconds. */
  readonly now: () => number;
};

/** What became of a write: stored, or what is true instead, or nobody knows. */
type Written = { readonly kind: 'true-now'; readonly session: Session | undefined } | { readonly kind: 'unknown' };

/**
 * Handshakes at one backend at once. A crash brings all its sessions to the others in the same moment: side by side they
 * would all be slow there, and many too late.
 */
const AT_ONCE = 16;

/** How long a write whose fate is unknown is asked about, before its backend session is left to expire. */
const READ_BACK_MS = 60_000;
const READ_BACK_EVERY_MS = 500;

type Means = MigratorRooms & { readonly handshake: Handshake };

export function createMigrator(rooms: MigratorRooms): Migrator {
  const means: Means = { ...rooms, handshake: createHandshake(rooms.upstream) };
  const flights = new Map<string, { readonly to: string; readonly migrated: Promise<Migrated> }>();
  const limits = new Map<string, Limit>();

  async function migrate(
    session: Session,
    to: Backend,
    exchange: Exchange,
    reason: MigrationReason,
  ): Promise<Migrated> {
    for (let running = flights.get(session.id); running !== undefined; running = flights.get(session.id)) {
      const shared = await running.migrated;
      // Another's credentials were refused, or another backend failed: ours may do.
      const maybeOurs = shared.kind === 'unauthorized' || (shared.kind === 'failed' && running.to !== to.id);
      if (!maybeOurs) return shared;
    }
    const start = () => fly(means, session, to, exchange, reason);
    // Nothing is awaited between the look and this: who comes now finds it.
    const flight = { to: to.id, migrated: inTurn(limitAt(limits, to), means, to, start) };
    flights.set(session.id, flight);
    try {
      return await flight.migrated;
    } finally {
      if (flights.get(session.id) === flight) flights.delete(session.id);
    }
  }

  return {
    migrate,
    full: ({ id }) => limits.get(id)?.full ?? false,
    knows: (session, home, exchange) => means.handshake.knows(session, home, exchange),
    discard: (orphan, at, exchange) => void means.handshake.discard(orphan, at, exchange),
  };
}

/** Of each backend, as long as it is in use. */
function limitAt(limits: Map<string, Limit>, { id }: Backend): Limit {
  const known = limits.get(id);
  if (known !== undefined) return known;
  for (const [other, { idle }] of limits) if (idle) limits.delete(other);
  const limit = newLimit(AT_ONCE);
  limits.set(id, limit);
  return limit;
}

/** When its turn comes, that backend may have failed others. */
function inTurn(limit: Limit, { backends }: Means, to: Backend, migrate: () => Promise<Migrated>): Promise<Migrated> {
  const waits = limit.full;
  return limit.run(async () => {
    const now = waits ? backends.list().find(({ id }) => id === to.id) : to;
    if (now !== undefined && (to.suspect || !now.suspect)) return migrate();
    return { kind: 'failed', cause: new Error('it has failed others meanwhile') };
  });
}

async function fly(
  means: Means,
  session: Session,
  to: Backend,
  exchange: Exchange,
  reason: MigrationReason,
): Promise<Migrated> {
  const start = means.now();
  const migrated = await settle(means, session, to, exchange);
  means.telemetry.record({
    type: 'migration',
    reason,
    outcome: migrated.kind,
    session: session.id,
    from: session.home.id,
    to: to.id,
    seconds: (means.now() - start) / 1000,
    ...('cause' in migrated && { cause: migrated.cause.message }),
    trace: traceOf(exchange.headers),
  });
  if (migrated.kind === 'migrated') leave(means, session, exchange, reason);
  return migrated;
}

/** Milliseconds. What still runs for a session that fled is over by then, or nobody waits for it. */
const LAST_CALL_MS = 60_000;

/** The old home may forget the session: at once where it was quiet, later where something may still run. */
function leave({ backends, handshake }: Means, session: Session, exchange: Exchange, reason: MigrationReason): void {
  const goodbye = (): void => {
    const home = backends.list().find(({ id }) => id === session.home.id);
    if (home !== undefined) void handshake.discard(session, home, exchange);
  };
  if (reason === 'crash') setTimeout(goodbye, LAST_CALL_MS).unref();
  else if (reason !== 'lost' && reason !== 'identity') goodbye();
}

async function settle(means: Means, session: Session, to: Backend, exchange: Exchange): Promise<Migrated> {
  const said = await means.handshake.initialize(session, to, exchange);
  if (said.kind === 'failed') return said;
  if (said.status === 401 || said.status === 403) return { ...said, kind: 'unauthorized' };
  const housed = house(means, session, to, said);
  if ('kind' in housed) return housed;
  const why = incompatibility(session, housed);
  if (why !== undefined) {
    void means.handshake.discard(housed, to, exchange);
    return { kind: 'incompatible', cause: new Error(why) };
  }
  return tellAndStore(means, session, housed, to, exchange);
}

/** The session as it would be there. */
function house(means: Means, session: Session, to: Backend, said: Said): Session | Migrated {
  const backendSessionId = said.sessionId;
  if (said.result === undefined || said.status >= 300) {
    return { kind: 'failed', cause: new Error(`initialize was answered with status ${said.status}`) };
  }
  if (backendSessionId === undefined) {
    return { kind: 'incompatible', cause: new Error('the new home keeps no sessions') };
  }
  // Its tasks ran at the old home.
  const { busyUntil: _, ...lasting } = session;
  return {
    ...lasting,
    ...agreed(said.result),
    backendSessionId,
    home: { id: to.id, origin: to.origin },
    homedAt: means.now(),
    epoch: session.epoch + 1,
    revision: means.token(),
    changes: session.changes + 1,
  };
}

async function tellAndStore(
  means: Means,
  session: Session,
  housed: Session,
  to: Backend,
  exchange: Exchange,
): Promise<Migrated> {
  let from = session;
  let next = housed;
  let told: Journal | undefined;
  for (;;) {
    const failure = await means.handshake.tell(replay(from.journal, told), next, to, exchange);
    if (failure !== undefined) {
      void means.handshake.discard(next, to, exchange);
      return { kind: 'failed', cause: failure };
    }
    told = from.journal;
    const written = await write(means, from, next);
    if (written.kind === 'unknown') {
      void readBack(means, next, to, exchange);
      return { kind: 'unavailable' };
    }
    const { session: current } = written;
    if (current !== undefined && isOurs(current, next)) return { kind: 'migrated', session: current };
    if (current === undefined || current.epoch !== from.epoch) {
      void means.handshake.discard(next, to, exchange);
      return current === undefined ? { kind: 'ended' } : { kind: 'raced', session: current };
    }
    // A journal write came between: the new home is told the difference.
    from = current;
    const { journal, safeTools, changes } = current;
    next = { ...housed, journal, safeTools, revision: means.token(), changes: changes + 1 };
  }
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
async function readBack(means: Means, next: Session, to: Backend, exchange: Exchange): Promise<void> {
  const deadline = means.now() + READ_BACK_MS;
  while (means.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, READ_BACK_EVERY_MS).unref());
    const written = await whatIsTrue(means, next.id);
    if (written.kind === 'unknown') continue;
    if (written.session?.backendSessionId !== next.backendSessionId) void means.handshake.discard(next, to, exchange);
    return;
  }
}
