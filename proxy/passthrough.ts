/** Everything that is not the MCP endpoint goes to some healthy backend, over http-proxy-middleware. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { createProxyMiddleware } from 'http-proxy-middleware';
import type { Plugin } from 'http-proxy-middleware';
import { connectFault, createAgents } from './agents.ts';
import { hostFor } from './backend-host.ts';
import type { BackendHost } from './backend-host.ts';
import { CODE, HEADER } from './contract.ts';
import type { RawHeaders, Refusal } from './contract.ts';
import { headerValue } from './headers.ts';
import { corsOf } from './cors.ts';
import type { Cors } from './cors.ts';
import type { GuardRules } from './guard.ts';
import { passedHeaders } from './incoming.ts';
import { startJourney } from './journey.ts';
import type { Journey, JourneyRooms } from './journey.ts';
import { PassedRequest } from './passing.ts';
import type { Passing } from './passing.ts';
import { CLOSED, NO_BACKEND, refuse } from './refusal.ts';
import { ResponseSink } from './sink.ts';
import { passUpgrade, refuseUpgrade } from './upgrades.ts';
import { createWrongPath } from './wrong-path.ts';

/** `target` is path and query. Whoever comes here was admitted. Nothing throws. */
export interface Passthrough {
  enter(request: IncomingMessage, response: ServerResponse, target: string): void;
  upgrade(request: IncomingMessage, socket: Socket, head: Buffer, target: string): void;
  /** WebSockets and event streams end, and nothing new of them begins; the rest may finish. */
  close(): void;
  /** Ends what still runs: with an answer of our own where none has begun. */
  cut(): void;
}

export type PassthroughRooms = JourneyRooms &
  GuardRules & {
    /** Hops whose forwarding fields are believed. */
    readonly trustProxy: number;
    /** What backends get as `Host`. */
    readonly backendHost: BackendHost;
    /** The proxy's name in `Mcp-Affinity-Via`. */
    readonly self: string;
    /** The MCP endpoints' paths. */
    readonly path: readonly string[];
  };

type Running = { readonly passing: Passing; readonly journey: Journey };

export function createPassthrough(rooms: PassthroughRooms): Passthrough {
  const running = new Map<IncomingMessage, Running>();
  const agents = createAgents();
  const wayOf = createWays(agents, running, rooms.backendHost);
  const refuseWrongPath = createWrongPath(rooms);
  let closing = false;

  function run(request: IncomingMessage, of: Running, until: Socket | ServerResponse): void {
    running.set(request, of);
    until.once('close', () => running.delete(request));
    if (closing) of.passing.close();
  }

  return {
    enter(request, response, target) {
      if (response.destroyed) return;
      const cors = corsOf(request, rooms);
      if (request.method === 'TRACE') return refuseHere(response, TRACE, cors, ['allow', METHODS]);
      const chunked = request.headers['transfer-encoding'] !== undefined;
      prepare(request, target, rooms, chunked ? { 'transfer-encoding': 'chunked' } : {});
      const journey = startJourney(rooms, request.rawHeaders);
      const own = { cors, wrongPath: (status: 404 | 502): Refusal => refuseWrongPath(status, target) };
      const passing: PassedRequest = new PassedRequest(request, response, journey, own, () => {
        const fail = (error?: unknown): void => passing.failed(asError(error));
        wayOf(request, journey)(request, response, fail).catch(fail);
      });
      run(request, { passing, journey }, response);
      void passing.start();
    },
    upgrade(request, socket, head, target) {
      if (closing) return refuseUpgrade(request, socket, CLOSED);
      prepare(request, target, rooms, { connection: 'Upgrade', upgrade: 'websocket' });
      const journey = startJourney(rooms, request.rawHeaders);
      const passing = passUpgrade(request, socket, journey);
      run(request, { passing, journey }, socket);
      // They are read later: until then an end that follows them must wait.
      if (head.length > 0) socket.unshift(head);
      const go = (reached: boolean): void => {
        if (socket.destroyed) return;
        if (closing) passing.refuse(CLOSED);
        else if (reached) wayOf(request, journey).upgrade(request, socket, NO_HEAD);
        else passing.refuse(NO_BACKEND);
      };
      reach(journey).then(go, (error: unknown) => passing.failed(asError(error)));
    },
    close() {
      closing = true;
      for (const { passing } of running.values()) passing.close();
    },
    cut() {
      for (const { passing } of running.values()) passing.cut();
      agents.close();
    },
  };
}

/** How a request gets to the backend that its journey has chosen. */
function createWays(
  agents: ReturnType<typeof createAgents>,
  running: ReadonlyMap<IncomingMessage, Running>,
  backendHost: BackendHost,
) {
  const way = (agent: (typeof agents)['http' | 'https']) =>
    createProxyMiddleware({
      router: (request) => running.get(request)?.journey.to?.origin ?? '',
      agent,
      // Fields, errors and ends are ours: what it does by itself logs, and tells the client who did not answer.
      selfHandleResponse: true,
      ejectPlugins: true,
      plugins: [telling((request) => running.get(request)?.passing)],
    });
  const ways = { http: way(agents.http), https: way(agents.https) };
  return (request: IncomingMessage, { to }: Journey) => ways[aim(request, to?.origin ?? '', backendHost)];
}

const NO_HEAD = Buffer.alloc(0);

/** Chooses a backend that takes connections: an upgrade that has been sent cannot go elsewhere. False when none is left. */
async function reach(journey: Journey): Promise<boolean> {
  while (journey.next()) {
    const cause = await connectFault(journey.to?.origin ?? '');
    if (cause === undefined) return true;
    journey.unreached(cause);
  }
  return false;
}

/** What is sent on is read from the request itself. */
function prepare(
  request: IncomingMessage,
  target: string,
  { trustProxy, self }: PassthroughRooms,
  more: Record<string, string>,
): void {
  request.url = target;
  const headers = passedHeaders(request, trustProxy);
  const via = [...[headers[HEADER.affinityVia] ?? []].flat(), self].join(', ');
  request.headers = { ...headers, ...more, [HEADER.affinityVia]: via };
}

/** Sets the `Host` for that backend; returns the scheme of the way there. */
function aim(request: IncomingMessage, origin: string, setting: BackendHost): 'http' | 'https' {
  request.headers.host = hostFor(setting, origin) ?? headerValue(request.rawHeaders, 'host');
  return origin.startsWith('https:') ? 'https' : 'http';
}

/** What happens to a request is told to the one who waits for it; a listener that throws would end the process. */
function telling(passingOf: (request: IncomingMessage) => Passing | undefined): Plugin {
  return (proxy) => {
    proxy.on('proxyReq', (sent, request) => passingOf(request)?.sending(sent));
    proxy.on('proxyReqWs', (sent, request) => passingOf(request)?.sending(sent));
    proxy.on('proxyRes', (answer, request) => passingOf(request)?.answered?.(answer));
    proxy.on('error', (error, request) => {
      if (request !== undefined) passingOf(request)?.failed(error);
    });
  };
}

/** It shows a page what its own requests bear, and the backend's way to the client (RFC 9110, section 9.3.8). */
const TRACE = { status: 405, code: CODE.server, message: 'Method not allowed' };
const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';

function refuseHere(
  response: ServerResponse,
  refusal: typeof TRACE,
  cors: Cors | undefined,
  extra: RawHeaders = [],
): void {
  refuse(new ResponseSink(response, { closing: () => true, cors }), refusal, [], extra);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(`no way for it: ${String(error)}`);
}
