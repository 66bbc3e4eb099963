/** The subscription to the changes of others: made again after each loss, and said to be there only when it is of use. */

import type { Redis } from 'ioredis';
import { REDIS } from '../contract.ts';
import { newListeners } from '../listeners.ts';

export type LinkOptions = {
  /** A connection of its own, which ends when it is lost; whether it can be had, its events say. */
  readonly connect: () => Redis;
  /** Calls `f` when changes may have been lost on their way here. Returns an undo. */
  readonly onDoubt: (f: () => void) => () => void;
  /** Takes the messages. */
  readonly hear: (message: string) => void;
  /** Resolves when calls to the registry can be made. */
  readonly usable: () => Promise<void>;
  /** Milliseconds between the signs of life that show a connection that died without a word. */
  readonly heartbeatMs: number;
  /** Milliseconds between attempts to connect. */
  readonly retryMs: number;
};

export type Link = {
  /** Calls `f` with `true` (at once if it is so) when changes are heard and calls can be made, with `false` when changes are not heard. */
  readonly onLink: (f: (linked: boolean) => void) => () => void;
  readonly close: () => void;
};

export function newLink({ connect, onDoubt, hear, usable, heartbeatMs, retryMs }: LinkOptions): Link {
  const listeners = newListeners<boolean>();
  let linked = false;
  let client: Redis | undefined;
  let retry: NodeJS.Timeout | undefined;
  const tell = (now: boolean): void => {
    if (now === linked) return;
    linked = now;
    listeners.tell(now);
  };
  /** What was begun on an earlier connection says nothing of this one. */
  const subscribe = async (mine: Redis): Promise<void> => {
    try {
      await mine.subscribe(REDIS.changes);
      // Who is told reads its sessions again: not before that can be answered.
      await usable();
      if (mine === client) tell(true);
    } catch {
      mine.disconnect();
    }
  };
  function open(): void {
    const mine = connect();
    client = mine;
    mine.on('error', () => {});
    mine.on('ready', () => void subscribe(mine));
    mine.on('message', (_channel: string, message: string) => mine === client && hear(message));
    mine.once('end', () => mine === client && lose());
  }
  function lose(): void {
    client?.disconnect();
    client = undefined;
    tell(false);
    clearTimeout(retry);
    retry = setTimeout(open, retryMs * (0.6 + 0.4 * Math.random())).unref();
  }
  const heartbeat = setInterval(() => {
    if (linked) client?.ping().catch(() => {});
  }, heartbeatMs).unref();
  const trust = onDoubt(() => linked && lose());
  open();

  return {
    onLink(f) {
      const undo = listeners.add(f);
      if (linked) f(true);
      return undo;
    },
    close() {
      trust();
      clearInterval(heartbeat);
      clearTimeout(retry);
      client?.disconnect();
      client = undefined;
    },
  };
}
