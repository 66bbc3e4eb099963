/** What happened, as metrics for CloudWatch: a line a minute, and a last one. */

import { emfLines } from '../emf.ts';
import type { RoutingEvent } from '../events.ts';

export type EmfOptions = {
  /** The dimension `Service`. */
  readonly service: string;
  /** Takes each line with its line feed. */
  readonly write: (line: string) => void;
  /** Milliseconds; a minute by default. */
  readonly everyMs?: number;
};

export type Emf = {
  count(event: RoutingEvent): void;
  /** `read` is asked for each line: the sessions of each backend, that of an empty one included. */
  countBackends(read: () => Promise<readonly number[]>): void;
  /** What happened since the last line is told in a last one. Idempotent. */
  close(): void;
};

export function startEmf({ service, write, everyMs = 60_000 }: EmfOptions): Emf {
  let read = async (): Promise<readonly number[]> => [];
  let migrations = 0;
  let lost = 0;
  let closed = false;

  function tell(sessions: readonly number[]): void {
    const counts = { ActiveSessions: sessions, Migrations: [migrations], SessionsLost: [lost] };
    [migrations, lost] = [0, 0];
    try {
      for (const line of emfLines({ at: Date.now(), service, counts })) write(`${line}\n`);
    } catch {
      // Neither a full disk nor a closed pipe may end the proxy.
    }
  }
  const telling = setInterval(() => {
    read().then(
      (sessions) => closed || tell(sessions),
      () => closed || tell([]),
    );
  }, everyMs).unref();

  return {
    count(event) {
      if (event.type === 'migration' && event.outcome === 'migrated') migrations += 1;
      if (event.type === 'session' && event.change === 'lost') lost += 1;
    },
    countBackends(next) {
      read = next;
    },
    close() {
      if (closed) return;
      closed = true;
      clearInterval(telling);
      tell([]);
    },
  };
}
