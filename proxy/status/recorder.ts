/** Keeps the board of a running proxy: hears all that it records, and looks at its house every few seconds. */

import type { Backends, Sessions } from '../contract.ts';
import type { RoutingEvent } from '../events.ts';
import { type BoardOptions, newBoard } from './board.ts';
import type { Status } from './snapshot.ts';
import { HISTORY } from './traffic.ts';

/** What of a house is looked at. */
export type Sight = {
  readonly backends: Pick<Backends, 'list' | 'onChange'>;
  /** Asked again and again; it may throw. */
  readonly countByBackend: Sessions['countByBackend'];
  /** Listening streams at this proxy, by backend id. */
  streamsByBackend(): ReadonlyMap<string, number>;
};

export interface Recorder {
  /** Never throws, and costs a few additions. */
  record(event: RoutingEvent): void;
  /** From now on this house is looked at. */
  watch(sight: Sight): void;
  status(ready: boolean): Promise<Status>;
  close(): void;
}

export function newRecorder(options: BoardOptions): Recorder {
  const board = newBoard(options);
  let house: Sight | undefined;
  let counts: ReadonlyMap<string, number> = new Map();
  let timer: NodeJS.Timeout | undefined;
  let undo = (): void => {};

  async function count(): Promise<void> {
    try {
      if (house !== undefined) counts = await house.countByBackend();
    } catch {
      // The registry is away: what it said last stands, and the page says the rest.
    }
  }
  const shown = () => ({ backends: house?.backends.list() ?? [], counts });
  async function sample(): Promise<void> {
    await count();
    board.sample(shown());
  }

  return {
    record(event) {
      try {
        board.record(event);
      } catch {
        // What a page shows may cost no client its answer.
      }
    },
    watch(sight) {
      house = sight;
      undo = sight.backends.onChange(() => board.look(shown()));
      // Twice in a step: a timer that is a little late must leave no step without a word.
      timer = setInterval(() => void sample(), HISTORY.stepMs / 2).unref();
      void sample();
    },
    async status(ready) {
      await count();
      board.look(shown());
      return board.status(ready, house?.streamsByBackend() ?? new Map());
    },
    close() {
      clearInterval(timer);
      undo();
    },
  };
}
