/** Small scripted MCP servers with a session each per client: the test says what a new home answers, and to what. */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { z } from 'zod';

const MESSAGE = z.object({ id: z.union([z.string(), z.number()]).optional(), method: z.string().optional() });
const RESULT = {
  protocolVersion: '2025-11-25',
  capabilities: { tools: {} },
  serverInfo: { name: 'home', version: '1' },
};

/** What becomes of an `initialize`: an answer that is no session's beginning, or something else in its result. */
export type Welcome =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly result: object };

export type Home = {
  /** `host:port`, the same after `open`. */
  readonly id: string;
  readonly origin: string;
  readonly sessions: ReadonlySet<string>;
  /** Undefined, as at first: it is taken. */
  welcome: (headers: IncomingMessage['headers']) => Welcome | undefined;
  /** The session id of its next answer to `initialize`; several give the field several times. A UUID, as at first. */
  issues: () => string | string[];
  /** The answers that clients gave to its questions. */
  readonly answers: readonly unknown[];
  /** Says a message on the session's listening stream, which must be open. */
  tell(session: string, message: object): void;
  /** From now on nobody listens at its address. */
  close(): Promise<void>;
  /** Listens again, and has forgotten everything. */
  open(): Promise<void>;
};

type State = {
  readonly sessions: Set<string>;
  readonly streams: Map<string, ServerResponse>;
  readonly answers: unknown[];
  welcome: Home['welcome'];
  issues: Home['issues'];
};

export async function startHome(): Promise<Home> {
  const state: State = {
    sessions: new Set(),
    streams: new Map(),
    answers: [],
    welcome: () => undefined,
    issues: () => randomUUID(),
  };
  let server: Server | undefined;
  let port = 0;
  async function open(): Promise<void> {
    server = createServer((request, response) => void serve(state, `127.0.0.1:${port}`, request, response));
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (typeof address === 'object' && address !== null) port = address.port;
  }
  await open();
  return Object.assign(state, {
    id: `127.0.0.1:${port}`,
    origin: `http://127.0.0.1:${port}`,
    tell(session: string, message: object) {
      const stream = state.streams.get(session);
      if (stream === undefined) throw new Error('Nobody listens');
      stream.write(`data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`);
    },
    open,
    async close() {
      state.sessions.clear();
      server?.closeAllConnections();
      await new Promise((resolve) => server?.close(resolve) ?? resolve(undefined));
    },
  });
}

async function serve(state: State, id: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const json = (status: number, body: object, headers: Readonly<Record<string, string | string[]>> = {}): void => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify({ jsonrpc: '2.0', ...body }));
  };
  const body = await text(request);
  const parsed: unknown = body === '' ? {} : JSON.parse(body);
  const message = MESSAGE.parse(parsed);
  if (message.method === 'initialize') {
    const welcome = state.welcome(request.headers) ?? { result: {} };
    if ('status' in welcome) return json(welcome.status, { error: { code: -32000, message: id } }, welcome.headers);
    const session = state.issues();
    for (const one of [session].flat()) state.sessions.add(one);
    return json(200, { id: message.id, result: { ...RESULT, ...welcome.result } }, { 'mcp-session-id': session });
  }
  const session = String(request.headers['mcp-session-id']);
  if (!state.sessions.has(session)) return json(404, { error: { code: -32001, message: 'Session not found' } });
  if (request.method === 'GET') return listenTo(state, session, response);
  if (request.method === 'DELETE') state.sessions.delete(session);
  if (message.method === undefined && request.method === 'POST') state.answers.push(parsed);
  if (message.id !== undefined && message.method !== undefined)
    return json(200, { id: message.id, result: { home: id } });
  return void response.writeHead(request.method === 'DELETE' ? 200 : 202).end();
}

function listenTo({ streams }: State, session: string, response: ServerResponse): void {
  streams.set(session, response);
  response.once('close', () => streams.delete(session));
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
}
