/** The bytes of request bodies that are in memory, counted over all exchanges. */
import { getHeapStatistics } from 'node:v8';

/** What one exchange holds of it. */
export type BodyCount = {
  /** Whether so many bytes would fit. */
  fits(bytes: number): boolean;
  /** Counts them, where they fit. */
  add(bytes: number): boolean;
  /** The exchange is over. */
  close(): void;
};
export type BodyBudget = { open(): BodyCount };

/** `most`: bytes; by default a quarter of what V8's heap may have, and one body of the largest size at least. */
export function newBodyBudget(most: number | undefined, largest: number): BodyBudget {
  const limit = most ?? Math.max(largest, getHeapStatistics().heap_size_limit / 4);
  let used = 0;
  return {
    open() {
      let own = 0;
      const fits = (bytes: number): boolean => used + bytes <= limit;
      return {
        fits,
        add(bytes) {
          if (!fits(bytes)) return false;
          used += bytes;
          own += bytes;
          return true;
        },
        close() {
          used -= own;
          own = 0;
        },
      };
    },
  };
}
