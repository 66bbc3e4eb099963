/** A seeded scheduler: everything that takes time waits for its turn, and the seed says whose turn it is. */

import { vi } from 'vitest';

export type Schedule = {
  /** A random number in [0, 1), the same sequence for the same seed. */
  readonly draw: () => number;
  /** Resolves when its turn has come. */
  readonly turn: (what: string) => Promise<void>;
  /** Lets one of those that wait go on, or none where none waits. */
  readonly next: () => Promise<void>;
  /** Lets this much time pass, in milliseconds. */
  readonly pass: (ms: number) => Promise<void>;
  readonly waiting: () => number;
  /** The last things that happened, in words. */
  readonly story: () => string;
  readonly say: (what: string) => void;
};

/** All of it for a single walk. */
const TOLD = process.env['MODEL_SEED'] === undefined ? 40 : Infinity;

export function newSchedule(seed: number): Schedule {
  const waiting: { readonly what: string; readonly go: () => void }[] = [];
  const story: string[] = [];
  let state = seed >>> 0;
  /** Mulberry32. */
  const draw = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  const say = (what: string): void => {
    story.push(what);
    if (story.length > TOLD) story.shift();
  };
  const pass = async (ms: number): Promise<void> => {
    await vi.advanceTimersByTimeAsync(ms);
  };
  return {
    draw,
    turn: (what) => new Promise((go) => waiting.push({ what, go })),
    async next() {
      const [one] = waiting.splice(Math.floor(draw() * waiting.length), 1);
      if (one) say(one.what);
      one?.go();
      await pass(0);
    },
    pass,
    waiting: () => waiting.length,
    story: () => story.join('\n  '),
    say,
  };
}
