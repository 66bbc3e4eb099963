/** Sessions per backend, answered at once: what the registry counted last, and what this proxy has changed since. */

export type CountsOptions = {
  /** Never throws. */
  readonly read: () => Promise<ReadonlyMap<string, number>>;
  /** Milliseconds: the registry is asked at most this often, and only when somebody asks here. */
  readonly everyMs: number;
  readonly now: () => number;
};

export type Counts = {
  add(backend: string, sessions: number): void;
  current(): ReadonlyMap<string, number>;
};

export function newCounts({ read, everyMs, now }: CountsOptions): Counts {
  let counted: ReadonlyMap<string, number> = new Map();
  /** Changes that a reading on its way may have seen, and those made since it began. */
  let before: ReadonlyMap<string, number> = new Map();
  let since = new Map<string, number>();
  let reading = false;
  let nextAt = -Infinity;

  async function refresh(): Promise<void> {
    reading = true;
    nextAt = now() + everyMs;
    before = since;
    since = new Map();
    counted = await read();
    before = new Map();
    reading = false;
  }

  return {
    add: (backend, sessions) => void since.set(backend, (since.get(backend) ?? 0) + sessions),
    current() {
      if (!reading && now() >= nextAt) void refresh();
      const sum = new Map<string, number>();
      for (const part of [counted, before, since]) {
        for (const [backend, sessions] of part) sum.set(backend, (sum.get(backend) ?? 0) + sessions);
      }
      return new Map([...sum].filter(([, sessions]) => sessions > 0));
    },
  };
}
