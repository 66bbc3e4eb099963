/** The door: what comes in over HTTP becomes an exchange with a bounded body, an abort signal and a sink. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { asError } from './as-error.ts';
import { lingering, parsedBody, readBody } from './body.ts';
import type { Unread } from './body.ts';
import { newBodyBudget } from './body-budget.ts';
import type { BodyCount } from './body-budget.ts';
import { classify } from './classify.ts';
import { CODE, HEADER } from './contract.ts';
import type { Exchange, Intent, Refusal, Sink } from './contract.ts';
import { corsOf } from './cors.ts';
import type { EndpointLimit, Telemetry } from './events.ts';
import type { GuardRules } from './guard.ts';
import { incomingHeaders } from './incoming.ts';
import { idsOf } from './jsonrpc.ts';
import { PREFLIGHT_MS, preflighting } from './preflight.ts';
import { CLOSED, INTERNAL, LOOP, NO_BACKEND, STOPPING, refuse } from './refusal.ts';
import type { Router } from './router.ts';
import { ResponseSink } from './sink.ts';

export type DoorRules = GuardRules & {
  /** Bytes. */
  readonly maxBody: number;
  /** Bytes of all bodies that are in memory; undefined: see body-budget.ts. */
  readonly maxBodies: number | undefined;
  /** Milliseconds that the body of a request which names no session may take to arrive. */
  readonly bodyMs: number;
  /** Hops whose forwarding fields are believed. */
  readonly trustProxy: number;
  /** Who asks, as a hash; undefined: owners are not told apart. */
  readonly ownerOf: (request: IncomingMessage) => string | undefined;
  /** Seconds of silence on a stream before a comment; undefined: none. */
  readonly commentSeconds: number | undefined;
};

export interface Door {
  /** Takes an admitted request of an MCP endpoint; `target` is its path and query, `path` the endpoint's. Never throws. */
  enter(request: IncomingMessage, response: ServerResponse, target: string, path?: string): void;
  /** Answers for us, without reading what is left of the request. */
  turnAway(request: IncomingMessage, response: ServerResponse, status: keyof typeof SENTENCES): void;
  /** The same, in other words. */
  refuse(request: IncomingMessage, response: ServerResponse, refusal: Turned): void;
  /** Ends the listening streams, and lets the clients' connections close after the answers that still run. */
  close(): void;
  /** Resolves as soon as nothing runs. */
  done(): Promise<void>;
  /** Ends what still runs, and what comes from now on, each with an answer of our own. */
  cut(): void;
}

/** Where the request goes, as path and query, and what it brings. */
type Asked = { readonly target: string; readonly path: string | undefined; readonly body: Buffer };
/** An answer of our own by the head alone. */
export type Turned = Pick<Refusal, 'code' | 'message' | 'mark' | 'retryAfter'> & {
  readonly status: number;
  /** It is beyond this. */
  readonly limit?: EndpointLimit;
};
type Run = { readonly exchange: Exchange; readonly sink: Sink; readonly leave: AbortController };

