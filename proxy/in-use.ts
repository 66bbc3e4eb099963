/** Sessions that an exchange or a stream of this proxy uses now: none of them idles out meanwhile. */

export interface InUse {
  /** An exchange of the session begins. Returns what to call when it is over; idempotent. */
  enter(id: string, what: 'call' | 'stream'): () => void;
  has(id: string): boolean;
  /** Streams do not count. */
  calls(id: string): boolean;
  close(): void;
}

export type InUseOptions = {
  /** Idle life of a session. */
  readonly ttlMs: number;
  /** Renews the session's idle life. */
  readonly renew: (id: string) => Promise<unknown>;
  /** Milliseconds. */
  readonly now: () => number;
};

/** Renewals in one idle life: more than one may fail. */
const RENEWALS = 4;
/** A registry of somebody's own may have a shorter idle life than it says; and timers end at 24 days. Milliseconds. */
const LONGEST_PAUSE = 3_600_000;
/** Looks at what is due between two renewals, so that not all are renewed at once. */
const LOOKS = 8;

type Use = { readonly calls: number; readonly streams: number; readonly dueAt: number };

export function createInUse({ ttlMs, renew, now }: InUseOptions): InUse {
  const everyMs = Math.min(ttlMs / RENEWALS, LONGEST_PAUSE);
  /** The next that is due first. */
  const uses = new Map<string, Use>();

  function renewDue(): void {
    const at = now();
    for (const [id, use] of uses) {
      if (use.dueAt > at) return;
      uses.delete(id);
      uses.set(id, { ...use, dueAt: at + everyMs });
      // Where the registry is away, the next one may do.
      renew(id).catch(() => {});
    }
  }
  function change(id: string, what: 'call' | 'stream', by: 1 | -1): void {
    const use = uses.get(id) ?? { calls: 0, streams: 0, dueAt: now() + everyMs };
    const next = what === 'call' ? { ...use, calls: use.calls + by } : { ...use, streams: use.streams + by };
    // The order stays as it is.
    if (next.calls + next.streams > 0) uses.set(id, next);
    else uses.delete(id);
  }
  const renewing = setInterval(renewDue, everyMs / LOOKS).unref();

  return {
    enter(id, what) {
      change(id, what, 1);
      let entered = true;
      return () => {
        if (entered) change(id, what, -1);
        entered = false;
      };
    },
    has: (id) => uses.has(id),
    calls: (id) => (uses.get(id)?.calls ?? 0) > 0,
    close: () => clearInterval(renewing),
  };
}
