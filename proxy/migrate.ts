/**
 * Gives a session a new home: replays its journal there, then compare-and-set. Single flight per session and credentials,
 * so that nobody waits for a backend to refuse another's.
 */
import type { Backend, Exchange, Migrated, MigrationReason, Migrator, Session } from './contract.ts';
import { createHandshake } from './handshake.ts';
import { headerValue, traceOf } from './headers.ts';
import { type Limit, newLimit } from './limit.ts';
import { migrateTo } from './migration.ts';
import type { Means, MigratorRooms } from './migration.ts';
import { createOrphans } from './orphans.ts';
import { ANSWER_MS, credentialsOf } from './own-requests.ts';
import { createKnows } from './ping.ts';

/**
 * Handshakes at one backend at once. A crash brings all its sessions to the others in the same moment: side by side they
 * would all be slow there, and many too late.
 */
const AT_ONCE = 16;

export function createMigrator(rooms: MigratorRooms): Migrator {
  const orphans = createOrphans(rooms.upstream, rooms.backends, rooms.now, rooms.backendSessions);
  const means: Means = { ...rooms, handshake: createHandshake(rooms.upstream), orphans };
  const leave = newLeaving(means);
  const flights = new Map<string, { readonly to: string; readonly migrated: Promise<Migrated> }>();
  const limits = new Map<string, Limit>();

  async function migrate(
    session: Session,
    to: Backend,
    exchange: Exchange,
    reason: MigrationReason,
    waitMs = ANSWER_MS,
  ): Promise<Migrated> {
    const authorization = headerValue(exchange.headers, 'authorization');
    const key = `${session.id} ${authorization ?? ''}`;
    for (let running = flights.get(key); running !== undefined; running = flights.get(key)) {
      const shared = await running.migrated;
      // Another's credentials, in a field of their own, were refused, or another backend failed: ours may do.
      const others = shared.kind === 'unauthorized' && authorization === undefined;
      const maybeOurs = others || (shared.kind === 'failed' && running.to !== to.id);
      if (!maybeOurs) return shared;
    }
    const start = () => fly(means, leave, session, to, exchange, reason, waitMs);
    // Nothing is awaited between the look and this: who comes now finds it.
    const flight = { to: to.id, migrated: inTurn(limitAt(limits, to), means, to, start) };
    flights.set(key, flight);
    try {
      return await flight.migrated;
    } finally {
      if (flights.get(key) === flight) flights.delete(key);
    }
  }

  return {
    migrate,
    full: ({ id }) => limits.get(id)?.full ?? false,
    knows: createKnows(rooms.upstream, rooms.token),
    discard: (orphan, at, exchange) => orphans.close(orphan, at, exchange),
    close: () => orphans.stop(),
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
    return { kind: 'failed', cause: new Error('it has failed others meanwhile'), reached: false };
  });
}

async function fly(
  means: Means,
  leave: Leave,
  session: Session,
  to: Backend,
  exchange: Exchange,
  reason: MigrationReason,
  waitMs: number,
): Promise<Migrated> {
  const start = means.now();
  const migrated = await migrateTo(means, session, to, exchange, reason, waitMs);
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
  if (migrated.kind === 'migrated') {
    means.moved(migrated.session);
    leave(session, exchange, reason);
  }
  return migrated;
}

/** Milliseconds. What still runs for a session that fled is over by then, or nobody waits for it. */
const LAST_CALL_MS = 60_000;

/** Old homes that are to be told later: each holds the header fields of one request. */
const MOST_LATER = 10_000;

type Leave = (session: Session, exchange: Exchange, reason: MigrationReason) => void;

/** The old home may forget the session: at once where it was quiet, later where something may still run. */
export function newLeaving({ backends, orphans }: Pick<Means, 'backends' | 'orphans'>): Leave {
  let later = 0;
  return (session, exchange, reason) => {
    // Another task is at its address.
    if (reason === 'identity') return;
    const credentials = credentialsOf(exchange);
    const goodbye = (): void => {
      const home = backends.list().find(({ id }) => id === session.home.id);
      if (home !== undefined) orphans.close(session, home, credentials);
    };
    if (reason !== 'crash') return goodbye();
    if (later >= MOST_LATER) return;
    later += 1;
    setTimeout(() => {
      later -= 1;
      goodbye();
    }, LAST_CALL_MS).unref();
  };
}
