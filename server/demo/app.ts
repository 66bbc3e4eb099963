/** The sample server as an Express app: one MCP endpoint with a session per client, or without any, and its health. */

import { randomUUID } from 'node:crypto';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { localhostHostValidation } from '@modelcontextprotocol/sdk/server/middleware/hostHeaderValidation.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { CODE, HEADER } from '../../proxy/contract.ts';
import type { Drain } from '../drain.ts';
import type { SessionState } from '../state.ts';
import { offerClock, startClock } from './clock.ts';
import { sayRelease } from '../release.ts';
import { liveSessions, type LiveSession } from './sessions.ts';
import { offerStateTools } from './state-tools.ts';
import { offerTools, type Task } from './tools.ts';

export type DemoOptions = {
  readonly task: Task;
  /** Said to proxies, if there is one. */
  readonly release?: number | undefined;
  /** The address listened on: on a loopback one only loopback Host headers are served (DNS rebinding). */
  readonly host: string;
  readonly path: string;
  readonly stateless: boolean;
  readonly sessionTtlSeconds: number;
  readonly clockMs: number;
  /** Hands sessions over that came through a proxy. */
  readonly drain?: Drain | undefined;
  readonly state: SessionState;
  /** What `/health` calls the store. */
  readonly storeName: string;
  /** Further tools, registered on each session's server. */
  readonly extend?: ((server: McpServer, task: Task) => void) | undefined;
};

export type Demo = {
  readonly app: Express;
  /** Sessions that live here. */
  readonly sessions: () => number;
  /** Ends the listening streams, so that what still runs can finish alone. */
  hush(): void;
  /** Ends every session here and the clock; what still runs is cut off. */
  close(): Promise<void>;
};

/** As much as the SDK's own transport takes. */
const LARGEST_BODY = 4 * 1024 * 1024;
const METHODS = ['GET', 'POST', 'DELETE'];
const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost']);

/** Builds the sample server; it does not listen. */
export function createDemo(options: DemoOptions): Demo {
  const sessions = liveSessions(options.sessionTtlSeconds);
  const clock = startClock(options.clockMs, () => sessions.all());
  const endpoint = options.stateless ? stateless : stateful;

  const app = express().disable('x-powered-by');
  app.use(sayRelease(options.release));
  app.get('/health', (_request, response) => {
    const { task, storeName, drain } = options;
    const counted = { active_sessions: sessions.size, session_store: storeName };
    const status = drain?.draining ? 'draining' : 'healthy';
    response.status(drain?.draining ? 503 : 200);
    response.json({ status, taskId: task.id, version: task.version, ...counted });
  });
  if (LOOPBACK.has(options.host)) app.use(options.path, localhostHostValidation());
  if (options.drain) app.use(options.path, options.drain.middleware);
  app.use(options.path, express.json({ limit: LARGEST_BODY }));
  app.all(options.path, endpoint({ sessions, create }));
  app.use(refuseBadBody);

  function create(transport: StreamableHTTPServerTransport): LiveSession {
    const memory = { counter: 0, subscriptions: new Set<string>() };
    const capabilities = { logging: {}, resources: { subscribe: true } };
    const server = new McpServer({ name: 'mcp-affinity-demo', version: options.task.version }, { capabilities });
    offerTools(server, options.task, memory, clock);
    offerStateTools(server, options.task, options.state);
    offerClock(server, clock, memory, options.task.id);
    options.extend?.(server, options.task);
    return { server, transport, memory };
  }

  return {
    app,
    sessions: () => sessions.size,
    hush() {
      for (const { transport } of sessions.all()) transport.closeStandaloneSSEStream();
    },
    async close() {
      clock.stop();
      await Promise.all([...sessions.all()].map(({ server }) => server.close()));
    },
  };
}

type Endpoint = {
  readonly sessions: ReturnType<typeof liveSessions>;
  readonly create: (transport: StreamableHTTPServerTransport) => LiveSession;
};

/** A session per client, in the memory of this task alone: whoever comes with another's id is told to start over. */
function stateful({ sessions, create }: Endpoint): RequestHandler {
  const open = async (request: Request, response: Response) => {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => sessions.add(id, session),
      onsessionclosed: (id) => sessions.remove(id),
    });
    const session = create(transport);
    await session.server.connect(transport);
    await transport.handleRequest(request, response, request.body);
    // Not accepted, for its Accept header or the like: nobody will ever come back to it.
    if (transport.sessionId === undefined) await session.server.close();
  };

  return async (request, response) => {
    if (!METHODS.includes(request.method)) return refuseMethod(response, METHODS);
    const id = request.get(HEADER.session);
    if (id === undefined) {
      if (request.method === 'POST' && opensSession(request.body)) return open(request, response);
      return refuse(response, 400, CODE.server, 'Bad Request: Mcp-Session-Id header is required');
    }
    const used = sessions.use(id);
    if (!used) return refuse(response, 404, CODE.sessionNotFound, 'Session not found');
    response.once('close', used.release);
    return used.session.transport.handleRequest(request, response, request.body);
  };
}

/** A server for each request, as the SDK wants it; there is nothing to listen to and nothing to end. */
function stateless({ create }: Endpoint): RequestHandler {
  return async (request, response) => {
    if (request.method !== 'POST') return refuseMethod(response, ['POST']);
    const transport = new StreamableHTTPServerTransport();
    const { server } = create(transport);
    response.once('close', () => void server.close());
    await server.connect(transport);
    return transport.handleRequest(request, response, request.body);
  };
}

function opensSession(body: unknown): boolean {
  return Array.isArray(body) ? body.some(isInitializeRequest) : isInitializeRequest(body);
}

function refuseMethod(response: Response, allowed: readonly string[]): void {
  response.set('Allow', allowed.join(', '));
  refuse(response, 405, CODE.server, 'Method not allowed');
}

function refuse(response: Response, status: number, code: number, message: string): void {
  response.status(status).json({ jsonrpc: '2.0', error: { code, message }, id: null });
}

const refuseBadBody: ErrorRequestHandler = (error: unknown, _request, response, next) => {
  if (response.headersSent) return next(error);
  const status = typeof error === 'object' && error && 'status' in error ? error.status : undefined;
  if (status === 400) return refuse(response, 400, CODE.parse, 'Parse error');
  if (status === 413) return refuse(response, 413, CODE.server, 'Request body too large');
  if (status === 415) return refuse(response, 415, CODE.server, 'Unsupported encoding');
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  return refuse(response, 500, CODE.internal, 'Internal error');
};
