/** Waiting for what must come, with a deadline. */

import { setTimeout as delay } from 'node:timers/promises';

const LOOK_EVERY_MS = 10;

/** Resolves with what `look` returns once that is neither false nor undefined; rejects, naming `what`, after `ms`. */
export async function until<T>(
  what: string,
  look: () => T | false | undefined | Promise<T | false | undefined>,
  ms = 10_000,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const seen = await look();
    if (seen !== false && seen !== undefined) return seen;
    if (Date.now() > deadline) throw new Error(`Waited ${ms} ms in vain until ${what}`);
    await delay(LOOK_EVERY_MS);
  }
}

/** The same promise, or a rejection that names `what` after `ms`: nothing may hang. */
export async function soon<T>(what: string, promise: Promise<T>, ms = 10_000): Promise<T> {
  const timer = new AbortController();
  const late = delay(ms, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`Waited ${ms} ms in vain for ${what}`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
