/** One backend checked again and again, few backends at once. */

import type { Limit } from '../limit.ts';
import type { Check, Finding } from './checks.ts';

export type Watching = {
  readonly check: Check;
  readonly limit: Limit;
  /** From the beginning of a check to that of the next, give or take a tenth, in milliseconds. */
  readonly everyMs: number;
  /** Random numbers in [0, 1). */
  readonly draw: () => number;
};

export type Watch = {
  /** Somebody has doubts: checks early, though not without pause. */
  soon(): void;
  /** Nothing is learnt any more. */
  stop(): void;
};

const SOON_MS = 200;

/** The first check comes within a tenth of `everyMs`, so that many backends are not checked at the same moment. */
export function watch(origin: string, watching: Watching, learn: (finding: Finding) => void): Watch {
  const { check, limit, everyMs, draw } = watching;
  const leaving = new AbortController();
  let checking = false;
  let due = 0;
  let timer: NodeJS.Timeout | undefined;

  function schedule(ms: number): void {
    clearTimeout(timer);
    due = performance.now() + ms;
    timer = setTimeout(() => void look(), ms).unref();
  }
  async function look(): Promise<void> {
    const start = performance.now();
    checking = true;
    const finding = await limit.run(async () =>
      leaving.signal.aborted ? ({ kind: 'unknown' } as const) : check(origin, leaving.signal),
    );
    checking = false;
    if (leaving.signal.aborted) return;
    schedule(Math.max(0, everyMs * (0.9 + draw() / 5) - (performance.now() - start)));
    learn(finding);
  }

  schedule(everyMs * 0.1 * draw());
  return {
    soon() {
      if (!checking && !leaving.signal.aborted && due - performance.now() > SOON_MS) schedule(SOON_MS);
    },
    stop() {
      clearTimeout(timer);
      leaving.abort();
    },
  };
}
