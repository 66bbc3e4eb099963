/** The door: what comes in over HTTP becomes an exchange with a bounded body, an abort signal and a sink. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { lingering, readBody } from './body.ts';
import { classify } from './classify.ts';
import { CODE } from './contract.ts';
import type { Exchange, Sink, Telemetry } from './contract.ts';
import { mayEnter } from './guard.ts';
import type { GuardRules } from './guard.ts';
import { clientHeaders, headerCount } from './headers.ts';
import { idsOf } from './jsonrpc.ts';
import { INTERNAL, STOPPING, refuse } from './refusal.ts';
import type { Router } from './router.ts';
import { ResponseSink } from './sink.ts';

export type DoorRules = GuardRules & {
  /** The MCP endpoint's path. */
  readonly path: string;
  /** Bytes. */
  readonly maxBody: number;
};

export interface Door {
  /** Takes a request of whatever server it came in by: Express would add a quarter to its cost here. Never throws. */
  enter(request: IncomingMessage, response: ServerResponse): void;
  /** Ends the listening streams, and lets the clients' connections close after the answers that still run. */
  close(): void;
  /** Ends what still runs, each with an answer of our own. */
  cut(): void;
}

/** Milliseconds. `keepAlive` is above an ALB's longest usual idle timeout, else the ALB meets a socket that just closed. */
export type Deadlines = { readonly headers: number; readonly request: number; readonly keepAlive: number };
export const DEADLINES: Deadlines = { headers: 20_000, request: 60_000, keepAlive: 320_000 };
const MAX_HEADER_BYTES = 64 * 1024;

/** The listener: a slow or half-sent request is dropped by the deadlines, malformed framing by Node's strict parser. */
export function createDoorServer(door: Door, deadlines: Deadlines = DEADLINES): Server {
  return createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: deadlines.headers,
      requestTimeout: deadlines.request,
      keepAliveTimeout: deadlines.keepAlive,
      connectionsCheckingInterval: Math.min(deadlines.headers / 2, 5000),
    },
    (request, response) => door.enter(request, response),
  );
}

/** Where the request goes, as path and query, and what it brings. */
type Asked = { readonly target: string; readonly body: Buffer };
type Run = { readonly exchange: Exchange; readonly sink: Sink; readonly leave: AbortController };

export function createDoor(router: Router, rules: DoorRules, telemetry: Telemetry): Door {
  const running = new Set<Run>();
  let closing = false;

  async function pass(request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void> {
    const sink = new ResponseSink(response, { closing: () => closing });
    if (closing && request.method === 'GET') return refuse(sink, STOPPING, []);
    const intent = classify(request.method ?? '', (name) => fieldOf(request, name), asked.body);
    if (intent.kind === 'malformed') {
      refuse(sink, intent, [], intent.allow === undefined ? [] : ['allow', intent.allow]);
      recordRefusal(telemetry, intent.status);
      return;
    }
    const leave = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished) leave.abort();
    });
    if (response.destroyed) return;
    const run = { exchange: exchangeOf(request, intent, asked, leave.signal), sink, leave };
    running.add(run);
    await router.handle(run.exchange, sink);
    running.delete(run);
  }

  return {
    enter: createKnock(rules, telemetry, pass),
    close() {
      closing = true;
      for (const { exchange, sink, leave } of running) {
        if (exchange.method !== 'GET' || sink.shown === 'body') continue;
        refuse(sink, STOPPING, []);
        leave.abort();
      }
    },
    cut() {
      for (const { exchange, sink, leave } of running) {
        refuse(sink, STOPPING, idsOf(exchange));
        leave.abort();
      }
    },
  };
}

/** What is decided before an exchange is one: by the rules of the door, from the head alone but for the body's size. */
function createKnock(
  rules: DoorRules,
  telemetry: Telemetry,
  pass: (request: IncomingMessage, response: ServerResponse, asked: Asked) => Promise<void>,
): Door['enter'] {
  const turnAway = (request: IncomingMessage, response: ServerResponse, status: keyof typeof SENTENCES): void => {
    // What is left of the request is not read.
    response.setHeader('connection', 'close');
    const sink = new ResponseSink(response, { closing: () => false });
    const code = status === 500 ? CODE.internal : CODE.server;
    refuse(lingering(sink, request), { status, code, message: SENTENCES[status] }, []);
    recordRefusal(telemetry, status);
  };

  async function knock(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { host, origin } = request.headers;
    // The backend might read another one than the rule (RFC 9112, section 3.2).
    if (headerCount(request.rawHeaders, 'host') !== 1) return turnAway(request, response, 400);
    if (!mayEnter({ host, origin }, rules)) return turnAway(request, response, 403);
    const target = targetOf(request.url ?? '');
    const [path] = target?.split('?', 1) ?? [];
    if (target === undefined || (path !== rules.path && path !== `${rules.path}/`)) {
      return turnAway(request, response, 404);
    }
    const body = await readBody(request, rules.maxBody);
    if (body === 'left') return undefined;
    return Buffer.isBuffer(body) ? pass(request, response, { target, body }) : turnAway(request, response, body);
  }

  return (request, response) => {
    knock(request, response).catch((error: unknown) => {
      telemetry.record({ type: 'fault', error: error instanceof Error ? error : new Error(String(error)) });
      if (response.headersSent || response.destroyed) response.destroy();
      else turnAway(request, response, 500);
    });
  };
}

const SENTENCES = {
  400: 'Bad request: Host must be there once',
  403: 'Forbidden: this Host or Origin is not allowed',
  404: 'Not found',
  413: 'Payload too large',
  415: 'Unsupported Content-Encoding: the body must be sent as it is',
  500: INTERNAL.message,
} as const;

function recordRefusal(telemetry: Telemetry, status: number): void {
  telemetry.record({ type: 'exchange', verb: 'malformed', status, outcome: 'refused', seconds: 0 });
}

function exchangeOf(
  request: IncomingMessage,
  intent: Exchange['intent'],
  { target, body }: Asked,
  signal: AbortSignal,
): Exchange {
  return {
    method: request.method ?? '',
    target,
    headers: clientHeaders(request.rawHeaders),
    body: request.method === 'POST' ? body : undefined,
    intent,
    signal,
  };
}

function fieldOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** Path and query: a target in absolute form (RFC 9112, section 3.2.2) loses its authority. Undefined for any other. */
function targetOf(url: string): string | undefined {
  if (url.startsWith('/')) return url;
  if (!/^https?:\/\/[^/?#]/i.test(url) || !URL.canParse(url)) return undefined;
  const { pathname, search } = new URL(url);
  return pathname + search;
}
