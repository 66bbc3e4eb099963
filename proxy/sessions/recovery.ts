/** After the registry was away: what it has lost meanwhile is put back by the proxies that know it. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Session } from '../contract.ts';
import type { LinkedSessions } from './cached.ts';
import type { Entries } from './entries.ts';

/** Sessions looked for at the same time. */
const AT_ONCE = 32;
/** Milliseconds: another proxy may take two seconds to see that its connection is dead. */
const OTHERS_TAKE = 3_000;
const LOOK_EVERY = 250;

export type Recovery = {
  /** The registry is there again, or is not: whatever was known of it is to be made sure of. */
  link(linked: boolean): void;
  /** What `ask` says; who is unknown here, while others may be putting it back, is asked for again. */
  find(id: string, ask: () => Promise<Session | undefined>): Promise<Session | undefined>;
  close(): void;
};

/** `tell` is called with each session that another proxy has changed unheard. */
export function newRecovery(store: LinkedSessions, entries: Entries, tell: (id: string) => void): Recovery {
  let round = 0;
  let linked: boolean | undefined;
  let settled: NodeJS.Timeout | undefined;

  async function secure(id: string): Promise<void> {
    const known = entries.vouched(id);
    if (!known) return;
    const flight = entries.depart(id);
    try {
      if (entries.landLook(flight, await store.restore(known))) tell(id);
    } catch {
      // It is read, and put back, before its next use.
      entries.landFailed(flight, 'read');
    }
  }
  /** The most recently used first. */
  async function secureAll(): Promise<void> {
    const mine = round;
    const ids = entries.ids().toReversed().values();
    const some = async (): Promise<void> => {
      for (const id of ids) {
        if (mine !== round) return;
        await secure(id);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
  }
  function close(): void {
    round += 1;
    clearTimeout(settled);
    settled = undefined;
  }

  return {
    link(now) {
      close();
      // At a start nothing is known, and others have lost nothing.
      if (now && linked !== undefined) {
        settled = setTimeout(() => {
          settled = undefined;
        }, OTHERS_TAKE).unref();
        void secureAll();
      }
      if (now || linked !== undefined) linked = now;
    },
    async find(id, ask) {
      if (entries.vouched(id)) return ask();
      const deadline = performance.now() + OTHERS_TAKE;
      for (;;) {
        const session = await ask();
        // It may answer before changes are heard again, and so before anybody has put anything back.
        const unheard = linked === false && performance.now() < deadline;
        if (session !== undefined || (settled === undefined && !unheard)) return session;
        await delay(LOOK_EVERY, undefined, { ref: false });
      }
    },
    close,
  };
}
