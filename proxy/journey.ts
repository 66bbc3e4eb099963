/** A request that belongs to no session on its way to some backend: which one, what went wrong there, how it ended. */
import type { ClientRequest } from 'node:http';
import { networkInterfaces } from 'node:os';
import { blameOf } from './blame.ts';
import type { Backend, Backends, RawHeaders, Refusal } from './contract.ts';
import type { RoutingEvent, Telemetry } from './events.ts';
import { NO_SESSIONS, pick } from './decide.ts';
import { traceOf } from './headers.ts';
import { withoutInside } from './redirect.ts';
import { Looped } from './loops.ts';
import { INTERNAL, LOOP, NO_BACKEND, OUTCOME_UNKNOWN } from './refusal.ts';

export type JourneyRooms = {
  readonly backends: Backends;
  readonly telemetry: Telemetry;
  /** Exchanges that run, by backend id. */
  readonly running: ReadonlyMap<string, number>;
  /** The proxy's own, where it is known by now. */
  readonly zone: () => string | undefined;
  /** Milliseconds. */
  readonly now: () => number;
  /** Random numbers in [0, 1). */
  readonly draw: () => number;
};

export type Journey = {
  /** Where it goes now. */
  readonly to: Backend | undefined;
  /** Chooses a backend that was not tried: a sound one where there is one. False when none is left. */
  next(): boolean;
  /** What goes there; until then a failure is ours. */
  watch(sent: ClientRequest): void;
  /** The fields of an answer, without addresses of the inside. */
  shown(headers: RawHeaders): RawHeaders;
  /** No connection could be made. */
  unreached(cause: Error): void;
  /** What to tell the client: `NO_BACKEND` when no connection was made, or `LOOP`, so that no handler ran. */
  fail(cause: Error): Refusal;
  /** Counts it. Status is what the client saw. */
  end(status: number, outcome: Extract<RoutingEvent, { type: 'exchange' }>['outcome']): void;
};

/** `headers` are the client's. */
export function startJourney(
  { backends, telemetry, running, zone, now, draw }: JourneyRooms,
  headers: RawHeaders,
): Journey {
  const [trace, since] = [traceOf(headers), now()];
  const tried = new Set<string>();
  let to: Backend | undefined;
  let fate: 'unsent' | 'connecting' | 'connected' = 'unsent';
  let sent: ClientRequest | undefined;
  function blame(cause: Error): void {
    if (to === undefined || blameOf(cause, networkInterfaces) !== 'backend') return;
    if (!to.suspect) telemetry.record({ type: 'suspect', backend: to.id, cause: cause.message });
    backends.suspect(to.id, cause);
  }
  return {
    get to() {
      return to;
    },
    next() {
      const left = backends.list().filter(({ id }) => !tried.has(id));
      const chosen = pick(left, { held: NO_SESSIONS, opening: NO_SESSIONS, running, zone: zone(), now: now(), draw });
      if (chosen === undefined) return false;
      to = chosen;
      fate = 'unsent';
      tried.add(chosen.id);
      return true;
    },
    watch(request) {
      fate = 'connecting';
      sent = request;
      onceConnected(request, () => {
        fate = 'connected';
      });
    },
    shown(answered) {
      if (to === undefined || sent === undefined) return answered;
      const way = { origin: to.origin, target: sent.path, headers: saidOf(sent) };
      const origins = (): string[] => backends.list().map(({ origin }) => origin);
      return withoutInside(answered, way, () => ({ origins: origins(), strict: false }));
    },
    fail(cause) {
      if (cause instanceof Looped) {
        blame(cause);
        return LOOP;
      }
      if (fate === 'connected') return OUTCOME_UNKNOWN;
      if (to === undefined || fate === 'unsent') {
        telemetry.record({ type: 'fault', error: cause });
        return INTERNAL;
      }
      blame(cause);
      return NO_BACKEND;
    },
    unreached: blame,
    end(status, outcome) {
      const seconds = (now() - since) / 1000;
      telemetry.record({ type: 'exchange', verb: 'other', status, outcome, seconds, backend: to?.id, trace });
    },
  };
}

/** The fields by which a backend may name the place that it was asked at. */
function saidOf(sent: ClientRequest): RawHeaders {
  return ['host', 'x-forwarded-host', 'x-forwarded-port', 'x-forwarded-proto'].flatMap((name) => {
    const value = sent.getHeader(name);
    return typeof value === 'string' ? [name, value] : [];
  });
}

function onceConnected(sent: ClientRequest, done: () => void): void {
  const see = (socket: NonNullable<ClientRequest['socket']>): void => {
    if (sent.reusedSocket) done();
    else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', done);
  };
  // A null one is not there yet, whatever the types say.
  const socket: ClientRequest['socket'] = sent.socket;
  if (socket) see(socket);
  else sent.once('socket', see);
}
