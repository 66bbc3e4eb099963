/** A sink before the sink: holds an answer back until something has happened that the client must not be quicker than. */
import type { Sink } from './contract.ts';

export type HeldBack = {
  readonly sink: Sink;
  /** Resolves when nothing is held back any more. */
  readonly settled: () => Promise<void>;
};

/**
 * `until` is told the status of the backend's answer, and returns what is to be waited for, which never rejects; undefined:
 * nothing. What comes meanwhile is kept, so it must be short.
 */
export function heldBack(sink: Sink, until: (status: number) => Promise<void> | undefined): HeldBack {
  let settled: Promise<void> = Promise.resolve();
  let kept: (() => unknown)[] | undefined;
  async function release(): Promise<void> {
    await settled;
    for (const show of kept ?? []) show();
    kept = undefined;
  }
  function inTurn(show: () => boolean): boolean {
    if (kept === undefined) return show();
    kept.push(show);
    return false;
  }
  return {
    settled: () => settled,
    sink: {
      heard: (headers) => sink.heard?.(headers),
      head(status, headers, own) {
        const waited = own === true ? undefined : until(status);
        if (waited !== undefined) {
          settled = waited;
          kept = [];
          void release();
        }
        inTurn(() => (sink.head(status, headers, own), true));
      },
      event: (event) => inTurn(() => sink.event(event)),
      chunk: (bytes) => inTurn(() => sink.chunk(bytes)),
      async drained() {
        await settled;
        await sink.drained();
      },
      end: () => void inTurn(() => (sink.end(), true)),
      cut() {
        // What the client has not begun to see can be replaced.
        if (kept === undefined) sink.cut();
        else kept = [];
      },
      answered: () => sink.answered?.(),
      get shown() {
        return sink.shown;
      },
    },
  };
}
