/** Does many things one after the other, spread over time, so that what they set off does not come all at once. */

/** Milliseconds between two, where there is time for that. */
const LONGEST_GAP = 20;

export type Pacer<T> = {
  /** Acts on the item in its turn, once; an item that waits already is not added again. */
  add(item: T): void;
  /** Nothing more is done. */
  stop(): void;
};

/**
 * Acts on items 20 ms apart, give or take a half, or closer, so that as many as ever waited at a time take `spanMs`
 * at most. `act` never throws.
 */
export function pacer<T>(spanMs: number, act: (item: T) => void): Pacer<T> {
  const waiting = new Set<T>();
  let most = 0;
  let due = 0;
  let timer: NodeJS.Timeout | undefined;

  const run = () => {
    timer = undefined;
    const gap = Math.min(LONGEST_GAP, spanMs / most);
    // Timers are no finer than 1 ms: several may be due.
    for (const item of waiting) {
      if (due > performance.now()) break;
      waiting.delete(item);
      due += gap * (0.5 + Math.random());
      act(item);
    }
    if (waiting.size > 0) timer = setTimeout(run, Math.max(0, due - performance.now()));
  };

  return {
    add(item) {
      waiting.add(item);
      most = Math.max(most, waiting.size);
      if (timer) return;
      due = Math.max(due, performance.now());
      timer = setTimeout(run, Math.max(0, due - performance.now()));
    },
    stop() {
      waiting.clear();
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
