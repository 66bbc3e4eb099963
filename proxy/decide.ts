/** Intent × session × backends × what was tried → what to do next. Pure. */
import { balance } from './balance.ts';
import type { Load } from './balance.ts';
import { CODE } from './contract.ts';
import type { Backend, Decision, Fate, Intent, Refusal, Session } from './contract.ts';

export type Circumstances = {
  readonly backends: readonly Backend[];
  /** How earlier attempts of this exchange ended, by backend id. */
  readonly tried: ReadonlyMap<string, Fate>;
  readonly load: Load;
  /** Sessions that a backend may hold before it gets no new ones. */
  readonly maxSessions: number;
  readonly onSessionLost: 'migrate' | 'not-found';
};

export const SESSION_NOT_FOUND: Refusal = {
  kind: 'refuse',
  status: 404,
  code: CODE.sessionNotFound,
  message: 'Session not found',
};

const ALL_FULL: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: every server holds as many sessions as it may, try again',
  retryAfter: 5,
};

/**
 * - A session's exchange goes to its home. A home that `lost` an attempt is asked again: the break may have been the
 *   connection's alone, and a dead home refuses. `gone` bars forwarding there, not migrating: it was restarted in place.
 * - Everything else goes to any backend that has not failed this exchange; a new session to one that has room.
 * - Nobody left: wait. The corridor turns a wait that is over the deadline into a refusal.
 */
export function decide(
  intent: Exclude<Intent, { kind: 'malformed' }>,
  session: Session | undefined,
  given: Circumstances,
): Decision {
  if (intent.kind !== 'continue') {
    const untried = given.backends.filter(({ id }) => !given.tried.has(id));
    return intent.kind === 'open' ? decideOpen(untried, given) : forwardTo(pick(untried, runningOnly(given.load)));
  }
  if (session === undefined) return SESSION_NOT_FOUND;
  const home = given.backends.find(({ id }) => id === session.home.id);
  const fate = given.tried.get(session.home.id);
  if (home !== undefined && (fate === undefined || fate === 'lost')) return { kind: 'forward', to: home };
  if (intent.verb === 'end') return { kind: 'end' };
  if (given.onSessionLost === 'not-found') return withoutMigration(fate);
  const reachable = given.backends.filter(({ id }) => given.tried.get(id) !== 'unsent');
  const roomy = reachable.filter((one) => hasRoom(one, given));
  // A session that is there already is better crowded than lost.
  const to = pick(roomy.some(({ draining }) => !draining) ? roomy : reachable, given.load);
  return to === undefined ? { kind: 'wait' } : { kind: 'migrate', session, to };
}

function decideOpen(untried: readonly Backend[], given: Circumstances): Decision {
  const staying = untried.filter(({ draining }) => !draining);
  if (staying.length > 0 && !staying.some((one) => hasRoom(one, given))) return ALL_FULL;
  return forwardTo(
    pick(
      untried.filter((one) => one.draining || hasRoom(one, given)),
      given.load,
    ),
  );
}

function hasRoom({ id }: Backend, { load, maxSessions }: Circumstances): boolean {
  return (load.held.get(id) ?? 0) < maxSessions;
}

function forwardTo(to: Backend | undefined): Decision {
  return to === undefined ? { kind: 'wait' } : { kind: 'forward', to };
}

/** What belongs to no session goes where the fewest exchanges run. */
function runningOnly(load: Load): Load {
  return { ...load, held: NO_SESSIONS };
}

/** For exchanges that belong to no session: how many a backend holds does not matter. */
export const NO_SESSIONS: ReadonlyMap<string, number> = new Map();

/** A home that cannot be reached may come back; one that has forgotten the session, or has left, cannot. */
function withoutMigration(fate: Fate | undefined): Decision {
  return fate === 'unsent' ? { kind: 'wait' } : { ...SESSION_NOT_FOUND, ends: true };
}

/** Suspects only where no other backend is left, draining ones last of all. */
export function pick(candidates: readonly Backend[], load: Load): Backend | undefined {
  const staying = candidates.filter(({ draining }) => !draining);
  const sound = staying.filter(({ suspect }) => !suspect);
  const best = [sound, staying, candidates].find((group) => group.length > 0) ?? [];
  return balance(best, load);
}
