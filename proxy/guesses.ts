/** Session ids that nobody issued: so many a second are looked for, for each client, and the others are refused unseen. */
import { TokenBuckets } from './token-bucket.ts';
import type { Rate } from './token-bucket.ts';

/** `done`: it has been looked for, and whether it was a guess. */
export type Looking = { readonly kind: 'looking'; done(guess: boolean): void };
/** In seconds. */
export type Beyond = { readonly kind: 'beyond'; readonly retryAfter: number };

export interface Guesses {
  /** Before the registry is asked for an id that may be a guess. Waits while as many are looked for as may be guesses. */
  look(client: string): Promise<Looking | Beyond>;
  /** An id that was asked for was a guess. Undefined: it may be answered. */
  guessed(client: string): Beyond | undefined;
}

/** Clients that are remembered at once. */
const MOST = 10_000;
/** Milliseconds for which an id that is unknown is not looked for again. */
export const UNKNOWN_MS = 1_000;
/** More may be looked for at once after so many sessions were found: their client is one of many behind an address. */
const MOST_CREDIT = 200;

type Client = { running: number; credit: number; readonly waiting: (() => void)[] };

const FREE: Looking = { kind: 'looking', done() {} };

const UNLIMITED: Guesses = { look: () => Promise.resolve(FREE), guessed: () => undefined };

/** `rate` undefined: no limit. `now` is in milliseconds. */
export function createGuesses(rate: Rate | undefined, now: () => number): Guesses {
  return rate === undefined ? UNLIMITED : limitedBy(rate, now);
}

function limitedBy(rate: Rate, now: () => number): Guesses {
  const buckets = new TokenBuckets(rate, MOST, now);
  /** Those for whom something is looked for now. */
  const clients = new Map<string, Client>();

  const room = (client: string, { running, credit }: Client): number => buckets.tokens(client) + credit - running;
  const beyond = (client: string): Beyond => {
    return { kind: 'beyond', retryAfter: Math.max(1, Math.ceil(buckets.waitMs(client) / 1000)) };
  };
  function take(client: string): void {
    // What was looked for at once may be more than was there: for that nobody is shut out longer than for one full bucket.
    if (buckets.tokens(client) > -rate.burst) buckets.take(client);
  }
  function leave(client: string, state: Client, guess: boolean): void {
    state.running -= 1;
    state.credit = guess ? 0 : Math.min(state.credit + 1, MOST_CREDIT);
    if (guess) take(client);
    const woken = buckets.tokens(client) < 1 ? state.waiting.length : Math.max(0, room(client, state));
    for (const wake of state.waiting.splice(0, woken)) wake();
    if (state.running === 0 && state.waiting.length === 0) clients.delete(client);
  }

  return {
    async look(client) {
      for (;;) {
        if (buckets.tokens(client) < 1) return beyond(client);
        const state = clients.get(client) ?? { running: 0, credit: 0, waiting: [] };
        clients.set(client, state);
        if (room(client, state) > 0) {
          state.running += 1;
          return { kind: 'looking', done: (guess) => leave(client, state, guess) };
        }
        await new Promise<void>((resolve) => state.waiting.push(resolve));
      }
    },
    guessed(client) {
      if (buckets.tokens(client) < 1) return beyond(client);
      take(client);
      return undefined;
    },
  };
}
