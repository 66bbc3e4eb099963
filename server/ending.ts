/** From the begin of a drain to its end: when all is done, at the deadline, or when it is called off. */

/** Milliseconds after a refusal before the end: a proxy that finds no other backend comes back with the request. */
const SECOND_THOUGHTS = 1000;

export type Ending = {
  readonly begun: boolean;
  /** Begins it, once; resolves at its end. Never rejects. */
  begin(): Promise<void>;
  /** To be called when all may be done. */
  check(): void;
  /** A request has been refused. */
  refused(): void;
  /** Ends it now, or before it has begun. */
  callOff(): void;
};

export type EndingOptions = {
  readonly graceMs: number;
  readonly allDone: () => boolean;
  /** What these throw is dropped: it must not keep a process from ending in time. */
  readonly onStart: () => void;
  readonly onDone: () => void;
};

export function createEnding({ graceMs, allDone, onStart, onDone }: EndingOptions): Ending {
  const end = Promise.withResolvers<void>();
  let begun = false;
  let over = false;
  let refusedAt = -Infinity;
  let deadline: NodeJS.Timeout | undefined;
  let secondThoughts: NodeJS.Timeout | undefined;

  const finish = () => {
    if (over) return;
    over = true;
    clearTimeout(deadline);
    clearTimeout(secondThoughts);
    if (begun) quietly(onDone);
    end.resolve();
  };
  const check = () => {
    clearTimeout(secondThoughts);
    if (!begun || over || !allDone()) return;
    const wait = refusedAt + SECOND_THOUGHTS - performance.now();
    if (wait > 0) secondThoughts = setTimeout(check, wait);
    else finish();
  };

  return {
    get begun() {
      return begun;
    },
    begin() {
      if (begun || over) return end.promise;
      begun = true;
      deadline = setTimeout(finish, graceMs);
      quietly(onStart);
      check();
      return end.promise;
    },
    check,
    refused() {
      refusedAt = performance.now();
    },
    callOff: finish,
  };
}

function quietly(listener: () => void): void {
  try {
    listener();
  } catch {
    // The owner's failure, and the owner's log.
  }
}
