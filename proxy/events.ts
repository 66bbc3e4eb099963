/** What happens in the proxy, as values: for metrics and logs. */

import type { Health, Migrated, MigrationReason } from './contract.ts';

/** What a client may have, or do, only so many of. */
export type ClientLimit = 'owner-sessions' | 'client-sessions' | 'initializes' | 'guesses' | 'streams';

/** What is bounded of requests and answers at the MCP endpoint. */
export type EndpointLimit =
  | 'json'
  | 'initialize'
  | 'subscriptions'
  | 'bodies'
  | 'body-time'
  | 'held'
  | 'answers'
  | 'pipelined';

/** What happened, for metrics and logs. Session ids are shortened to a hash on the way out. */
export type RoutingEvent =
  | {
      readonly type: 'exchange';
      /** `other`: not the MCP endpoint. */
      readonly verb: 'open' | 'post' | 'listen' | 'end' | 'any' | 'other' | 'malformed';
      /** What the client saw; 499 when it left first. */
      readonly status: number;
      readonly outcome: 'answered' | 'refused' | 'lost' | 'abandoned';
      readonly seconds: number;
      readonly session?: string | undefined;
      readonly backend?: string | undefined;
      /** The trace that the client's request belongs to, as its `traceparent` says. */
      readonly trace?: string | undefined;
    }
  | {
      readonly type: 'migration';
      readonly reason: MigrationReason;
      readonly outcome: Migrated['kind'];
      readonly session: string;
      readonly from: string;
      readonly to: string;
      readonly seconds: number;
      readonly cause?: string;
      /** Of the exchange that the session migrated by. */
      readonly trace?: string | undefined;
    }
  | { readonly type: 'replay'; readonly verdict: 'again' | 'unknown' }
  | { readonly type: 'held'; readonly seconds: number; readonly outcome: 'served' | 'refused' | 'abandoned' }
  /** `late`: a new home had not begun a stream in time, and the migration went on. */
  | { readonly type: 'stream'; readonly change: 'opened' | 'reattached' | 'closed' | 'late' }
  /** `expired`: it was too old, and has ended before its next exchange. */
  | { readonly type: 'session'; readonly change: 'opened' | 'ended' | 'expired' }
  /**
   * `forgotten`: homes that can be reached do not know it again and again; `likely` says why that may be, `backend` where.
   */
  | {
      readonly type: 'session';
      readonly change: 'lost';
      readonly cause: 'incompatible' | 'policy' | 'forgotten';
      readonly backend?: string;
      readonly origin?: string;
      readonly likely?: string;
    }
  /** Sessions that had idled out, or were too old, and what became of all that backends still held of those that are over. */
  | ({ readonly type: 'sweep'; readonly expired: number } & { readonly [outcome in SweepOutcome]: number })
  /** An `initialize` was refused: the backend issued a session id that no client could send back. */
  | { readonly type: 'unusable-id'; readonly backend: string; readonly cause: string }
  /** A request was refused, or its answer was: it is beyond a limit; with 429 where its client has, or asks for, too much. */
  | { readonly type: 'limited'; readonly limit: ClientLimit | EndpointLimit }
  | { readonly type: 'registry'; readonly state: 'up' | 'down'; readonly cause?: string }
  | { readonly type: 'discovery'; readonly state: 'up' }
  /** `since`: when discovery named somebody last, or began to be asked, in milliseconds since 1970. */
  | { readonly type: 'discovery'; readonly state: 'down'; readonly cause: string; readonly since: number }
  /** A person has ordered it on the ops port; `hash` is the SHA-256 of the session's id. */
  | {
      readonly type: 'order';
      readonly order: 'drain' | 'undrain' | 'migrate' | 'end';
      readonly backend?: string;
      readonly hash?: string;
    }
  /** In the eyes of this proxy: `by` an order, discovery (or a check), or the backend's own word; `left`: it is gone. */
  | {
      readonly type: 'drain';
      readonly backend: string;
      readonly state: 'begun' | 'undone' | 'left';
      readonly by?: 'order' | 'discovery' | 'backend';
    }
  /** Discovery has named an address that no backend can have. */
  | { readonly type: 'unusable'; readonly backend: string; readonly origin: string; readonly cause: string }
  /** An MCP client has asked for another path than the endpoints', which `served` are, with commas. */
  | { readonly type: 'wrong-path'; readonly path: string; readonly served: string }
  | { readonly type: 'suspect'; readonly backend: string; readonly cause: string }
  /** What the health checks make of a backend; `draining`: it answers that it is not well. */
  | { readonly type: 'backend'; readonly backend: string; readonly state: Health; readonly cause?: string }
  /** `ignored`: no backend passes its check, so that the checks are doubted rather than the backends. */
  | { readonly type: 'checks'; readonly state: 'believed' | 'ignored'; readonly cause?: string }
  | {
      readonly type: 'listening';
      readonly port: number;
      readonly opsPort: number;
      readonly path: string;
      readonly backends: readonly string[];
    }
  /** What the configuration leaves open, and what mends it: once, at the start. */
  | { readonly type: 'configuration'; readonly warning: string }
  | { readonly type: 'stopping'; readonly signal: string }
  /** A signal that changes nothing. */
  | { readonly type: 'ignored'; readonly signal: string }
  | { readonly type: 'stopped'; readonly clean: boolean }
  /** A bug: the exchange got a 500, the process goes on. */
  | { readonly type: 'fault'; readonly error: Error };

/** `unknown`: the backend did not know it any more; `refused`: it wants credentials, or closes none; `failed`: given up. */
export type SweepOutcome = 'closed' | 'unknown' | 'refused' | 'failed';

/** The one way out for metrics and logs. Never throws. */
export interface Telemetry {
  record(event: RoutingEvent): void;
}
