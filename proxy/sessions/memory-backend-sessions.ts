/** The sessions that backends hold, for one proxy that keeps its sessions in memory: those alone that are to be closed. */

import { type BackendSession, type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import { BoundedMap } from '../bounded.ts';
import type { Session } from '../contract.ts';

export type MemoryBackendSessionsOptions = {
  /** The sessions that live; those that have idled out are told of first. */
  readonly alive: () => Iterable<{ readonly session: Session }>;
  /** Its idle life is not renewed. */
  readonly find: (id: string) => Session | undefined;
  readonly end: (session: Session) => void;
  /** Infinity: none is too old. */
  readonly maxAgeMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

export type MemoryBackendSessions = BackendSessions & {
  /** It has idled out. */
  expired(session: Session): void;
};

/** Milliseconds: whoever closes one tries for ten minutes, from a minute after a crash on. */
const LATER = 720_000;
/** Milliseconds after which a session that is too old is looked at again, as calls run in it. */
const BUSY = 5_000;
const MOST = 100_000;

type Owed = { readonly one: BackendSession; readonly at: number; readonly expired: boolean };

export function memoryBackendSessions(options: MemoryBackendSessionsOptions): MemoryBackendSessions {
  const { alive, find, end, maxAgeMs, now } = options;
  const owed = new BoundedMap<Owed>(MOST);
  const nameOf = ({ backend, backendSessionId }: BackendSession): string => `${backend} ${backendSessionId}`;
  const isTooOld = ({ createdAt }: Session): boolean => createdAt + maxAgeMs <= now();
  const set = (one: BackendSession, ms: number, expired = false): void =>
    void owed.set(nameOf(one), { one, at: now() + ms, expired });

  function noteTooOld(): void {
    for (const { session } of alive()) {
      if (maxAgeMs === Infinity) return;
      const one = backendSessionOf(session);
      if (isTooOld(session) && !owed.has(nameOf(one))) set(one, 0);
    }
  }
  return {
    expired: (session) => set(backendSessionOf(session), 0, true),
    closeLater: (one) => set(one, LATER),
    closed: (one) => void owed.delete(nameOf(one)),
    putOff: (one, ms) => set(one, ms),
    async due(backends, most) {
      noteTooOld();
      const at = now();
      const counts = new Map(backends.map((backend) => [backend, 0]));
      const found: BackendSession[] = [];
      for (const [, { one, at: dueAt }] of owed) {
        const count = counts.get(one.backend);
        if (count === undefined || count >= most || dueAt > at) continue;
        counts.set(one.backend, count + 1);
        found.push(one);
      }
      return found;
    },
    async claim(one, { calls }) {
      const session = find(one.id);
      if (session === undefined) {
        const { expired = false } = owed.get(nameOf(one)) ?? {};
        set(one, 0);
        return expired ? 'expired' : 'over';
      }
      if (session.backendSessionId !== one.backendSessionId || session.home.id !== one.backend) return 'over';
      const busy = calls.has(one.id);
      if (!isTooOld(session) || busy) {
        // It is noted again when it idles out.
        if (busy) set(one, BUSY);
        else owed.delete(nameOf(one));
        return 'lives';
      }
      end(session);
      set(one, 0);
      return 'expired';
    },
    lead: () => Promise.resolve(true),
    leads: () => true,
    resign() {},
  };
}
