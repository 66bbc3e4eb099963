/** A signal for an attempt that may go on for a while after its client has left. */

export type Outlasting = {
  /** Aborted by `abort`, or so long after the client has left. */
  readonly signal: AbortSignal;
  readonly abort: () => void;
  /** The attempt is over. */
  readonly done: () => void;
};

/** `ms`: milliseconds after the abort of `left`. */
export function outlasting(left: AbortSignal, ms: number): Outlasting {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const abort = (): void => late.abort();
  const begin = (): void => {
    if (ms === 0) abort();
    else timer = setTimeout(abort, ms).unref();
  };
  if (left.aborted) begin();
  else left.addEventListener('abort', begin, { once: true });
  return {
    signal: late.signal,
    abort,
    done() {
      left.removeEventListener('abort', begin);
      clearTimeout(timer);
    },
  };
}
