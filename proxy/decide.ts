/** Intent × session × backends × what was tried → what to do next. Pure. */
import { balance, newest, sameFor, sessionsAt } from './balance.ts';
import type { Load } from './balance.ts';
import { CODE } from './contract.ts';
import type { Backend, Decision, Fate, Intent, MigrationReason, Refusal, Session } from './contract.ts';

export type Circumstances = {
  readonly backends: readonly Backend[];
  /** How earlier attempts of this exchange ended, by backend id. */
  readonly tried: ReadonlyMap<string, Fate>;
  readonly load: Load;
  /** Sessions that a backend may hold before it gets no new ones. */
  readonly maxSessions: number;
  /** How many more sessions the registry can take; undefined: as many as come. */
  readonly room?: number | undefined;
  readonly onSessionLost: 'migrate' | 'not-found';
  /** The exchange may cause no further migration: its session has got a new home, or new homes have failed the handshake. */
  readonly spent: 'migrated' | 'failed' | undefined;
  /** Whether backends issue session ids; else clients make up their own. */
  readonly issuesIds: boolean;
  /** The backend that issued the `requestState` which the exchange brings back: another may not be able to read it. */
  readonly issuer: string | undefined;
  /** Whether discovery has ever named a backend of that id. */
  readonly heard: (id: string) => boolean;
  /** Whether who ends the session needs no home to verify that it is theirs to end. */
  readonly endable: boolean;
};

/** A session that homes have forgotten so often within so many milliseconds is given up: its client is to start over. */
const FORGOTTEN_MOST = 2;
const FORGOTTEN_WITHIN_MS = 60_000;

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

const REGISTRY_FULL: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: the proxy holds as many sessions as it may, try again',
  retryAfter: 5,
};

/**
 * - A session's exchange goes to its home. A home that `lost` an attempt is asked again: the break may have been the
 *   connection's alone, and a dead home refuses. `gone` bars forwarding there, not migrating: it was restarted in place.
 * - Everything else goes to any backend that has not failed this exchange, what brings a `requestState` back to who issued it; a new session, or one that migrates, to one
 *   of the newest release that has room.
 * - Nobody left: wait. The corridor turns a wait that is over the deadline into a refusal.
 */
export function decide(
  intent: Exclude<Intent, { kind: 'malformed' }>,
  session: Session | undefined,
  given: Circumstances,
): Decision {
  if (intent.kind !== 'continue') {
    const able = given.backends.filter(({ id }) => isOpen(given.tried.get(id)));
    return intent.kind === 'open' ? decideOpen(able, given) : decideAny(able, given);
  }
  if (session === undefined) return given.issuesIds ? SESSION_NOT_FOUND : decideOwn(intent.id, given);
  const listed = given.backends.find(({ id }) => id === session.home.id);
  const home = listed ?? newcomer(session, given);
  const fate = given.tried.get(session.home.id);
  if (home !== undefined && (fate === undefined || fate === 'lost')) return { kind: 'forward', to: home };
  if (intent.verb === 'end' && given.endable) return { kind: 'end' };
  if (home !== undefined && fate === 'draining') {
    const to = given.onSessionLost === 'migrate' && given.spent === undefined ? newHome(session, given) : undefined;
    return to === undefined ? { kind: 'forward', to: home, stay: true } : migrateTo(to, session, 'drain');
  }
  if (given.onSessionLost === 'not-found') {
    return given.backends.length === 0 ? { kind: 'wait' } : withoutMigration(listed && fate);
  }
  if (fate === 'gone' && (given.spent === 'migrated' || isForgottenOften(session, given.load.now))) {
    return { ...SESSION_NOT_FOUND, ends: 'forgotten' };
  }
  if (given.spent !== undefined) return { kind: 'spent' };
  const to = roomiest(
    given.backends.filter(({ id }) => isReachable(given.tried.get(id))),
    given,
  );
  return to === undefined ? { kind: 'wait' } : migrateTo(to, session, reasonOf(fate));
}

/** Who issued the `requestState` that it brings back gets it, a suspect or one that drains too. */
function decideAny(able: readonly Backend[], { load, tried, issuer }: Circumstances): Decision {
  const to = able.find(({ id }) => id === issuer);
  if (to === undefined) return forwardTo(pick(able, runningOnly(load)));
  return tried.get(to.id) === 'draining' ? { kind: 'forward', to, stay: true } : forwardTo(to);
}

/** An id that its client has made up: one backend gets all that bears it, for whatever it keeps under it. */
function decideOwn(id: string, { backends, tried }: Circumstances): Decision {
  const able = bestOf(backends.filter((one) => isOpen(tried.get(one.id))));
  return forwardTo(sameFor(id, able));
}

/** Longer than what DNS servers keep of an answer makes one proxy hear of a backend after another. Milliseconds. */
export const UNHEARD_MS = 60_000;

