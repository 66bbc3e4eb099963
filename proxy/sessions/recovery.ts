/** What the registry has lost is put back by the proxies that know it: when it was away, and when a session is missing. */

import { setTimeout as delay } from 'node:timers/promises';
import { type Session, SessionsUnavailable } from '../contract.ts';
import type { LinkedSessions } from './cached.ts';
import type { Entries } from './entries.ts';
import type { LostSessions } from './lost.ts';

/** Sessions looked for at the same time. */
const AT_ONCE = 32;
/** Milliseconds: another proxy may take two seconds to see that its connection is dead. */
const OTHERS_TAKE = 3_000;
const LOOK_EVERY = 250;

/** The calls for one session: `use` may take what is known, `read` asks the registry. */
export type Reads = {
  readonly use: () => Promise<Session | undefined>;
  readonly read: () => Promise<Session | undefined>;
};

export type Recovery = {
  /** The registry is there again, or is not: whatever was known of it is to be made sure of. */
  link(linked: boolean): void;
  /**
   * The session as `use` says. What is unknown here is asked for among the other proxies, and for three seconds after
   * the registry was away. Throws SessionsUnavailable, also where the others could not be asked.
   */
  find(id: string, reads: Reads): Promise<Session | undefined>;
  close(): void;
};

/** `secure` sees that the registry has what is known of a session; `checkMemory` whether it has lost everything. */
export function newRecovery(
  entries: Entries,
  secure: (id: string) => Promise<void>,
  lost: LostSessions,
  checkMemory: () => Promise<unknown>,
): Recovery {
  let round = 0;
  let linked: boolean | undefined;
  let settled: NodeJS.Timeout | undefined;

  /** The most recently used first. */
  async function secureAll(): Promise<void> {
    const mine = round;
    await checkMemory();
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
  /** Others may be putting it back now, or in a later state. */
  async function confirmed(id: string, session: Session, { read }: Reads): Promise<Session | undefined> {
    return settled !== undefined && (await lost.putBack(id)) ? read() : session;
  }
  async function find(id: string, reads: Reads): Promise<Session | undefined> {
    const deadline = performance.now() + OTHERS_TAKE;
    for (;;) {
      const session = await reads.use();
      if (session !== undefined) return confirmed(id, session, reads);
      const verdict = linked === true ? await lost.find(id) : 'unknown';
      const back = verdict === 'put back' ? await reads.read() : undefined;
      if (back !== undefined) return back;
      // It may answer before changes are heard again, and so before anybody has put anything back.
      const unheard = linked === false && performance.now() < deadline;
      if (settled === undefined && !unheard) {
        if (verdict === 'unknown') return undefined;
        throw new SessionsUnavailable('Not every proxy could be asked for the session');
      }
      await delay(LOOK_EVERY, undefined, { ref: false });
    }
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
    find: (id, reads) => (entries.vouched(id) ? reads.use() : find(id, reads)),
    close,
  };
}

/** Sees that the registry has what is known of a session, or something later. `tell` is called where another proxy has changed it unheard. */
export function newSecure(store: LinkedSessions, entries: Entries, tell: (id: string) => void) {
  return async (id: string): Promise<void> => {
    const known = entries.vouched(id);
    if (!known) return;
    const flight = entries.depart(id);
    try {
      if (entries.landLook(flight, await store.restore(known))) tell(id);
    } catch {
      // It is read, and put back, before its next use.
      entries.landFailed(flight, 'read');
    }
  };
}
