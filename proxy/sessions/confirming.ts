/** Keeps what a proxy knows of sessions so fresh that it may be put back: asks whether the registry has them still. */

import type { LinkedSessions } from './cached.ts';
import type { Entries } from './entries.ts';

export type Confirming = {
  /** Where the registry has lost everything, ends included, what is known counts. Never rejects. */
  readonly checkMemory: () => Promise<void>;
  readonly stop: () => void;
};

export type ConfirmingOptions = {
  readonly store: Pick<LinkedSessions, 'memory' | 'onLink'>;
  readonly entries: Pick<Entries, 'unconfirmed' | 'dropDead' | 'trust'>;
  /** Sees that the registry has what is known of a session. Never rejects. */
  readonly secure: (id: string) => Promise<void>;
  /** Milliseconds between two rounds. */
  readonly everyMs: number;
};

export function newConfirming({ store, entries, secure, everyMs }: ConfirmingOptions): Confirming {
  let memory: string | undefined;
  let running = false;

  async function checkMemory(): Promise<void> {
    try {
      const now = await store.memory?.();
      if (memory !== undefined && now !== memory) entries.trust();
      memory = now;
    } catch {
      // It is asked again before anything is believed.
    }
  }
  /** One after the other: what is asked without need must not be felt. */
  async function round(): Promise<void> {
    if (running) return;
    running = true;
    entries.dropDead();
    for (const id of entries.unconfirmed()) await secure(id);
    running = false;
  }
  const undo = store.onLink((linked) => {
    if (linked && memory === undefined) void checkMemory();
  });
  const confirming = setInterval(() => void round(), everyMs).unref();
  return {
    checkMemory,
    stop() {
      undo();
      clearInterval(confirming);
    },
  };
}
