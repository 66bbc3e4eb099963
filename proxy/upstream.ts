/** One attempt over undici's dispatcher: pools, headers, redirects. */
import type { Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { Agent, buildConnector } from 'undici';
import type { Dispatcher } from 'undici';
import { asError } from './as-error.ts';
import { RunningAttempt } from './attempt.ts';
import type { Ended } from './attempt.ts';
import { tameWire } from './wire.ts';
import type { Valve } from './wire.ts';
import type { BackendHost } from './backend-host.ts';
import { blameOf } from './blame.ts';
import type { RawHeaders, Upstream } from './contract.ts';
import { headersOf, readHead, rotatedTo } from './hop.ts';
import type { Hearers, Hop } from './hop.ts';
import { newKnownPaths } from './known-paths.ts';
import type { KnownPaths } from './known-paths.ts';

export type UpstreamOptions = Hearers & {
  /**
   * Seconds that a backend may take to begin its answer, and that one which is no event stream may then be silent;
   * undefined for no limit.
   */
  readonly answerSeconds: number | undefined;
  /** What backends get as `Host`. */
  readonly backendHost?: BackendHost;
  /** Fields of our own, said to every backend. */
  readonly mark?: RawHeaders;
  /** Told when the other side has closed a connection, or none could be made. */
  readonly onDisconnect?: (origin: string) => void;
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
export function createUpstream(told: UpstreamOptions): ClosableUpstream {
  const answerMs = Math.ceil((told.answerSeconds ?? 0) * 1000);
  const connections = newConnections();
  const options: Agent.Options = {
    connections: null,
    pipelining: 1,
    connect: connections.connect,
    keepAliveTimeout: IDLE_SOCKET_MS,
    keepAliveMaxTimeout: IDLE_SOCKET_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    bodyTimeout: 0,
    headersTimeout: answerMs,
  };
  const posts = new Agent(options);
  const streams = new Agent(options);
  for (const agent of [posts, streams]) {
    agent.on('disconnect', (origin, _targets, cause) => {
      if (!isOurs(cause)) told.onDisconnect?.(new URL(origin).origin);
    });
    agent.on('connectionError', (origin) => told.onDisconnect?.(new URL(origin).origin));
  }
  const running: Running = new Map();
  const paths = newKnownPaths();

  const means: Means = { told, answerMs, running, paths, connections };

  return {
    async send(exchange, session, to, sink) {
      const way = { exchange, session, to, sink };
      const agent = exchange.method === 'GET' ? streams : posts;
      const headers = headersOf(way, told.backendHost, told.mark ?? []);
      let target = paths.at(to, exchange.target);
      for (let hop = 0; ; hop += 1) {
        const ended = await tryAt(means, agent, { ...way, origin: to.origin, target, headers, hop });
        if (ended.kind !== 'redirected') return ended;
        ({ target } = ended);
      }
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

type Means = {
  readonly told: UpstreamOptions;
  readonly answerMs: number;
  readonly running: Running;
  readonly paths: KnownPaths;
  readonly connections: Connections;
};

function tryAt(means: Means, agent: Agent, hop: Hop): Promise<Ended> {
  const { exchange, session, to, sink, origin, target, headers } = hop;
  const { method, body = null } = exchange;
  const read = (status: number, raw: RawHeaders) => readHead(means.told, means.paths, hop, status, raw);
  const blame = (cause: Error) => blameOf(cause, networkInterfaces);
  return new Promise((resolve) => {
    let exit = (): void => {};
    const attempt = new RunningAttempt({ exchange, session, sink, answerMs: means.answerMs, read, blame }, (ended) => {
      exit();
      resolve(ended);
    });
    if (exchange.signal.aborted) return;
    exit = enter(means.running, to.origin, (cause) => attempt.breakOff(cause));
    // Undici takes `servername` too, though its types do not say so: by default the Host's, and each change a new socket.
    const request = { origin, path: target, method, headers: [...headers], body, servername: origin };
    try {
      agent.dispatch(request, handlerOf(attempt, hop, means));
    } catch (cause) {
      attempt.failed(asError(cause));
    }
  });
}

function enter(running: Running, origin: string, breakOff: (cause: Error) => void): () => void {
  const here = running.get(origin) ?? new Set();
  running.set(origin, here.add(breakOff));
  return () => {
    here.delete(breakOff);
    if (here.size === 0 && running.get(origin) === here) running.delete(origin);
  };
}

class NobodyWaits extends Error {}

/**
 * What we close ourselves says nothing. Where the server ends a connection with its answer (`Connection: close`,
 * HTTP/1.0), that is undici's `reset`: no connection is left on which a restart could be noticed.
 */
function isOurs(cause: Error & { readonly code?: string }): boolean {
  return cause instanceof NobodyWaits || (cause.code === 'UND_ERR_INFO' && cause.message !== 'reset');
}

type Connections = {
  readonly connect: buildConnector.connector;
  /** To be called where undici is about to write a request: `take` gets its socket, and what holds its answer back. */
  writes(take: Take): void;
};
type Take = (socket: Socket, valve: Valve) => void;

function newConnections(): Connections {
  const connectTo = buildConnector({ timeout: CONNECT_MS });
  let taker: Take | undefined;
  return {
    connect(options, done) {
      // A certificate must be of the backend's own name, whatever `Host` says: without another, undici takes it.
      connectTo({ ...options, servername: '' }, (...made) => {
        // Undefined rather than null where there is an error, whatever the types say.
        const [error, socket] = made;
        if (error === null) {
          const valve = tameWire(socket, () => {
            taker?.(socket, valve);
            taker = undefined;
          });
        }
        done(...made);
      });
    },
    writes(take) {
      taker = take;
    },
  };
}

function handlerOf(
  attempt: RunningAttempt,
  hop: Hop,
  { connections, told: { onRotation } }: Means,
): Dispatcher.DispatchHandler {
  let valve: Valve | undefined;
  /** What has come while it waits. */
  let waiting: (() => void)[] | undefined;
  const inOrder = (step: () => void): void => {
    if (waiting === undefined) step();
    else waiting.push(step);
  };
  const go = (): void => {
    const steps = waiting ?? [];
    waiting = undefined;
    valve?.release();
    for (const step of steps) step();
  };
  return {
    onRequestStart(controller) {
      const reason = new NobodyWaits('nobody waits for it any more');
      let socket: Socket | undefined;
      // Aborted by undici, it would be written again: to a new connection, which then idles.
      attempt.started(() => (socket === undefined ? controller.abort(reason) : socket.destroy(reason)));
      if (controller.aborted) return;
      connections.writes((its, itsValve) => {
        socket = its;
        valve = itsValve;
      });
    },
    onResponseStart(controller, status) {
      if (status < 200) return attempt.breakOff(new Error(`${status} is no status of an answer`));
      const raw = rawHeaders(controller.rawHeaders);
      const issued = rotatedTo(hop, status, raw);
      if (issued === undefined || hop.session === undefined || onRotation === undefined)
        return attempt.head(status, raw);
      // What the client sends next is for the new id.
      waiting = [() => attempt.head(status, raw)];
      valve?.hold();
      onRotation(hop.session, issued).then(go, go);
      return undefined;
    },
    onResponseData(_controller, chunk) {
      inOrder(() => {
        if (attempt.data(chunk)) return;
        valve?.hold();
        const goOn = (): void => {
          attempt.resumed();
          valve?.release();
        };
        void hop.sink.drained().then(goOn);
      });
    },
    onResponseEnd() {
      inOrder(() => {
        // Another answer comes through it next.
        valve?.release();
        valve = undefined;
        attempt.end();
      });
    },
    onResponseError: (_controller, cause) => inOrder(() => attempt.failed(cause)),
  };
}

function rawHeaders(raw: Dispatcher.DispatchController['rawHeaders']): RawHeaders {
  return Array.isArray(raw) ? raw.map((field) => (typeof field === 'string' ? field : field.toString('latin1'))) : [];
}
