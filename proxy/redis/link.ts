/** The subscription to what other proxies publish: made again after each loss, and said to be there only when it is of use. */

import type { Redis } from 'ioredis';
import { newListeners } from '../listeners.ts';

export type LinkOptions = {
  /** A connection of its own, which ends when it is lost; whether it can be had, its events say. */
  readonly connect: () => Redis;
  readonly channels: readonly string[];
  /** Calls `f` when messages may have been lost on their way here. Returns an undo. */
  readonly onDoubt: (f: () => void) => () => void;
  /** Resolves when calls to the registry can be made. */
  readonly usable: () => Promise<void>;
  /** Milliseconds between the signs of life that show a connection that died without a word. */
  readonly heartbeatMs: number;
  /** Milliseconds between attempts to connect. */
  readonly retryMs: number;
};

export type Link = {
  /** Calls `f` with each message of one of the channels. Returns an idempotent undo. */
  readonly hear: (channel: string, f: (message: string) => void) => () => void;
  /** Calls `f` with `true` (at once if it is so) when messages are heard and calls can be made, with `false` when messages are not heard. */
  readonly onLink: (f: (linked: boolean) => void) => () => void;
  readonly close: () => void;
};

type Message = { readonly channel: string; readonly text: string };

/** Connects when somebody first wants to hear. */
export function newLink({ connect, channels, onDoubt, usable, heartbeatMs, retryMs }: LinkOptions): Link {
  const listeners = newListeners<boolean>();
  const messages = newListeners<Message>();
  let linked = false;
  let begun = false;
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
      await mine.subscribe(...channels);
      // Who is told reads its sessions again: not before that can be answered.
      await usable();
      if (mine === client) tell(true);
    } catch {
      mine.disconnect();
    }
  };
  function open(): void {
    begun = true;
    const mine = connect();
    client = mine;
    mine.on('error', () => {});
    mine.on('ready', () => void subscribe(mine));
    mine.on('message', (channel: string, text: string) => mine === client && messages.tell({ channel, text }));
    mine.once('end', () => mine === client && lose());
  }
  function lose(): void {
    client?.disconnect();
    client = undefined;
    tell(false);
    clearTimeout(retry);
    retry = setTimeout(open, retryMs * (0.6 + 0.4 * Math.random())).unref();
  }
  const heartbeat = setInterval(() => void (linked && client?.ping().catch(() => {})), heartbeatMs).unref();
  const trust = onDoubt(() => linked && lose());

  return {
    hear(channel, f) {
      if (!begun) open();
      return messages.add((message) => message.channel === channel && f(message.text));
    },
    onLink(f) {
      const undo = listeners.add(f);
      if (linked) f(true);
      return undo;
    },
    close() {
      begun = true;
      trust();
      clearInterval(heartbeat);
      clearTimeout(retry);
      client?.disconnect();
      client = undefined;
    },
  };
}
