/** What clients saw, call by call, and what the servers' ledger says about it. */

import type { Effect } from '../test/house/servers.ts';

/** How a call ended. */
export type Outcome =
  | 'answered'
  /** The proxy said so: the server died while it worked on a call that may not be repeated. */
  | 'unknown'
  /** The proxy that had the call was killed with -9. */
  | 'cut'
  /** The session is not known any more. */
  | 'lost'
  | 'failed';

export type Tally = {
  readonly counts: Record<Outcome, number>;
  /** Calls that took longer than `SLOW_MS`, as in `slow answered 5.4 s`. */
  readonly slow: string[];
  /** Milliseconds of the slowest. */
  slowest: number;
  /** Answers of 503 with `Retry-After` after which the request was sent again. */
  refused: number;
  /** Questions of servers that clients answered, and those whose server did not get the answer. */
  asked: number;
  unanswered: number;
  /** Listening streams that were opened, and sessions that were. */
  streams: number;
  sessions: number;
  /** Sessions that could not be had, though no proxy was killed meanwhile. */
  unopened: number;
  /** Keys of calls that must run once, by how they ended. */
  readonly keys: Record<Outcome, Set<string>>;
  /** What failed, in a few words, and how often. */
  readonly failures: Map<string, number>;
};

const SLOW_MS = 5_000;
const OUTCOMES: readonly Outcome[] = ['answered', 'unknown', 'cut', 'lost', 'failed'];

export function newTally(): Tally {
  const each = <T>(make: () => T) => ({ answered: make(), unknown: make(), cut: make(), lost: make(), failed: make() });
  return {
    counts: each(() => 0),
    slow: [],
    slowest: 0,
    refused: 0,
    asked: 0,
    unanswered: 0,
    streams: 0,
    sessions: 0,
    unopened: 0,
    keys: each(() => new Set<string>()),
    failures: new Map(),
  };
}

export function note(tally: Tally, what: string, outcome: Outcome, ms: number, key?: string): void {
  tally.counts[outcome] += 1;
  tally.slowest = Math.max(tally.slowest, ms);
  if (ms > SLOW_MS) tally.slow.push(`${what} ${outcome} ${(ms / 1_000).toFixed(1)} s`);
  if (key !== undefined) tally.keys[outcome].add(key);
}

export function noteFailure({ failures }: Tally, words: string): void {
  failures.set(words, (failures.get(words) ?? 0) + 1);
}

export function callsOf({ counts }: Tally): number {
  return OUTCOMES.reduce((sum, outcome) => sum + counts[outcome], 0);
}

/** Calls that must run once: those that ran twice, and those that were answered and never ran. */
export function judgeRuns(
  { keys }: Tally,
  effects: readonly Effect[],
): { readonly twice: readonly string[]; readonly never: readonly string[] } {
  const once = new Set(OUTCOMES.flatMap((outcome) => Array.from(keys[outcome])));
  const runs = new Map<string, number>();
  for (const { key } of effects) runs.set(key, (runs.get(key) ?? 0) + 1);
  return {
    twice: [...once].filter((key) => (runs.get(key) ?? 0) > 1),
    never: [...keys.answered].filter((key) => !runs.has(key)),
  };
}
