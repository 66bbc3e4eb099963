/** Numbers by step of time, the last so many of them, in memory that never grows. Pure. */

export type SeriesOptions = {
  readonly stepMs: number;
  readonly steps: number;
  /** What a step is worth in which nothing was said: 0 by default, for counts; undefined for what is measured. */
  readonly silent?: 0 | undefined;
};

/** Times are milliseconds since 1970. A clock that is put back a little adds to the last step, one put back far begins anew. */
export interface Series {
  add(at: number, amount: number): void;
  /** The step's last word. */
  set(at: number, value: number): void;
  /** The steps that are over, the oldest first; undefined where nothing is known, as before the first word. */
  read(at: number): readonly (number | undefined)[];
}

export function newSeries({ stepMs, steps, ...rest }: SeriesOptions): Series {
  const silent = 'silent' in rest ? Number.NaN : 0;
  // One more than is shown: the step that is not over yet.
  const size = steps + 1;
  const ring = new Float64Array(size).fill(Number.NaN);
  let head: number | undefined;

  function advance(at: number): number {
    const step = Math.floor(at / stepMs);
    if (head === undefined || step < head - size) {
      ring.fill(Number.NaN);
      ring[step % size] = silent;
      head = step;
    }
    if (step - head >= size) ring.fill(silent);
    else for (let next = head + 1; next <= step; next += 1) ring[next % size] = silent;
    head = Math.max(head, step);
    return head % size;
  }

  return {
    add(at, amount) {
      const slot = advance(at);
      ring[slot] = (ring[slot] ?? 0) + amount;
    },
    set(at, value) {
      ring[advance(at)] = value;
    },
    read(at) {
      const slot = advance(at);
      return Array.from({ length: steps }, (_, index) => {
        const value = ring[(slot + 1 + index) % size];
        return value === undefined || Number.isNaN(value) ? undefined : value;
      });
    },
  };
}

/** What happened a second on average in the steps that are known; 0 where none is. */
export function rateOf(counts: readonly (number | undefined)[], stepMs: number): number {
  const known = counts.filter((count) => count !== undefined);
  if (known.length === 0) return 0;
  return known.reduce((sum, count) => sum + count, 0) / ((known.length * stepMs) / 1000);
}
