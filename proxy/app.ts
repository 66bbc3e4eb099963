/** The door: what comes in over HTTP becomes an exchange with a bounded body, an abort signal and a sink. */
import { createServer } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import express from 'express';
import type { ErrorRequestHandler, Express, Request, Response } from 'express';
import { classify } from './classify.ts';
import { CODE } from './contract.ts';
import type { Exchange, Sink, Telemetry } from './contract.ts';
import { mayEnter } from './guard.ts';
import type { GuardRules } from './guard.ts';
import { clientHeaders } from './headers.ts';
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
  readonly app: Express;
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
export function createDoorServer(app: Express, deadlines: Deadlines = DEADLINES): Server {
  return createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: deadlines.headers,
      requestTimeout: deadlines.request,
      keepAliveTimeout: deadlines.keepAlive,
      connectionsCheckingInterval: Math.min(deadlines.headers / 2, 5000),
    },
    app,
  );
}

type Run = { readonly exchange: Exchange; readonly sink: Sink; readonly leave: AbortController };

export function createDoor(router: Router, rules: DoorRules, telemetry: Telemetry): Door {
  const running = new Set<Run>();
  let closing = false;

  async function enter(request: Request, response: Response): Promise<void> {
    const sink = new ResponseSink(response, { closing: () => closing });
    const body = Buffer.isBuffer(request.body) ? request.body : undefined;
    const intent = classify(request.method, (name) => fieldOf(request, name), body);
    if (intent.kind === 'malformed') {
      refuse(sink, intent, [], intent.allow === undefined ? [] : ['allow', intent.allow]);
      recordRefusal(telemetry, intent.status);
      return;
    }
    const leave = new AbortController();
    response.once('close', () => {
      if (!response.writableFinished) leave.abort();
    });
    const run = { exchange: exchangeOf(request, intent, body, leave.signal), sink, leave };
    running.add(run);
    await router.handle(run.exchange, sink);
    running.delete(run);
  }

  return {
    app: createApp(rules, telemetry, enter),
    close() {
      closing = true;
      for (const { exchange, sink, leave } of running) {
        if (exchange.method !== 'GET') continue;
        sink.end();
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

function createApp(
  rules: DoorRules,
  telemetry: Telemetry,
  enter: (request: Request, response: Response) => Promise<void>,
): Express {
  const turnAway = (response: Response, status: number, message: string): void => {
    // What is left of the request is not read.
    response.setHeader('connection', 'close');
    const code = status === 500 ? CODE.internal : CODE.server;
    refuse(new ResponseSink(response, { closing: () => false }), { status, code, message }, []);
    recordRefusal(telemetry, status);
  };
  const onError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
    const status = statusOf(error) ?? 500;
    if (status === 500) {
      telemetry.record({ type: 'fault', error: error instanceof Error ? error : new Error(String(error)) });
    }
    if (response.headersSent || response.destroyed) response.destroy();
    else turnAway(response, status, SENTENCES[status]);
  };

  const app = express();
  app.disable('x-powered-by');
  app.use((request, response, next) => {
    if (mayEnter({ host: request.headers.host, origin: request.headers.origin }, rules)) next();
    else turnAway(response, 403, 'Forbidden: this Host or Origin is not allowed');
  });
  const readBody = express.raw({ type: () => true, limit: rules.maxBody, inflate: false });
  app.use((request, response, next) => {
    if (request.path === rules.path || request.path === `${rules.path}/`) readBody(request, response, next);
    else turnAway(response, 404, 'Not found');
  });
  app.use((request, response) => enter(request, response));
  app.use(onError);
  return app;
}

const SENTENCES = {
  400: 'Bad request: the body could not be read',
  413: 'Payload too large',
  415: 'Unsupported Content-Encoding: the body must be sent as it is',
  500: INTERNAL.message,
} as const;

/** The status that the body reader gives to a fault of the request; undefined for a bug of ours. */
function statusOf(error: unknown): 400 | 413 | 415 | undefined {
  if (typeof error !== 'object' || error === null || !('status' in error)) return undefined;
  const { status } = error;
  if (status === 413 || status === 415) return status;
  return typeof status === 'number' && status >= 400 && status < 500 ? 400 : undefined;
}

function recordRefusal(telemetry: Telemetry, status: number): void {
  telemetry.record({ type: 'exchange', verb: 'malformed', status, outcome: 'refused', seconds: 0 });
}

function exchangeOf(
  request: Request,
  intent: Exchange['intent'],
  body: Buffer | undefined,
  signal: AbortSignal,
): Exchange {
  return {
    method: request.method,
    target: targetOf(request.originalUrl),
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

/** Path and query; a target in absolute form (RFC 9112, section 3.2.2) loses its authority. */
function targetOf(url: string): string {
  if (url.startsWith('/')) return url;
  const { pathname, search } = new URL(url);
  return pathname + search;
}
