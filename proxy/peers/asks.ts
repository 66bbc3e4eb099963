/** The questions of this proxy that others have yet to answer. */

import type { Answers, JsonObject } from '../contract.ts';

/** More are not asked at the same time. */
const MOST = 256;

export type Ask = {
  readonly number: number;
  readonly done: Promise<Answers>;
};

export type AskOptions = {
  /** Those that live, and whether each is silent: it need not be waited for. */
  readonly peers: ReadonlyMap<string, boolean>;
  readonly ms: number;
  readonly until: ((answer: JsonObject) => boolean) | undefined;
};

export type Asks = {
  /** Undefined when there are too many. */
  readonly open: (options: AskOptions) => Ask | undefined;
  readonly answered: (number: number, peer: string, answer: JsonObject) => void;
  /** It could not be sent. */
  readonly failed: (number: number) => void;
  /** This proxy will not answer. */
  readonly left: (peer: string) => void;
  /** It has only now begun to hear, and may not have heard what it was asked before. */
  readonly joined: (peer: string) => void;
  /** Answers cannot be heard any more. */
  readonly failAll: () => void;
};

type Open = {
  readonly answers: Map<string, JsonObject>;
  /** Those that live and have not answered, and those of them that are waited for. */
  readonly owing: Set<string>;
  readonly awaited: Set<string>;
  readonly until: ((answer: JsonObject) => boolean) | undefined;
  readonly settle: () => void;
};

/** `late` is told of each that was waited for in vain. */
export function newAsks(late: (peer: string) => void): Asks {
  const asks = new Map<number, Open>();
  let last = 0;

  function open({ peers, ms, until }: AskOptions): Ask | undefined {
    if (asks.size >= MOST) return undefined;
    const number = (last += 1);
    const { promise, resolve } = Promise.withResolvers<Answers>();
    const answers = new Map<string, JsonObject>();
    const owing = new Set(peers.keys());
    const awaited = new Set([...peers].flatMap(([peer, silent]) => (silent ? [] : [peer])));
    const settle = (): void => {
      if (!asks.delete(number)) return;
      clearTimeout(timer);
      resolve({ answers: [...answers.values()], complete: owing.size === 0 });
    };
    const over = (): void => {
      if (asks.has(number)) for (const peer of awaited) late(peer);
      settle();
    };
    // An answer that is there already when a busy process gets to look is not late.
    const timer = setTimeout(() => setImmediate(over), ms).unref();
    asks.set(number, { answers, owing, awaited, until, settle });
    if (awaited.size === 0) settle();
    return { number, done: promise };
  }
  function release(ask: Open, peer: string): void {
    if (ask.awaited.delete(peer) && ask.awaited.size === 0) ask.settle();
  }

  return {
    open,
    answered(number, peer, answer) {
      const ask = asks.get(number);
      if (!ask || ask.answers.has(peer)) return;
      ask.answers.set(peer, answer);
      ask.owing.delete(peer);
      if (isEnough(ask, answer)) ask.settle();
      else release(ask, peer);
    },
    failed: (number) => asks.get(number)?.settle(),
    left(peer) {
      for (const ask of asks.values()) {
        ask.owing.delete(peer);
        release(ask, peer);
      }
    },
    joined(peer) {
      for (const ask of asks.values()) release(ask, peer);
    },
    failAll() {
      for (const ask of asks.values()) ask.settle();
    },
  };
}

function isEnough({ until }: Open, answer: JsonObject): boolean {
  try {
    return until?.(answer) === true;
  } catch {
    return false;
  }
}
