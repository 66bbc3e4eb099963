/** One attempt over undici's dispatcher: pools, headers, blame. */
import { networkInterfaces } from 'node:os';
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import { asError } from './as-error.ts';
import { readAnswer } from './answer.ts';
import type { Answer } from './answer.ts';
import { blameOf } from './blame.ts';
import type { Attempt, Backend, Exchange, RawHeaders, Session, Sink, Upstream } from './contract.ts';
import { HEADER } from './contract.ts';
import { headerValue, readRelease, requestHeaders } from './headers.ts';
import { idsOf } from './jsonrpc.ts';

export type UpstreamOptions = {
  /** How long a backend may take to begin its answer; undefined for no limit. */
  readonly answerSeconds: number | undefined;
  /** Fields of our own, said to every backend. */
  readonly mark?: RawHeaders;
  /** Told who has begun an answer, whatever it says. */
  readonly onAnswer?: (by: Backend) => void;
  /** Told when the other side has closed a connection, or none could be made. */
  readonly onDisconnect?: (origin: string) => void;
  /** Told at each answer to an `initialize` that says it which release the backend runs. */
  readonly onRelease?: (id: string, release: number) => void;
};

const CONNECT_MS = 3000;
/** Shorter than the 5 s of Node's servers: a reset on a reused socket cannot tell whether the handler ran. */
const IDLE_SOCKET_MS = 4000;
const MAX_HEADER_BYTES = 64 * 1024;

export type ClosableUpstream = Upstream & {
  /**
   * The attempts that run at this origin end as `lost`, or as `unsent` where nothing was sent, and their sockets are
   * destroyed: a hung host never closes them. Idle sockets go by themselves, within 4 s.
   */
  sever(origin: string): void;
  /** Breaks off what is still running. */
  close(): Promise<void>;
};

/** By origin, what breaks each running attempt off. */
type Running = Map<string, Set<(cause: Error) => void>>;

/**
 * Two pools without a cap, as undici's scans its sockets: with thousands of listening streams among them, each POST
 * would pay for the scan.
 */
export function createUpstream({
  answerSeconds,
  mark = [],
  onAnswer,
  onDisconnect,
  onRelease,
}: UpstreamOptions): ClosableUpstream {
  const options: Agent.Options = {
    connections: null,
    pipelining: 1,
    connect: { timeout: CONNECT_MS },
    keepAliveTimeout: IDLE_SOCKET_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    bodyTimeout: 0,
    headersTimeout: (answerSeconds ?? 0) * 1000,
  };
  const posts = new Agent(options);
  const streams = new Agent(options);
  for (const agent of [posts, streams]) {
    agent.on('disconnect', (origin, _targets, cause) => {
      // What we close ourselves says nothing.
      if (cause.code !== 'UND_ERR_INFO') onDisconnect?.(new URL(origin).origin);
    });
    agent.on('connectionError', (origin) => onDisconnect?.(new URL(origin).origin));
  }
  const running: Running = new Map();
  return {
    send(exchange, session, to, sink) {
      const agent = exchange.method === 'GET' ? streams : posts;
      return new Promise((resolve) =>
        attempt(agent, { exchange, session, to, sink, mark, onAnswer, onRelease }, running, resolve),
      );
    },
    sever(origin) {
      const cause = new Error('the backend does not answer any more');
      for (const breakOff of running.get(origin) ?? []) breakOff(cause);
    },
    async close() {
      await Promise.all([posts.destroy(), streams.destroy()]);
    },
  };
}

type Sending = {
  readonly exchange: Exchange;
  readonly session: Session | undefined;
  readonly to: Backend;
  readonly sink: Sink;
  readonly mark: RawHeaders;
  readonly onAnswer: UpstreamOptions['onAnswer'] | undefined;
  readonly onRelease: UpstreamOptions['onRelease'] | undefined;
};

function enter(running: Running, origin: string, breakOff: (cause: Error) => void): () => void {
  const here = running.get(origin) ?? new Set();
  running.set(origin, here.add(breakOff));
  return () => {
    here.delete(breakOff);
    if (here.size === 0 && running.get(origin) === here) running.delete(origin);
  };
}

function attempt(agent: Agent, sending: Sending, running: Running, resolve: (attempt: Attempt) => void): void {
  const { exchange, to } = sending;
  const { signal } = exchange;
  let started = false;
  let settled = false;
  let leave = (): void => {};
  let answer: Answer | undefined;

  function settle(result: Attempt): void {
    settled = true;
    signal.removeEventListener('abort', abandon);
    exit();
    resolve(result);
  }
  function abandon(): void {
    settle({ kind: 'abandoned' });
    leave();
  }
  function breakOff(cause: Error): void {
    fail(cause);
    leave();
  }
  function fail(cause: Error): void {
    if (settled) return undefined;
    if (signal.aborted) return abandon();
    if (!started) return settle({ kind: 'unsent', cause, blame: blameOf(cause, networkInterfaces) });
    return settle(answer?.broken(cause) ?? { kind: 'lost', cause, unanswered: idsOf(exchange) });
  }

  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(controller) {
      leave = () => controller.abort(new Error('nobody waits for it any more'));
      if (settled) leave();
      started = true;
    },
    onResponseStart(controller, status) {
      if (status < 200) return;
      sending.onAnswer?.(to);
      answer = readAnswer(sending, status, noteRelease(sending, rawHeaders(controller.rawHeaders)));
    },
    onResponseData(controller, chunk) {
      const more = answer?.data(chunk);
      const over = answer?.over?.();
      if (over !== undefined) {
        settle(over);
        return leave();
      }
      if (more !== false) return undefined;
      controller.pause();
      void sending.sink.drained().then(() => controller.resume());
    },
    onResponseEnd() {
      settle(answer?.end() ?? { kind: 'lost', cause: new Error('no answer'), unanswered: idsOf(exchange) });
    },
    onResponseError(_controller, cause) {
      fail(cause);
    },
  };
  const exit = enter(running, to.origin, breakOff);
  if (signal.aborted) return abandon();
  signal.addEventListener('abort', abandon, { once: true });
  try {
    agent.dispatch(dispatchOptions(sending, to), handler);
  } catch (cause) {
    fail(asError(cause));
  }
  return undefined;
}

/** Returns the headers. */
function noteRelease({ exchange, to, onRelease }: Sending, headers: RawHeaders): RawHeaders {
  if (exchange.intent.kind !== 'open') return headers;
  const release = readRelease(headerValue(headers, HEADER.affinityRelease));
  if (release !== undefined) onRelease?.(to.id, release);
  return headers;
}

function dispatchOptions({ exchange, session, mark }: Sending, to: Backend): Dispatcher.DispatchOptions {
  const headers = requestHeaders(exchange.headers, {
    backendSessionId: session?.backendSessionId,
    clientSessionId: session?.id,
    backend: to.id,
  });
  headers.push(...mark);
  return {
    origin: to.origin,
    path: exchange.target,
    method: exchange.method,
    headers,
    body: exchange.body ?? null,
  };
}

function rawHeaders(raw: Dispatcher.DispatchController['rawHeaders']): RawHeaders {
  return Array.isArray(raw) ? raw.map((field) => (typeof field === 'string' ? field : field.toString('latin1'))) : [];
}