export function createDoor(router: Router, rules: DoorRules, telemetry: Telemetry): Door {
  const runs = newRuns();
  const withBody = createReader(rules);
  const { turnAway, refuse: turning } = createTurning(rules, telemetry);
  let closing = false;
  let over = false;

  async function pass(request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void> {
    const cors = corsOf(request, rules);
    const answer = new ResponseSink(response, { closing: () => closing, cors, commentSeconds: rules.commentSeconds });
    const sink = preflighting(answer, cors);
    if (closing && request.method === 'GET') return refuse(sink, CLOSED, []);
    const intent = classify(request.method ?? '', (name) => fieldOf(request, name), asked.body);
    if (intent.kind === 'malformed') return refuseMalformed(sink, intent, telemetry);
    if (over) return refuse(sink, CLOSED, idsOf({ intent }), [], asked.body);
    const leave = new AbortController();
    response.once('close', () => {
      // Somebody before us may end an answer too, as a limit of its age does.
      if (!response.writableFinished || !answer.over) leave.abort();
    });
    if (response.destroyed) return;
    const signal = withinPreflight(leave.signal, cors);
    const run = { exchange: exchangeOf(request, intent, asked, signal, rules), sink, leave };
    await runs.during(run, () => router.handle(run.exchange, sink));
    if (cors?.preflight !== undefined && sink.shown === 'nothing') refuse(sink, NO_BACKEND, []);
  }

  const knock = (request: IncomingMessage, response: ServerResponse, at: Omit<Asked, 'body'>): Promise<void> =>
    withBody(request, async (body) => {
      if (Buffer.isBuffer(body)) await pass(request, response, { ...at, body });
      else turnAway(request, response, body);
    });

  return {
    enter(request, response, target, path) {
      knock(request, response, { target, path }).catch((error: unknown) => {
        telemetry.record({ type: 'fault', error: asError(error) });
        if (response.headersSent || response.destroyed) response.destroy();
        else turnAway(request, response, 500);
      });
    },
    turnAway,
    refuse: turning,
    close() {
      closing = true;
      for (const { exchange, sink, leave } of runs.all) {
        if (exchange.method !== 'GET' || sink.shown === 'body') continue;
        refuse(sink, STOPPING, []);
        leave.abort();
      }
    },
    done: () => runs.done(),
    cut() {
      over = true;
      for (const { exchange, sink, leave } of runs.all) {
        refuse(sink, STOPPING, idsOf(exchange), [], exchange.body);
        leave.abort();
      }
    },
  };
}

/** The body counts until `take` resolves; it is not called where the client has broken off. */
function createReader(rules: DoorRules) {
  const budget = newBodyBudget(rules.maxBodies, rules.maxBody);
  return async (
    request: IncomingMessage,
    take: (body: Buffer | Exclude<Unread, 'left'>) => Promise<void>,
  ): Promise<void> => {
    const count = budget.open();
    try {
      const body = await bodyOf(request, rules, count);
      if (body !== 'left') await take(body);
    } finally {
      count.close();
    }
  };
}

async function bodyOf(
  request: IncomingMessage,
  { maxBody, bodyMs }: DoorRules,
  count: BodyCount,
): Promise<Buffer | Unread> {
  const parsed = parsedBody(request);
  if (parsed !== undefined) return count.add(parsed.length) ? parsed : 503;
  const ms = request.headers[HEADER.session] === undefined ? bodyMs : undefined;
  return readBody(request, { limit: maxBody, count, ms });
}

function refuseMalformed(sink: Sink, intent: Extract<Intent, { kind: 'malformed' }>, telemetry: Telemetry): void {
  const { status, allow, id, bound } = intent;
  refuse(sink, intent, id === undefined ? [] : [id], allow === undefined ? [] : ['allow', allow]);
  recordRefusal(telemetry, status, bound);
}

/** A preflight is answered by us where no backend has in time. */
function withinPreflight(signal: AbortSignal, cors: ReturnType<typeof corsOf>): AbortSignal {
  return cors?.preflight === undefined ? signal : AbortSignal.any([signal, AbortSignal.timeout(PREFLIGHT_MS)]);
}

function newRuns() {
  const running = new Set<Run>();
  const waiting: (() => void)[] = [];
  return {
    all: running,
    async during(run: Run, work: () => Promise<void>): Promise<void> {
      running.add(run);
      await work();
      running.delete(run);
      if (running.size === 0) for (const tell of waiting.splice(0)) tell();
    },
    async done(): Promise<void> {
      if (running.size > 0) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

function createTurning(rules: GuardRules, telemetry: Telemetry): Pick<Door, 'turnAway' | 'refuse'> {
  const turn: Door['refuse'] = (request, response, refusal) => {
    response.setHeader('connection', 'close');
    const sink = new ResponseSink(response, { closing: () => false, cors: corsOf(request, rules) });
    refuse(lingering(sink, request), refusal, []);
    recordRefusal(telemetry, refusal.status, refusal.limit);
  };
  return { refuse: turn, turnAway: (request, response, status) => turn(request, response, refusalOf(status)) };
}

/** What is said to whoever is turned away by its head alone. */
export function refusalOf(status: keyof typeof SENTENCES): Turned {
  if (status === 508) return LOOP;
  const refusal = { status, code: status === 500 ? CODE.internal : CODE.server, message: SENTENCES[status] };
  if (status === 408) return { ...refusal, limit: 'body-time' };
  return status === 503 ? { ...refusal, limit: 'bodies', retryAfter: 1 } : refusal;
}

const SENTENCES = {
  400: 'Bad request: Host must be there once, and Authorization once at most',
  403: 'Forbidden: this Host or Origin is not allowed',
  404: 'Not found',
  408: 'Request timeout: the body took too long to arrive',
  413: 'Payload too large',
  415: 'Unsupported Content-Encoding: the body must be sent as it is',
  500: INTERNAL.message,
  501: 'Unsupported Transfer-Encoding: only chunked is taken',
  503: 'Service unavailable: too many bytes of request bodies are in memory, try again',
  508: LOOP.message,
} as const;

export function recordRefusal(telemetry: Telemetry, status: number, limit?: EndpointLimit): void {
  if (limit !== undefined) telemetry.record({ type: 'limited', limit });
  telemetry.record({ type: 'exchange', verb: 'malformed', status, outcome: 'refused', seconds: 0 });
}

function exchangeOf(
  request: IncomingMessage,
  intent: Exchange['intent'],
  { target, path, body }: Asked,
  signal: AbortSignal,
  { trustProxy, ownerOf }: DoorRules,
): Exchange {
  return {
    method: request.method ?? '',
    target,
    ...(path !== undefined && { path }),
    headers: incomingHeaders(request, trustProxy),
    owner: ownerOf(request),
    at: Date.now(),
    body: request.method === 'POST' ? body : undefined,
    intent,
    signal,
  };
}

function fieldOf({ headers }: IncomingMessage, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}
