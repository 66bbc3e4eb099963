/** What the status page shows, as one value: also the answer of `GET /status`. */

import type { RoutingEvent } from '../events.ts';

export type DrainedBy = NonNullable<Extract<RoutingEvent, { type: 'drain' }>['by']>;
type Migration = Extract<RoutingEvent, { type: 'migration' }>;

/** `dead`: its checks fail. `gone`: it is not listed any more, and sessions are registered there still. */
export type BackendState = 'ready' | 'draining' | 'suspect' | 'dead' | 'gone';

export type BackendStatus = {
  readonly id: string;
  readonly state: BackendState;
  /** When this proxy saw it enter that state. */
  readonly stateSince: number;
  readonly zone?: string;
  /** Which release it runs, where it says so. */
  readonly release?: number;
  /** When this proxy saw it first, or discovery found it. */
  readonly since: number;
  /** That it is the home of, at all proxies. */
  readonly sessions: number;
  /** How many it held when it began to drain, or more that came since. */
  readonly drainingFrom?: number;
  /** Whose word it is that it drains, where this proxy has heard it begin: an order's alone can be undone by another. */
  readonly drainingBy?: DrainedBy;
  /** Listening streams, at this proxy. */
  readonly streams: number;
  readonly exchangesPerSecond: number;
  readonly errorsPerSecond: number;
  /** Exchanges a second over the last 15 minutes, in 15 s steps, the oldest first; null before this proxy knew it. */
  readonly exchanges: readonly (number | null)[];
};

export type MigrationStatus = {
  readonly at: number;
  /** The first 8 hex digits of the SHA-256 of the session's id, as in the log. */
  readonly session: string;
  readonly from: string;
  readonly to: string;
  readonly reason: Migration['reason'];
  readonly outcome: Migration['outcome'];
  readonly ms: number;
  readonly cause?: string;
};

/** A change of some backend's state, or of what the proxy depends on, in a sentence. */
export type Notice = { readonly at: number; readonly text: string };

export type Dependency = { readonly up: boolean; readonly since: number; readonly cause?: string };

/** Times are milliseconds since 1970; rates are of the last 10 seconds. */
export type Status = {
  readonly at: number;
  readonly startedAt: number;
  readonly version: string;
  readonly ready: boolean;
  readonly registry: Dependency & { readonly kind: 'redis' | 'memory' | 'own' };
  readonly discovery: Dependency & { readonly kind: 'static' | 'dns' | 'cloud-map' | 'own' };
  /** Not up: no backend passes its check, so that the checks are doubted rather than the backends. */
  readonly checks: Dependency;
  readonly sessions: number;
  readonly streams: number;
  readonly exchangesPerSecond: number;
  readonly errorsPerSecond: number;
  readonly backends: readonly BackendStatus[];
  /** The newest first. */
  readonly migrations: readonly MigrationStatus[];
  readonly notices: readonly Notice[];
  /** The last 15 minutes, the oldest step first; null where nothing is known. */
  readonly history: {
    readonly stepSeconds: number;
    readonly exchangesPerSecond: readonly (number | null)[];
    readonly errorsPerSecond: readonly (number | null)[];
    readonly sessions: readonly (number | null)[];
    /** In each step. */
    readonly migrations: readonly (number | null)[];
  };
};
