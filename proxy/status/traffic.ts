/** How many exchanges, and how many of them went wrong, in all and by backend. Pure. */

import type { RoutingEvent } from '../events.ts';
import { type Series, newSeries, rateOf } from './series.ts';
import type { Status } from './snapshot.ts';

type Exchange = Extract<RoutingEvent, { type: 'exchange' }>;

export const HISTORY = { stepMs: 5_000, steps: 180 } as const;
const BY_BACKEND = { stepMs: 15_000, steps: 60 } as const;
/** For what is shown as now. */
const NOW = { stepMs: 1_000, steps: 10 } as const;
/** A list that is longer would be a fault of discovery's: what is not kept is counted in all only. */
const MOST_BACKENDS = 1_000;

export type Rates = {
  readonly exchangesPerSecond: number;
  readonly errorsPerSecond: number;
  /** Exchanges a second, the oldest step first. */
  readonly exchanges: readonly (number | null)[];
};

export interface Traffic {
  count(exchange: Exchange, at: number): void;
  all(at: number): {
    readonly now: Pick<Rates, 'exchangesPerSecond' | 'errorsPerSecond'>;
    readonly history: Pick<Status['history'], 'exchangesPerSecond' | 'errorsPerSecond'>;
  };
  of(backend: string, at: number): Rates;
  /** Begins to count for each of these, and forgets all others. */
  know(backends: ReadonlySet<string>, at: number): void;
}

type Tally = { readonly exchanges: Series; readonly errors: Series; readonly history: Series };

/** An error is what the client could not do anything about: a fate unknown, or a status of 500 and more. */
const wentWrong = ({ outcome, status }: Exchange): boolean => outcome === 'lost' || status >= 500;

export function newTraffic(startedAt: number): Traffic {
  const whole = newTally(HISTORY);
  const errors = newSeries(HISTORY);
  begin(whole, startedAt);
  errors.add(startedAt, 0);
  const tallies = new Map<string, Tally>();

  function tallyOf(backend: string): Tally | undefined {
    const known = tallies.get(backend);
    if (known !== undefined || tallies.size >= MOST_BACKENDS) return known;
    const made = newTally(BY_BACKEND);
    tallies.set(backend, made);
    return made;
  }

  return {
    count(exchange, at) {
      const wrong = wentWrong(exchange);
      add(whole, wrong, at);
      errors.add(at, wrong ? 1 : 0);
      const tally = exchange.backend === undefined ? undefined : tallyOf(exchange.backend);
      if (tally !== undefined) add(tally, wrong, at);
    },
    all(at) {
      const { exchanges, ...now } = ratesOf(whole, at, HISTORY.stepMs);
      const errorsPerSecond = perSecond(errors.read(at), HISTORY.stepMs);
      return { now, history: { exchangesPerSecond: exchanges, errorsPerSecond } };
    },
    of(backend, at) {
      const tally = tallies.get(backend);
      if (tally !== undefined) return ratesOf(tally, at, BY_BACKEND.stepMs);
      return { exchangesPerSecond: 0, errorsPerSecond: 0, exchanges: [] };
    },
    know(backends, at) {
      for (const id of tallies.keys()) if (!backends.has(id)) tallies.delete(id);
      for (const id of backends) if (!tallies.has(id)) begin(tallyOf(id), at);
    },
  };
}

function newTally(history: typeof HISTORY | typeof BY_BACKEND): Tally {
  return { exchanges: newSeries(NOW), errors: newSeries(NOW), history: newSeries(history) };
}

/** From now on nothing is known to have happened. */
function begin(tally: Tally | undefined, at: number): void {
  for (const series of [tally?.exchanges, tally?.errors, tally?.history]) series?.add(at, 0);
}

function add(tally: Tally, wrong: boolean, at: number): void {
  tally.exchanges.add(at, 1);
  tally.history.add(at, 1);
  if (wrong) tally.errors.add(at, 1);
}

function ratesOf({ exchanges, errors, history }: Tally, at: number, stepMs: number): Rates {
  return {
    exchangesPerSecond: rateOf(exchanges.read(at), NOW.stepMs),
    errorsPerSecond: rateOf(errors.read(at), NOW.stepMs),
    exchanges: perSecond(history.read(at), stepMs),
  };
}

function perSecond(counts: readonly (number | undefined)[], stepMs: number): readonly (number | null)[] {
  return counts.map((count) => (count === undefined ? null : count / (stepMs / 1000)));
}
