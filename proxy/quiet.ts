/** Whether a session is quiet, and keeping it so: planned migrations happen only when nothing runs in it anywhere. */
import { SessionsUnavailable } from './contract.ts';
import type { Activity, Exchange, Session } from './contract.ts';
import { isRequest } from './jsonrpc.ts';

export interface Quiet {
  /**
   * An exchange of the session begins. Returns what to call when it is over, or `moving`: it must wait, for the session
   * is being migrated. While the registry is away it may always begin.
   */
  enter(session: Session, exchange: Exchange): (() => void) | Promise<(() => void) | 'moving'>;
  /** A request runs here in the session that its handler may ask the client something for: no list, no ping. */
  mayBeAskedFor(session: string): boolean;
  /** Nothing runs in the session, and nothing begins until the returned function is called; undefined if something does. */
  claim(session: Session): Promise<(() => void) | undefined>;
  /** Others must know of what runs already in the sessions that are watched now. */
  watchedMore(): void;
}

type Running = {
  readonly session: Session;
  readonly exchange: Exchange;
  readonly what: string;
  entered: boolean;
};

/**
 * `isWatched`: a migration of the session may be planned soon, so all proxies must know what runs in it. Others cost
 * nothing but an entry in a map.
 */
export function createQuiet(activity: Activity, isWatched: (session: Session) => boolean, token: () => string): Quiet {
  const running = new Map<string, Set<Running>>();
  const proxy = token();
  let begun = 0;

  function begin(one: Running): () => void {
    const { session } = one;
    const there = running.get(session.id) ?? new Set();
    running.set(session.id, there.add(one));
    return () => {
      if (!there.delete(one)) return;
      if (there.size === 0 && running.get(session.id) === there) running.delete(session.id);
      if (one.entered) void activity.leave(session.id, one.what);
    };
  }

  async function enterWatched(one: Running): Promise<(() => void) | 'moving'> {
    try {
      if ((await activity.enter(one.session.id, one.what)) === 'moving') return 'moving';
    } catch (error) {
      ignoreOutage(error);
    }
    return begin(one);
  }

  return {
    enter(session, exchange) {
      const entered = isWatched(session);
      const one = { session, exchange, what: `${proxy} ${(begun += 1)}`, entered };
      return entered ? enterWatched(one) : begin(one);
    },
    mayBeAskedFor: (session) => [...(running.get(session) ?? [])].some(({ exchange }) => isWork(exchange)),
    async claim(session) {
      if (running.has(session.id)) return undefined;
      try {
        const release = await activity.claim(session.id);
        return release && (() => void release());
      } catch (error) {
        ignoreOutage(error);
        return undefined;
      }
    },
    watchedMore() {
      for (const one of [...running.values()].flatMap((all) => Array.from(all))) {
        if (one.entered || !isWatched(one.session)) continue;
        one.entered = true;
        activity.enter(one.session.id, one.what).catch(ignoreOutage);
      }
    },
  };
}

function isWork({ intent }: Exchange): boolean {
  if (intent.kind !== 'continue') return false;
  return intent.messages.some((one) => isRequest(one) && one.method !== 'ping' && !one.method.endsWith('/list'));
}

/** The registry's outage is told by itself; what could not be said there is said later. */
export function ignoreOutage(error: unknown): void {
  if (!(error instanceof SessionsUnavailable)) throw error;
}
