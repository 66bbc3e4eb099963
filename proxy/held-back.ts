/** A sink before the sink: holds an answer back until something has happened that the client must not be quicker than. */
import type { Sink } from './contract.ts';

/** `settled`, which never rejects, is waited for; what comes meanwhile is kept, so it must be short. */
export function heldBack(sink: Sink, settled: Promise<void>): Sink {
  let kept: (() => unknown)[] | undefined = [];
  async function release(): Promise<void> {
    await settled;
    for (const show of kept ?? []) show();
    kept = undefined;
  }
  void release();
  function inTurn(show: () => boolean): boolean {
    if (kept === undefined) return show();
    kept.push(show);
    return false;
  }
  return {
    heard: (headers) => sink.heard?.(headers),
    head: (status, headers, own) => void inTurn(() => (sink.head(status, headers, own), true)),
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
  };
}
