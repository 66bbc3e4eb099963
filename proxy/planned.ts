/** Migrates a session whose home serves it still: only while it is quiet everywhere, else it stays for now. */
import { SessionsUnavailable } from './contract.ts';
import type { Exchange, PlannedReason, Session } from './contract.ts';
import { newHome } from './decide.ts';
import { pause } from './story.ts';
import type { Rooms } from './story.ts';

/** `changed`: it has another home now, whoever migrated it, or has ended. `stays`: it is better off at home for now. */
export type Planned = 'changed' | 'stays';

export async function migratePlanned(
  rooms: Rooms,
  session: Session,
  exchange: Exchange,
  reason: PlannedReason,
): Promise<Planned> {
  const to = newHome(session, { ...(await loadOf(rooms)), backends: rooms.backends.list(), tried: new Map() });
  if (to === undefined) return 'stays';
  const release = await rooms.quiet.claim(session);
  if (release === undefined) return 'stays';
  try {
    const current = await rooms.sessions.find(session.id, { fresh: true });
    if (current?.epoch !== session.epoch || current.home.id !== session.home.id) return 'changed';
    const { kind } = await rooms.migrator.migrate(current, to, exchange, reason);
    if (kind === 'failed' || kind === 'incompatible' || kind === 'unauthorized') rooms.plans.postpone(session);
    if (kind !== 'migrated' && kind !== 'raced') return kind === 'ended' ? 'changed' : 'stays';
    rooms.plans.done(session);
    void rooms.streams.changed(session.id);
    return 'changed';
  } catch (error) {
    if (error instanceof SessionsUnavailable) return 'stays';
    throw error;
  } finally {
    release();
  }
}

async function loadOf({ sessions, running, zone, now, draw, maxSessions }: Rooms) {
  return { load: { held: await sessions.countByBackend(), running, zone, now: now(), draw }, maxSessions };
}

/** Sessions at once, and how often those that listen are looked at, in milliseconds. */
const AT_ONCE = 8;
const LOOK_EVERY_MS = 250;

/**
 * Sessions that listen and are due are migrated with the credentials of their listening exchange, a few at a time: all
 * of them at once would drown the survivors. Returns what stops it.
 */
export function migrateListening(rooms: Rooms): () => void {
  let looking = false;
  let stopped = false;

  async function look(): Promise<void> {
    if (looking || stopped || !rooms.plans.any) return;
    looking = true;
    try {
      const due = rooms.streams.listening().filter(({ session }) => rooms.plans.due(session, []) !== undefined);
      const groups = Array.from({ length: Math.ceil(due.length / AT_ONCE) }, (_, at) =>
        due.slice(at * AT_ONCE, (at + 1) * AT_ONCE),
      );
      for (const group of groups) await Promise.all(group.map(migrateOne));
    } catch (error) {
      rooms.telemetry.record({ type: 'fault', error: error instanceof Error ? error : new Error(String(error)) });
    } finally {
      looking = false;
    }
  }
  async function migrateOne({ session, exchange }: { session: Session; exchange: Exchange }): Promise<void> {
    await pause((LOOK_EVERY_MS / AT_ONCE) * rooms.draw(), exchange.signal, rooms.backends);
    const reason = stopped || exchange.signal.aborted ? undefined : rooms.plans.due(session, []);
    if (reason !== undefined) await migratePlanned(rooms, session, exchange, reason);
  }
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}
