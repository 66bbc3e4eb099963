/** Gives a session a new home: replays its journal there, then compare-and-set; single flight per session. */
import { SessionsUnavailable } from './contract.ts';
import type {
  Backend,
  Exchange,
  Journal,
  Migrated,
  MigrationReason,
  Migrator,
  Session,
  Sessions,
  Telemetry,
  Upstream,
} from './contract.ts';
import { createHandshake } from './handshake.ts';
import type { Said } from './handshake.ts';
import { agreed, incompatibility, replay } from './journal.ts';

export type MigratorRooms = {
  readonly sessions: Sessions;
  readonly upstream: Upstream;
  readonly telemetry: Telemetry;
  /** Random, never the same twice. */
  readonly token: () => string;
  /** Milliseconds. */
  readonly now: () => number;
};

/** What became of a write: stored, or what is true instead, or nobody knows. */
type Written = { readonly kind: 'true-now'; readonly session: Session | undefined } | { readonly kind: 'unknown' };

/** How long a write whose fate is unknown is asked about, before its backend session is left to expire. */
const READ_BACK_MS = 60_000;
const READ_BACK_EVERY_MS = 500;

export function createMigrator(rooms: MigratorRooms): Migrator {
  const { sessions, telemetry, token, now } = rooms;
  const handshake = createHandshake(rooms.upstream);
  const flights = new Map<string, Promise<Migrated>>();

  async function migrate(
    session: Session,
    to: Backend,
    exchange: Exchange,
    reason: MigrationReason,
  ): Promise<Migrated> {
    const running = flights.get(session.id);
    // Another's credentials were refused: ours may do.
    const shared = await running;
    if (shared !== undefined && shared.kind !== 'unauthorized') return shared;
    const flight = fly(session, to, exchange, reason);
    flights.set(session.id, flight);
    try {
      return await flight;
    } finally {
      if (flights.get(session.id) === flight) flights.delete(session.id);
    }
  }

  async function fly(session: Session, to: Backend, exchange: Exchange, reason: MigrationReason): Promise<Migrated> {
    const start = now();
    const migrated = await settle(session, to, exchange);
    telemetry.record({
      type: 'migration',
      reason,
      outcome: migrated.kind,
      session: session.id,
      from: session.home.id,
      to: to.id,
      seconds: (now() - start) / 1000,
      ...('cause' in migrated && { cause: migrated.cause.message }),
    });
    return migrated;
  }

  async function settle(session: Session, to: Backend, exchange: Exchange): Promise<Migrated> {
    const said = await handshake.initialize(session, to, exchange);
    if (said.kind === 'failed') return said;
    if (said.status === 401 || said.status === 403) return { ...said, kind: 'unauthorized' };
    const housed = house(session, to, said);
    if ('kind' in housed) return housed;
    const why = incompatibility(session, housed);
    if (why !== undefined) {
      handshake.discard(housed, to, exchange);
      return { kind: 'incompatible', cause: new Error(why) };
    }
    return tellAndStore(session, housed, to, exchange);
  }

  /** The session as it would be there. */
  function house(session: Session, to: Backend, said: Said): Session | Migrated {
    const backendSessionId = said.sessionId;
    if (said.result === undefined || said.status >= 300) {
      return { kind: 'failed', cause: new Error(`initialize was answered with status ${said.status}`) };
    }
    if (backendSessionId === undefined) {
      return { kind: 'incompatible', cause: new Error('the new home keeps no sessions') };
    }
    return {
      ...session,
      ...agreed(said.result),
      backendSessionId,
      home: { id: to.id, origin: to.origin },
      epoch: session.epoch + 1,
      revision: token(),
    };
  }

  async function tellAndStore(session: Session, housed: Session, to: Backend, exchange: Exchange): Promise<Migrated> {
    let from = session;
    let next = housed;
    let told: Journal | undefined;
    for (;;) {
      const failure = await handshake.tell(replay(from.journal, told), next, to, exchange);
      if (failure !== undefined) {
        handshake.discard(next, to, exchange);
        return { kind: 'failed', cause: failure };
      }
      told = from.journal;
      const written = await write(from, next);
      if (written.kind === 'unknown') {
        void readBack(next, to, exchange);
        return { kind: 'unavailable' };
      }
      const { session: current } = written;
      if (current?.revision === next.revision) return { kind: 'migrated', session: next };
      if (current === undefined || current.epoch !== from.epoch) {
        handshake.discard(next, to, exchange);
        return current === undefined ? { kind: 'ended' } : { kind: 'raced', session: current };
      }
      // A journal write came between: the new home is told the difference.
      from = current;
      next = { ...next, journal: current.journal, safeTools: current.safeTools, revision: token() };
    }
  }

  async function write(from: Session, to: Session): Promise<Written> {
    try {
      return { kind: 'true-now', session: await sessions.replace(from, to) };
    } catch (error) {
      if (!(error instanceof SessionsUnavailable)) throw error;
      return whatIsTrue(to.id);
    }
  }

  /** A write that failed may have been applied all the same. */
  async function whatIsTrue(id: string): Promise<Written> {
    try {
      return { kind: 'true-now', session: await sessions.find(id, { fresh: true }) };
    } catch (error) {
      if (!(error instanceof SessionsUnavailable)) throw error;
      return { kind: 'unknown' };
    }
  }

  /** Cleans up only when it is known that the new backend session is nobody's home. */
  async function readBack(next: Session, to: Backend, exchange: Exchange): Promise<void> {
    const deadline = now() + READ_BACK_MS;
    while (now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, READ_BACK_EVERY_MS).unref());
      const written = await whatIsTrue(next.id);
      if (written.kind === 'unknown') continue;
      if (written.session?.backendSessionId !== next.backendSessionId) handshake.discard(next, to, exchange);
      return;
    }
  }

  return { migrate, discard: handshake.discard };
}
