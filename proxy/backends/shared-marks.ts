/** Marks in Redis that every proxy obeys: backends that are ordered to drain, sessions that are ordered to migrate. */

import { newListeners } from '../listeners.ts';
import type { RedisConnection } from '../redis/connection.ts';
import type { Marks } from './drains.ts';

/** Milliseconds: how soon the other proxies know of a mark. */
export const LOOK_EVERY_MS = 1_000;
/** Milliseconds. A mark that nobody undid: a task that was drained so long ago is gone. */
const LIFE_MS = 7 * 86_400_000;

export type MarksOptions = {
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** How long a mark holds that nobody undoes, in milliseconds; a week by default. */
  readonly lifeMs?: number;
};

/** Asks Redis every second; while that cannot be reached, what was known last holds. */
export function redisMarks({ client, circuit }: RedisConnection, key: string, options: MarksOptions = {}): Marks {
  const { now = Date.now, lifeMs = LIFE_MS } = options;
  const listeners = newListeners<void>();
  let marked: ReadonlySet<string> = new Set();
  let asking = false;

  function know(next: ReadonlySet<string>): void {
    const same = next.size === marked.size && [...next].every((id) => marked.has(id));
    marked = next;
    if (!same) listeners.tell();
  }
  async function look(): Promise<void> {
    if (asking) return;
    asking = true;
    try {
      know(new Set(await circuit.run('drains', () => client.zrangebyscore(key, now(), '+inf'))));
    } catch {
      // The circuit has said so.
    } finally {
      asking = false;
    }
  }
  void look();
  const looking = setInterval(() => void look(), LOOK_EVERY_MS).unref();

  return {
    list: () => marked,
    async has(id) {
      const until = await circuit.run('drains', () => client.zscore(key, id));
      return until !== null && Number(until) >= now();
    },
    async set(id) {
      await circuit.run('drain', () => client.zadd(key, now() + lifeMs, id));
      know(new Set([...marked, id]));
    },
    async clear(id) {
      await circuit.run('undrain', () => client.zrem(key, id));
      know(new Set([...marked].filter((one) => one !== id)));
    },
    onChange: listeners.add,
    close: () => clearInterval(looking),
  };
}