/**
 * A home that another proxy gave the session a moment ago, and that discovery has not named here yet: to be asked, as
 * one that is listed. Not one that was listed, and has left or is dead.
 */
function newcomer(
  { home, homedAt, createdAt }: Session,
  { backends, heard, load }: Circumstances,
): Backend | undefined {
  if (heard(home.id) || load.now - (homedAt ?? createdAt) > UNHEARD_MS) return undefined;
  // Another has its address now.
  if (backends.some(({ origin }) => origin === home.origin)) return undefined;
  return { ...home, draining: false, suspect: false };
}

/** Where a session may go that could stay: undefined where it is better off at home. */
export function newHome(
  session: Session,
  given: Omit<Circumstances, 'onSessionLost' | 'heard' | 'spent' | 'issuesIds' | 'issuer' | 'endable'>,
): Backend | undefined {
  const { backends, tried } = given;
  const others = backends.filter(({ id, draining }) => id !== session.home.id && !draining && isOpen(tried.get(id)));
  return roomiest(
    others.filter(({ suspect }) => !suspect),
    given,
  );
}

/** Whoever holds it keeps no sessions, whatever it issues: it would be lost at once again. */
function isForgottenOften({ forgottenAt = [] }: Session, now: number): boolean {
  return forgottenAt.filter((at) => now - at < FORGOTTEN_WITHIN_MS).length >= FORGOTTEN_MOST;
}

function migrateTo(to: Backend, session: Session, reason: MigrationReason): Decision {
  return { kind: 'migrate', session, to, reason };
}

function reasonOf(fate: Fate | undefined): MigrationReason {
  if (fate === 'gone') return 'lost';
  return fate === 'misdirected' ? 'identity' : 'crash';
}

/** It may get the exchange; one that drains only where no other is left, and is asked to serve on. */
function isOpen(fate: Fate | undefined): boolean {
  return fate === undefined || fate === 'draining';
}

function isReachable(fate: Fate | undefined): boolean {
  return fate !== 'unsent' && fate !== 'misdirected';
}

/** A session that is there already is better crowded than lost. */
function roomiest(
  candidates: readonly Backend[],
  given: Pick<Circumstances, 'load' | 'maxSessions'>,
): Backend | undefined {
  const roomy = candidates.filter((one) => hasRoom(one, given));
  return pick(roomy.some(({ draining }) => !draining) ? roomy : candidates, given.load, newest);
}

function decideOpen(able: readonly Backend[], given: Circumstances): Decision {
  const { room = Infinity } = given;
  if (openingIn(given.load) >= room) return room > 0 ? { kind: 'wait' } : REGISTRY_FULL;
  const staying = able.filter(({ draining }) => !draining);
  if (staying.length > 0 && !staying.some((one) => hasRoom(one, given))) {
    // A place that somebody else is about to take may be given back.
    const { load, maxSessions } = given;
    return staying.some(({ id }) => (load.held.get(id) ?? 0) < maxSessions) ? { kind: 'wait' } : ALL_FULL;
  }
  return forwardTo(
    pick(
      able.filter((one) => one.draining || hasRoom(one, given)),
      given.load,
      newest,
    ),
  );
}

function openingIn({ opening }: Load): number {
  return [...opening.values()].reduce((sum, sessions) => sum + sessions, 0);
}

function hasRoom(one: Backend, { load, maxSessions }: Pick<Circumstances, 'load' | 'maxSessions'>): boolean {
  return sessionsAt(one, load) < maxSessions;
}

function forwardTo(to: Backend | undefined): Decision {
  if (to === undefined) return { kind: 'wait' };
  return to.draining ? { kind: 'forward', to, stay: true } : { kind: 'forward', to };
}

/** What belongs to no session goes where the fewest exchanges run. */
function runningOnly(load: Load): Load {
  return { ...load, held: NO_SESSIONS, opening: NO_SESSIONS };
}

/** For exchanges that belong to no session: how many a backend holds does not matter. */
export const NO_SESSIONS: ReadonlyMap<string, number> = new Map();

/** A home that cannot be reached may come back; one that has forgotten the session, or has left, cannot. */
function withoutMigration(fate: Fate | undefined): Decision {
  return fate === 'unsent' ? { kind: 'wait' } : { ...SESSION_NOT_FOUND, ends: 'policy' };
}

/** Suspects only where no other backend is left, draining ones last of all; of the best those that `prefer` leaves. */
export function pick(
  candidates: readonly Backend[],
  load: Load,
  prefer: (best: readonly Backend[]) => readonly Backend[] = (best) => best,
): Backend | undefined {
  return balance(prefer(bestOf(candidates)), load);
}

function bestOf(candidates: readonly Backend[]): readonly Backend[] {
  const staying = candidates.filter(({ draining }) => !draining);
  const sound = staying.filter(({ suspect }) => !suspect);
  return [sound, staying, candidates].find((group) => group.length > 0) ?? [];
}
