/** One backend checked again and again, few backends at once. */

import type { Limit } from '../limit.ts';
import type { Check, Finding } from './checks.ts';

export type Watching = {
  readonly check: Check;
  /** `silent`: for those that are known to be, which hold their place for as long as a check may take. */
  readonly limits: { readonly usual: Limit; readonly silent: Limit };
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
/** In a row. Who was silent once is found dead, or well, as soon as any other. */
const KNOWN_SILENT = 2;

/** The first check comes within a tenth of `everyMs`, so that many backends are not checked at the same moment. */
export function watch(origin: string, watching: Watching, learn: (finding: Finding) => void): Watch {
  const { check, limits, everyMs, draw } = watching;
  const leaving = new AbortController();
  let checking = false;
  let silent = 0;
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
    const finding = await limits[silent < KNOWN_SILENT ? 'usual' : 'silent'].run(async () =>
      leaving.signal.aborted ? ({ kind: 'unknown' } as const) : check(origin, leaving.signal),
    );
    checking = false;
    if (finding.kind !== 'unknown') silent = finding.kind === 'silent' ? silent + 1 : 0;
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
