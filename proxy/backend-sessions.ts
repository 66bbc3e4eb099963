/** The sessions that backends hold for us: what is kept of each, so that it is closed there once its session is over. */
import type { Session } from './contract.ts';

/** A session as one backend knows it. */
export type BackendSession = Pick<Session, 'id' | 'backendSessionId' | 'protocolVersion' | 'path'> & {
  readonly backend: string;
};

/** At its home, or at another backend. */
export function backendSessionOf(session: Session, backend = session.home.id): BackendSession {
  const { id, backendSessionId, protocolVersion, path } = session;
  return { id, backendSessionId, protocolVersion, backend, ...(path !== undefined && { path }) };
}

/** What other proxies, and this one, say of sessions, by their ids. */
export type Use = {
  /** Proxies know, or have by now, that these live. */
  readonly lives: ReadonlySet<string>;
  /** Calls run in these. */
  readonly calls: ReadonlySet<string>;
};

/** Undefined where not every live proxy could be asked. Never rejects. */
export type AskUse = (ids: readonly string[]) => Promise<Use | undefined>;

/** Kept with the registry, by all proxies together. */
export interface BackendSessions {
  /** It is nobody's home, or will not be: it falls due in some minutes unless it is said to be closed. Best effort. */
  closeLater(one: BackendSession): void;
  /** Its backend has closed it, or will never. Best effort. */
  closed(one: BackendSession): void;
  /** Those at these backends that may have to be closed now, so many of each at most. Throws SessionsUnavailable. */
  due(backends: readonly string[], most: number): Promise<readonly BackendSession[]>;
  /**
   * Whether it is to be closed. `expired`: its session was there still, idle for too long or too old, and has ended now;
   * `over`: it had ended before, or has another home; `lives`: it is its session's home, and falls due again later.
   * One that proxies know to live has not idled out; one in which calls run is not too old yet. Throws SessionsUnavailable.
   */
  claim(one: BackendSession, use: Use): Promise<'expired' | 'over' | 'lives'>;
  /** It falls due again in so many milliseconds. Best effort. */
  putOff(one: BackendSession, ms: number): void;
  /** Whether this proxy is the one that closes them, for now. Throws SessionsUnavailable. */
  lead(): Promise<boolean>;
  /** Whether it still is. */
  leads(): boolean;
  /** Another may. Best effort. */
  resign(): void;
}
