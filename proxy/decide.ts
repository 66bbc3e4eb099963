/** Intent × session × backends × what was tried → what to do next. Pure. */
import { balance } from './balance.ts';
import { CODE } from './contract.ts';
import type { Backend, Decision, Fate, Intent, Refusal, Session } from './contract.ts';

export type Circumstances = {
  readonly backends: readonly Backend[];
  /** How earlier attempts of this exchange ended, by backend id. */
  readonly tried: ReadonlyMap<string, Fate>;
  /** Sessions per backend id: advisory. */
  readonly held: ReadonlyMap<string, number>;
  /** Random numbers in [0, 1). */
  readonly draw: () => number;
  readonly onSessionLost: 'migrate' | 'not-found';
};

export const SESSION_NOT_FOUND: Refusal = {
  kind: 'refuse',
  status: 404,
  code: CODE.sessionNotFound,
  message: 'Session not found',
};

/**
 * - A session's exchange goes to its home. A home that `lost` an attempt is asked again: the break may have been the
 *   connection's alone, and a dead home refuses. `gone` bars forwarding there, not migrating: it was restarted in place.
 * - Everything else goes to any backend that has not failed this exchange.
 * - Nobody left: wait. The corridor turns a wait that is over the deadline into a refusal.
 */
export function decide(
  intent: Exclude<Intent, { kind: 'malformed' }>,
  session: Session | undefined,
  given: Circumstances,
): Decision {
  if (intent.kind !== 'continue') {
    const held = intent.kind === 'open' ? given.held : NO_SESSIONS;
    const to = pick(
      given.backends.filter(({ id }) => !given.tried.has(id)),
      held,
      given.draw,
    );
    return to === undefined ? { kind: 'wait' } : { kind: 'forward', to };
  }
  if (session === undefined) return SESSION_NOT_FOUND;
  const home = given.backends.find(({ id }) => id === session.home.id);
  const fate = given.tried.get(session.home.id);
  if (home !== undefined && (fate === undefined || fate === 'lost')) return { kind: 'forward', to: home };
  if (intent.verb === 'end') return { kind: 'end' };
  if (given.onSessionLost === 'not-found') return withoutMigration(fate);
  const to = pick(
    given.backends.filter(({ id }) => given.tried.get(id) !== 'unsent'),
    given.held,
    given.draw,
  );
  return to === undefined ? { kind: 'wait' } : { kind: 'migrate', session, to };
}

const NO_SESSIONS: ReadonlyMap<string, number> = new Map();

/** A home that cannot be reached may come back; one that has forgotten the session, or has left, cannot. */
function withoutMigration(fate: Fate | undefined): Decision {
  return fate === 'unsent' ? { kind: 'wait' } : { ...SESSION_NOT_FOUND, ends: true };
}

/** Suspects only where no other backend is left, draining ones last of all. */
function pick(
  candidates: readonly Backend[],
  held: ReadonlyMap<string, number>,
  draw: () => number,
): Backend | undefined {
  const staying = candidates.filter(({ draining }) => !draining);
  const sound = staying.filter(({ suspect }) => !suspect);
  const best = [sound, staying, candidates].find((group) => group.length > 0) ?? [];
  return balance(best, held, draw);
}
