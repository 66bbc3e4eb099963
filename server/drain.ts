/** A backend's half of a planned drain: hands its sessions over, each when it is quiet, and says when all are. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type AffinityMark, CODE, HEADER } from '../proxy/contract.ts';
import { createEnding } from './ending.ts';
import { pacer } from './pace.ts';
import { timerMs } from './range.ts';
import { createTraffic, endable, type Guest, hush } from './traffic.ts';

export type DrainOptions = {
  /** This task's id, as discovery names it: a proxy's request for another is refused. None by default: not checked. */
  readonly id?: string | undefined;
  /** Seconds a drain may take; 25 by default, which is 5 less than ECS waits before it kills. 0 ends it at once. */
  readonly graceSeconds?: number | undefined;
  /** What begins the drain; `['SIGTERM']` by default. A second signal finds no handler of ours. */
  readonly signals?: readonly NodeJS.Signals[] | undefined;
  /** Whether a drain that a signal began ends the process, with 0; true by default. */
  readonly exit?: boolean | undefined;
  /** Seconds after its last request when a session is no longer waited for; 3600 by default. */
  readonly sessionIdleSeconds?: number | undefined;
  /** Called when the drain begins and when it is over, before the process ends. What they throw is dropped. */
  readonly onStart?: (() => void) | undefined;
  readonly onDone?: (() => void) | undefined;
};

export type Drain = {
  /** Goes before the handlers of the MCP endpoint; before or after a body parser. */
  readonly middleware: (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void;
  /** A handler for the readiness check: 200, or 503 while draining. */
  readonly ready: (request: IncomingMessage, response: ServerResponse) => void;
  /** True from the begin of the drain on, also when it is over. */
  readonly draining: boolean;
  /**
   * Begins the drain, once; resolves when every session is handed over and nothing runs, or at the deadline, or with
   * `close()`. Never rejects, and does not end the process: only a signal does.
   */
  start(): Promise<void>;
  /** Takes the signal handlers back and ends a drain; requests pass untouched from now on. Idempotent. */
  close(): void;
};

const REASON: Readonly<Record<AffinityMark, string>> = {
  draining: 'This backend is draining',
  misdirected: 'This is another backend',
};

/**
 * Acts on requests that come through an mcp-affinity proxy, by its `Mcp-Affinity-Backend` header; all others pass
 * untouched. Draining, it answers 421 to what another backend can take, serves what only this one can, and ends the
 * listening streams of quiet sessions. Throws RangeError for seconds that are none.
 */
export function createDrain(options: DrainOptions = {}): Drain {
  const { id: own, graceSeconds = 25, signals = ['SIGTERM'], exit = true, sessionIdleSeconds = 3600 } = options;
  const graceMs = timerMs('graceSeconds', graceSeconds, 0);
  let closed = false;

  const paced = pacer(graceMs / 2, hush);
  const changed = (session: Guest) => {
    if (ending.begun && !closed && endable(session).length > 0) paced.add(session);
  };
  const traffic = createTraffic(timerMs('sessionIdleSeconds', sessionIdleSeconds, 0.001), {
    changed,
    left: () => ending.check(),
  });
  const ending = createEnding({
    graceMs,
    allDone: () => traffic.open === 0 && traffic.waiting() === 0,
    onStart() {
      for (const session of traffic.sessions()) changed(session);
      options.onStart?.();
    },
    onDone() {
      paced.stop();
      options.onDone?.();
    },
  });
  const forgetSignals = once(signals, async () => {
    await ending.begin();
    if (exit && !closed) process.exit(0);
  });

  return {
    middleware(request, response, next) {
      const meant = textOf(request.headers[HEADER.affinityBackend]);
      if (closed || meant === undefined) return next();
      if (own !== undefined && meant !== own && !meant.includes(':')) return refuse(response, 'misdirected');
      const id = textOf(request.headers[HEADER.session]);
      const stays = request.headers[HEADER.affinityStay] === '1';
      const ours = stays || request.method === 'DELETE' || (id !== undefined && traffic.busy(id));
      if (!ending.begun || ours) {
        traffic.serve(request, response, { id, stays });
        return next();
      }
      if (id !== undefined) traffic.handOver(id);
      ending.refused();
      traffic.count(response);
      refuse(response, 'draining');
    },
    ready(_request, response) {
      if (ending.begun) answer(response, 503, { status: 'draining' });
      else answer(response, 200, { status: 'ready' });
    },
    get draining() {
      return ending.begun;
    },
    start: () => ending.begin(),
    close() {
      closed = true;
      forgetSignals();
      ending.callOff();
    },
  };
}

/** Calls `f` at the first of the signals, and listens to none afterwards. Returns an idempotent undo. */
function once(signals: readonly NodeJS.Signals[], f: () => Promise<void>): () => void {
  const undo = () => signals.forEach((signal) => process.off(signal, run));
  const run = () => {
    undo();
    void f();
  };
  for (const signal of signals) process.on(signal, run);
  return undo;
}

/** Before any handler ran; another backend, or this one if it is asked to stay, may serve the request. */
function refuse(response: ServerResponse, mark: AffinityMark): void {
  response.setHeader(HEADER.affinityMark, mark);
  answer(response, 421, { jsonrpc: '2.0', error: { code: CODE.server, message: REASON[mark] }, id: null });
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

function textOf(field: string | readonly string[] | undefined): string | undefined {
  return typeof field === 'string' ? field : field?.[0];
}
