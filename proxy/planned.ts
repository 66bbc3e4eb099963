/** Migrates a session whose home serves it still: only while it is quiet everywhere, else it stays for now. */
import { asError } from './as-error.ts';
import { shun } from './aftermath.ts';
import { SessionsUnavailable } from './contract.ts';
import type { Backend, Exchange, Fate, Migrated, PlannedReason, Session } from './contract.ts';
import { newHome } from './decide.ts';
import { standingOf } from './owner.ts';
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
  const first = await nextHome(rooms, session, new Map());
  if (first === undefined) return 'stays';
  // Its home serves it meanwhile.
  if (reason === 'drain' && rooms.migrator.full(first)) return 'stays';
  const release = await rooms.quiet.claim(session);
  if (release === undefined) return 'stays';
  try {
    const current = await rooms.sessions.find(session.id, { fresh: true });
    if (current?.epoch !== session.epoch || current.home.id !== session.home.id) return 'changed';
    if (standingOf(current, exchange) !== 'owner') return 'stays';
    // Who has carried it out says so before he lets go of the session.
    if (!(await rooms.plans.stands(session, reason))) return 'stays';
    const migrated = await migrateToOneOf(rooms, current, first, exchange, reason);
    return await concluded(rooms, session, migrated);
  } catch (error) {
    if (error instanceof SessionsUnavailable) return 'stays';
    throw error;
  } finally {
    release();
  }
}

/** Homes that are asked before the session stays for now: the claim ends before a third could be as slow as it may. */
const MOST_ASKED = 2;

/** A home that will not have the session is no reason to stay while there is another. */
async function migrateToOneOf(
  rooms: Rooms,
  session: Session,
  first: Backend,
  exchange: Exchange,
  reason: PlannedReason,
): Promise<Migrated> {
  const tried = new Map<string, Fate>();
  let to = first;
  for (;;) {
    const migrated = await rooms.migrator.migrate(session, to, exchange, reason);
    if (migrated.kind !== 'failed') return migrated;
    tried.set(to.id, shun(rooms, to.id, migrated));
    const next = tried.size < MOST_ASKED ? await nextHome(rooms, session, tried) : undefined;
    if (next === undefined) return migrated;
    to = next;
  }
}

async function concluded(rooms: Rooms, session: Session, { kind }: Migrated): Promise<Planned> {
  if (kind === 'failed' || kind === 'incompatible' || kind === 'unauthorized') rooms.plans.postpone(session);
  if (kind !== 'migrated' && kind !== 'raced') return kind === 'ended' ? 'changed' : 'stays';
  await rooms.plans.done(session);
  void rooms.streams.changed(session.id);
  return 'changed';
}

async function nextHome(
  rooms: Rooms,
  session: Session,
  tried: ReadonlyMap<string, Fate>,
): Promise<Backend | undefined> {
  return newHome(session, { ...(await loadOf(rooms)), backends: rooms.backends.list(), tried });
}

async function loadOf({ sessions, opening, running, zone, now, draw, maxSessions }: Rooms) {
  return {
    load: { held: await sessions.countByBackend(), opening, running, zone: zone(), now: now(), draw },
    maxSessions,
  };
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
      rooms.telemetry.record({ type: 'fault', error: asError(error) });
    } finally {
      looking = false;
    }
  }
  async function migrateOne({ session, exchange }: { session: Session; exchange: Exchange }): Promise<void> {
    await pause((LOOK_EVERY_MS / AT_ONCE) * rooms.draw(), exchange.signal, rooms.backends);
    const owns = standingOf(session, exchange) === 'owner';
    const reason = stopped || exchange.signal.aborted || !owns ? undefined : rooms.plans.due(session, []);
    if (reason !== undefined) await migratePlanned(rooms, session, exchange, reason);
  }
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return () => {
    stopped = true;
    clearInterval(timer);
  };
}
