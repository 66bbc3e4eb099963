/** Closes backend sessions that are nobody's home: DELETE, again and again until it is answered. */
import { backendSessionOf } from './backend-sessions.ts';
import type { BackendSessions } from './backend-sessions.ts';
import type { Backend, Backends, Exchange, Session, Upstream } from './contract.ts';
import { newLimit } from './limit.ts';
import { ask, ownDelete } from './own-requests.ts';

export interface Orphans {
  /** With the credentials of the exchange. Returns at once; never throws. */
  close(orphan: Session, at: Backend, exchange: Exchange): void;
  /** Gives up those that are left. */
  stop(): void;
}

/** Milliseconds; each pause is twice the one before, up to the longest. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** Milliseconds until it is left to the backend's own idle limit. */
const GIVE_UP_AFTER = 600_000;
/** Kept at once: each holds the header fields of one request. */
const MOST = 10_000;
const AT_ONCE = 16;

/** What this proxy does not get to, another one does. */
export type Kept = Pick<BackendSessions, 'closeLater' | 'closed'>;
export const NOT_KEPT: Kept = { closeLater() {}, closed() {} };

/** A backend that is not listed is not asked: one that the checks call dead may come back. `now` is in milliseconds. */
export function createOrphans(
  upstream: Upstream,
  backends: Pick<Backends, 'list'>,
  now: () => number,
  kept: Kept = NOT_KEPT,
): Orphans {
  const limit = newLimit(AT_ONCE);
  const pauses = new Set<() => void>();
  let waiting = 0;
  let stopped = false;

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const over = (): void => {
        clearTimeout(timer);
        pauses.delete(over);
        resolve();
      };
      const timer = setTimeout(over, ms).unref();
      pauses.add(over);
    });
  }

  async function isClosed(orphan: Session, at: Backend, goodbye: Exchange): Promise<boolean> {
    const { attempt, said } = await ask(upstream, goodbye, orphan, at);
    if (attempt.kind === 'marked') return true;
    return attempt.kind === 'answered' && said.status !== 429 && said.status < 500;
  }

  async function close(orphan: Session, at: Backend, goodbye: Exchange): Promise<void> {
    const deadline = now() + GIVE_UP_AFTER;
    const isOver = (): boolean => stopped || now() > deadline;
    const isListed = (): boolean => backends.list().some(({ id, origin }) => id === at.id && origin === at.origin);
    let mayAnswer = true;
    for (let ms = FIRST_PAUSE; !isOver(); ms = Math.min(ms * 2, LONGEST_PAUSE)) {
      if (mayAnswer && (await limit.run(() => isClosed(orphan, at, goodbye)))) {
        return kept.closed(backendSessionOf(orphan, at.id));
      }
      await pause(ms);
      mayAnswer = isListed();
    }
  }

  return {
    close(orphan, at, exchange) {
      kept.closeLater(backendSessionOf(orphan, at.id));
      if (stopped || waiting >= MOST) return;
      waiting += 1;
      void close(orphan, at, ownDelete(exchange, orphan.id)).finally(() => {
        waiting -= 1;
      });
    },
    stop() {
      stopped = true;
      for (const over of pauses) over();
    },
  };
}
