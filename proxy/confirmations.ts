/** When a session's home last showed that it knows the session. */
import { BoundedMap, shortened } from './bounded.ts';
import type { Session } from './contract.ts';

export interface Confirmations {
  /** The home has just answered a request of the session. */
  confirm(session: Session): void;
  /**
   * Whether it has within so many milliseconds, and the same process must still be there: no connection to its address
   * has been closed by the other side since, as a restart closes all of them.
   */
  holds(session: Session, ms: number): boolean;
  /**
   * Whether a connection to its address was closed by the other side, or could not be made, since it last has; true where
   * it has not: another proxy gave the session that home.
   */
  disconnectedSince(session: Session): boolean;
  /** It may have forgotten the session since. */
  doubt(session: Session): void;
  /** A connection to the address was closed by the other side, or could not be made. */
  disconnected(origin: string): void;
}

type Confirmation = { readonly of: string; readonly at: number; readonly disconnects: number };

/** Sessions whose confirmation is kept; the oldest go first. */
const MOST = 20_000;

/** `now` is in milliseconds. */
export function createConfirmations(now: () => number): Confirmations {
  const confirmed = new BoundedMap<Confirmation>(MOST);
  const disconnects = new BoundedMap<number>(MOST);
  const disconnectsOf = ({ home }: Session): number => disconnects.get(home.origin) ?? 0;

  return {
    confirm(session) {
      confirmed.set(session.id, {
        of: shortened(session.backendSessionId),
        at: now(),
        disconnects: disconnectsOf(session),
      });
    },
    holds(session, ms) {
      const last = confirmed.get(session.id);
      if (last === undefined || last.of !== shortened(session.backendSessionId)) return false;
      return now() - last.at <= ms && last.disconnects === disconnectsOf(session);
    },
    disconnectedSince(session) {
      const last = confirmed.get(session.id);
      return last?.of !== shortened(session.backendSessionId) || last.disconnects !== disconnectsOf(session);
    },
    doubt({ id }) {
      const last = confirmed.get(id);
      if (last !== undefined) confirmed.set(id, { ...last, at: -Infinity });
    },
    disconnected: (origin) => void disconnects.set(origin, (disconnects.get(origin) ?? 0) + 1),
  };
}
