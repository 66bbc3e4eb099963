/** How each backend stands, since when, and what has changed: folded from one look to the next. Pure. */

import { BoundedMap } from '../bounded.ts';
import type { Backend, Health } from '../contract.ts';
import { listedState } from '../listed.ts';
import type { BackendState, BackendStatus, DrainedBy } from './snapshot.ts';

export type Look = {
  readonly backends: readonly Backend[];
  /** Sessions by backend id. */
  readonly counts: ReadonlyMap<string, number>;
  readonly at: number;
};

export type Stand = Omit<BackendStatus, 'streams' | 'exchangesPerSecond' | 'errorsPerSecond' | 'exchanges'>;

export interface Standing {
  /** The list and the counts as they are now; what has changed since the last look, in sentences. */
  look(look: Look): readonly string[];
  /** What the checks make of it: of one that is not listed it counts that it is dead. */
  checked(id: string, health: Health): void;
  /** Whose word it is that it drains; undefined: it does not any more. */
  drains(id: string, by: DrainedBy | undefined): void;
  list(): readonly Stand[];
}

/** One that died and is not listed stays in sight for so long; where the list is fixed, until it lives. Milliseconds. */
const DEAD_SHOWN_MS = 15 * 60_000;
/** Backends; one that leaves while it drains says no more of it. */
const MOST_DRAINED = 1_000;

/** `fixed`: who belongs to the list never changes, so that one that is missing is dead, and may come back. */
export function newStanding(fixed: boolean): Standing {
  let stands: ReadonlyMap<string, Stand> = new Map();
  const dead = new Set<string>();
  const drained = new BoundedMap<DrainedBy>(MOST_DRAINED);
  let looked = false;

  function stateOf(id: string, counts: Look['counts'], at: number): 'dead' | 'gone' | undefined {
    const before = stands.get(id);
    if (dead.has(id)) {
      const out = before?.state === 'dead' && at - before.stateSince > DEAD_SHOWN_MS && !fixed;
      if (!out) return 'dead';
      dead.delete(id);
    }
    return (counts.get(id) ?? 0) > 0 ? 'gone' : undefined;
  }
  function missing({ backends, counts, at }: Look): readonly Stand[] {
    const listed = new Set(backends.map(({ id }) => id));
    return [...new Set([...stands.keys(), ...dead, ...counts.keys()])].flatMap((id) => {
      if (listed.has(id)) return [];
      const state = stateOf(id, counts, at);
      if (state === undefined) return [];
      const { zone, release, since } = stands.get(id) ?? { since: at };
      return [next(stands.get(id), { id, ...facts(zone, release) }, state, { counts, at }, since)];
    });
  }

  return {
    look(look) {
      const { backends, counts, at } = look;
      // While the checks are doubted the dead are listed too, as suspects.
      for (const { id, suspect } of backends) if (!suspect) dead.delete(id);
      const present = backends.map((one) => {
        const before = stands.get(one.id);
        const named = { id: one.id, ...facts(one.zone, one.release) };
        const stand = next(before, named, listedState(one), { counts, at }, before?.since ?? one.since ?? at);
        const drainingBy = drained.get(one.id);
        return stand.state === 'draining' && drainingBy !== undefined ? Object.assign(stand, { drainingBy }) : stand;
      });
      const now = new Map([...present, ...missing(look)].map((stand) => [stand.id, stand]));
      const said = looked ? changes(stands, now) : [];
      stands = now;
      looked = true;
      return said;
    },
    checked(id, health) {
      if (health === 'dead') dead.add(id);
      else dead.delete(id);
    },
    drains(id, by) {
      if (by === undefined) drained.delete(id);
      else drained.set(id, by);
    },
    list: () => [...stands.values()],
  };
}

function facts(zone: string | undefined, release: number | undefined): Pick<Stand, 'zone' | 'release'> {
  return { ...(zone !== undefined && { zone }), ...(release !== undefined && { release }) };
}

function next(
  before: Stand | undefined,
  named: Pick<Stand, 'id' | 'zone' | 'release'>,
  state: BackendState,
  { counts, at }: Pick<Look, 'counts' | 'at'>,
  since: number,
): Stand {
  const sessions = counts.get(named.id) ?? 0;
  const stateSince = before?.state === state ? before.stateSince : at;
  const drainingFrom = Math.max(sessions, before?.drainingFrom ?? before?.sessions ?? 0);
  return { ...named, state, stateSince, since, sessions, ...(state === 'draining' && { drainingFrom }) };
}

const SENTENCES: Readonly<Record<BackendState, string>> = {
  ready: 'is ready',
  draining: 'drains',
  suspect: 'is suspect: it failed a moment ago',
  dead: 'is dead',
  gone: 'is gone, and sessions are registered there still',
};

const BY: Readonly<Record<DrainedBy, string>> = {
  order: ', by order',
  discovery: ', as discovery or its check says',
  backend: ', as it says itself',
};

function sentence({ state, drainingBy }: Stand): string {
  return SENTENCES[state] + (drainingBy === undefined ? '' : BY[drainingBy]);
}

function changes(before: ReadonlyMap<string, Stand>, now: ReadonlyMap<string, Stand>): readonly string[] {
  const changed = [...now.values()].flatMap((stand) => {
    const old = before.get(stand.id);
    if (old === undefined) return [`${stand.id} was found, and ${sentence(stand)}`];
    if (old.state !== stand.state) return [`${stand.id} ${sentence(stand)}`];
    const left = stand.state === 'draining' && old.sessions > 0 && stand.sessions === 0;
    return left ? [`${stand.id} is empty: its last session has left`] : [];
  });
  const left = [...before.keys()].filter((id) => !now.has(id)).map((id) => `${id} has left`);
  return [...changed, ...left];
}
