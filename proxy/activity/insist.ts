/** Words that Redis must hear though it is away now: said again until it has heard them. */

import { BoundedMap } from '../bounded.ts';
import { SessionsUnavailable } from '../contract.ts';

/** Milliseconds between the rounds. */
const AGAIN_EVERY = 1_000;
/** Words that wait; of more the oldest go, and end in Redis by their age. */
const MOST = 10_000;

export interface Insisting {
  /** Says it now; while the registry is away, again each second, for `lifeMs`. A newer word of the name replaces it. */
  say(name: string, word: () => Promise<unknown>): Promise<void>;
  /** What was to be said under the name is not true any more. */
  forget(name: string): void;
  close(): void;
}

type Word = { readonly say: () => Promise<unknown>; readonly until: number };

/** `lifeMs`: after which what is in Redis has ended by its age. Words may be heard twice. */
export function newInsisting(lifeMs: number, now: () => number): Insisting {
  const words = new BoundedMap<Word>(MOST);

  async function say(name: string, word: Word): Promise<void> {
    let heard = true;
    try {
      await word.say();
    } catch (error) {
      if (!(error instanceof SessionsUnavailable)) throw error;
      heard = false;
    }
    if (words.get(name) === word && (heard || word.until <= now())) words.delete(name);
  }
  const rounds = setInterval(() => {
    for (const [name, word] of words) void say(name, word);
  }, AGAIN_EVERY).unref();

  return {
    say(name, word) {
      const due = { say: word, until: now() + lifeMs };
      words.set(name, due);
      return say(name, due);
    },
    forget: (name) => void words.delete(name),
    close: () => clearInterval(rounds),
  };
}
