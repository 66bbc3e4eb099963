/** Waits for something, and not without end. */
import { setTimeout as delay } from 'node:timers/promises';

/** Resolves when `work` has, or the milliseconds are over; rejects when `work` does before. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const late = delay(ms, undefined, { signal: done.signal }).catch(() => {});
  try {
    await Promise.race([work, late]);
  } finally {
    done.abort();
  }
}
