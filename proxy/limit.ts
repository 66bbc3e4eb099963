/** So many tasks at once, the others in the order in which they came. */

export type Limit = {
  /** Nothing more begins at once. */
  readonly full: boolean;
  /** Nothing runs. */
  readonly idle: boolean;
  readonly run: <T>(task: () => Promise<T>) => Promise<T>;
};

/** Runs `most` tasks at once. */
export function newLimit(most: number): Limit {
  const waiting: (() => void)[] = [];
  let running = 0;
  return {
    get full() {
      return running >= most;
    },
    get idle() {
      return running === 0;
    },
    async run(task) {
      if (running < most) running += 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      try {
        return await task();
      } finally {
        const next = waiting.shift();
        if (next) next();
        else running -= 1;
      }
    },
  };
}
