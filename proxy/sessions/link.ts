/** The subscription to the changes of others: made again after each loss, and said to be there only when it is of use. */

import type { Redis } from 'ioredis';
import { REDIS } from '../contract.ts';
import { newListeners } from '../listeners.ts';

export type LinkOptions = {
  /** Its own connection. Closed by `close`. */
  readonly client: Redis;
  /** Takes the messages. */
  readonly hear: (message: string) => void;
  /** Resolves when calls to the registry can be made. */
  readonly usable: () => Promise<void>;
  /** Milliseconds between the signs of life that show a connection that died without a word. */
  readonly heartbeatMs: number;
};

export type Link = {
  /** Calls `f` with `true` (at once if it is so) when changes are heard and calls can be made, with `false` when changes are not heard. */
  readonly onLink: (f: (linked: boolean) => void) => () => void;
  readonly close: () => void;
};

export function newLink({ client, hear, usable, heartbeatMs }: LinkOptions): Link {
  const listeners = newListeners<boolean>();
  let linked = false;
  /** Counts connections: what was begun on an earlier one says nothing of this one. */
  let connection = 0;
  const tell = (now: boolean): void => {
    if (now === linked) return;
    linked = now;
    listeners.tell(now);
  };
  const subscribe = async (): Promise<void> => {
    const begun = connection;
    try {
      await client.subscribe(REDIS.changes);
      // Who is told reads its sessions again: not before that can be answered.
      await usable();
      if (begun === connection) tell(true);
    } catch {
      if (begun === connection) client.disconnect(true);
    }
  };
  client.on('error', () => {});
  client.on('ready', () => void subscribe());
  client.on('close', () => {
    connection += 1;
    tell(false);
  });
  client.on('message', (_channel: string, message: string) => hear(message));
  const heartbeat = setInterval(() => {
    if (linked) client.ping().catch(() => {});
  }, heartbeatMs).unref();

  return {
    onLink(f) {
      const undo = listeners.add(f);
      if (linked) f(true);
      return undo;
    },
    close() {
      connection += 1;
      clearInterval(heartbeat);
      client.disconnect();
    },
  };
}
