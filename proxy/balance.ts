/** Which of several backends gets a session, or an exchange that belongs to none. Pure. */
import { hash as digest } from 'node:crypto';
import type { Backend } from './contract.ts';

export type Load = {
  /** Sessions by backend id: what the registry counted, and this proxy's changes since. Advisory. */
  readonly held: ReadonlyMap<string, number>;
  /** Sessions that this proxy is opening, by backend id: nobody has counted them yet. */
  readonly opening: ReadonlyMap<string, number>;
  /** Exchanges of this proxy that run, by backend id. */
  readonly running: ReadonlyMap<string, number>;
  /** The proxy's own zone. */
  readonly zone: string | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Random numbers in [0, 1). */
  readonly draw: () => number;
};

/** How long a new backend is held back, in milliseconds: all that come at once would meet a process still cold. */
export const SLOW_START_MS = 30_000;
/** Another zone's backend is taken when it carries less than this part of what one of the own zone does. */
const FAR_PART = 0.5;

/**
 * The power of two choices: of two backends drawn at random, the one that holds fewer sessions, or as many and runs fewer
 * exchanges. Spreads evenly without every proxy running to the same emptiest backend. Backends of the proxy's own zone
 * are preferred unless they carry twice as much; one that is new is filled up to what the others hold as it grows older.
 * Undefined for no candidates.
 */
export function balance(candidates: readonly Backend[], load: Load): Backend | undefined {
  const burdens = new Map(candidates.map((one) => [one.id, burden(one, candidates, load)]));
  const near = candidates.filter(({ zone }) => zone !== undefined && zone === load.zone);
  const close = lighter(near, burdens, load);
  if (close === undefined) return lighter(candidates, burdens, load);
  const far = lighter(
    candidates.filter((one) => !near.includes(one)),
    burdens,
    load,
  );
  if (far === undefined) return close;
  const whole = ({ id }: Backend): number => (burdens.get(id) ?? 0) + (load.running.get(id) ?? 0) + 1;
  return whole(far) < whole(close) * FAR_PART ? far : close;
}

/**
 * Without those that say themselves that they run an older release than another of them: they are to be emptied. Who
 * says nothing may be the newest, and as long as it gets no session nobody learns that it is.
 */
export function newest(candidates: readonly Backend[]): readonly Backend[] {
  const latest = Math.max(...candidates.map(({ release }) => release ?? -Infinity));
  return candidates.filter(({ release }) => release === undefined || release === latest);
}

function lighter(
  candidates: readonly Backend[],
  burdens: ReadonlyMap<string, number>,
  { running, draw }: Load,
): Backend | undefined {
  const first = Math.floor(draw() * candidates.length);
  const one = candidates[first];
  if (one === undefined || candidates.length === 1) return one;
  const other = candidates[(first + 1 + Math.floor(draw() * (candidates.length - 1))) % candidates.length];
  if (other === undefined) return one;
  const sessions = (burdens.get(other.id) ?? 0) - (burdens.get(one.id) ?? 0);
  const exchanges = (running.get(other.id) ?? 0) - (running.get(one.id) ?? 0);
  return sessions < 0 || (sessions === 0 && exchanges < 0) ? other : one;
}

/** Sessions held, those to come included; for one that is new, at first, what the others hold on average besides. */
function burden(one: Backend, all: readonly Backend[], load: Load): number {
  const { now } = load;
  const own = sessionsAt(one, load);
  const youth = 1 - (now - (one.since ?? -Infinity)) / SLOW_START_MS;
  if (youth <= 0 || all.length === 1) return own;
  const others = all.reduce((sum, other) => sum + sessionsAt(other, load), 0) - own;
  return own + (others / (all.length - 1)) * youth;
}

/** Held, or being opened. */
export function sessionsAt({ id }: Backend, { held, opening }: Load): number {
  return (held.get(id) ?? 0) + (opening.get(id) ?? 0);
}

/** Of the candidates always the same one for a key, as long as it is there (rendezvous hashing). Undefined for none. */
export function sameFor(key: string, candidates: readonly Backend[]): Backend | undefined {
  const weight = ({ id }: Backend): string => digest('sha256', `${id} ${key}`);
  const [first, ...others] = candidates;
  return first && others.reduce((best, one) => (weight(one) > weight(best) ? one : best), first);
}
