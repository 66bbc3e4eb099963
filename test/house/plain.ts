/** A plain stateful MCP server, of nobody's library: the test says how it answers, and sees what it ran and what is open. */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { z } from 'zod';

const MESSAGE = z.object({
  id: z.union([z.string(), z.number()]).optional(),
  method: z.string().optional(),
  params: z.object({ name: z.string().optional(), protocolVersion: z.string().optional() }).nullish(),
});
const TOOLS = [
  { name: 'count', inputSchema: { type: 'object' } },
  { name: 'read', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
];

/** What a request was about: its session and its method, of a tool its name. */
export type Asked = {
  readonly what: string;
  readonly id: string | number | undefined;
  readonly session: string;
  /** The body as it came. */
  readonly body: string;
  readonly known: boolean;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
};

export type Plain = {
  readonly origin: string;
  /** Methods, and names of tools, that ran in a session it knew, in order. */
  readonly ran: string[];
  /** All that it was asked, in order, `initialize` included. */
  readonly asked: string[];
  /** Its sessions, each with what it has counted. */
  readonly sessions: Map<string, number>;
  /** All listening streams that it has begun. */
  readonly streams: { readonly session: string; readonly response: ServerResponse }[];
  /** Takes a request over before anything runs: true when it has, or will, answer it. */
  before: (asked: Asked) => boolean;
  /** Answers in its own way after the tool or method has run: true when it has. */
  after: (asked: Asked) => boolean;
  /** How it says that it does not know a session. */
  unknown: (asked: Asked) => void;
  /** As a process does that is started again: sessions and connections are gone. */
  restart(): Promise<void>;
  close(): Promise<void>;
};

export function sayJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', ...body }));
}

export function sayText(response: ServerResponse, status: number, body: string, type = 'text/html'): void {
  response.writeHead(status, { 'content-type': type }).end(body);
}

/** The name begins the answers of its tool `count`, as in `a1`. Without an override GET is answered by an open stream. */
export async function startPlain(name: string): Promise<Plain> {
  const sockets = new Set<Socket>();
  const plain: Omit<Plain, 'origin' | 'restart' | 'close'> = {
    ran: [],
    asked: [],
    sessions: new Map(),
    streams: [],
    before: () => false,
    after: () => false,
    unknown: ({ response, id }) => {
      const error = { code: -32_001, message: 'Session not found' };
      sayJson(response, 404, { id: id ?? null, error });
    },
  };
  const server = createServer((request, response) => {
    serve(name, plain, request, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return Object.assign(plain, {
    origin: `http://127.0.0.1:${port}`,
    async restart() {
      plain.sessions.clear();
      const closed = [...sockets].map((socket) => once(socket, 'close'));
      server.closeAllConnections();
      await Promise.all(closed);
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

/** Its answer to GET. */
export function beginStream({ streams }: Pick<Plain, 'streams'>, { session, response }: Asked): void {
  streams.push({ session, response });
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
}

async function serve(
  name: string,
  plain: Omit<Plain, 'origin' | 'restart' | 'close'>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await text(request);
  const { id, method = 'answer', params } = MESSAGE.parse(body === '' ? {} : JSON.parse(body));
  const what = request.method === 'POST' ? (params?.name ?? method) : (request.method ?? '');
  const session = String(request.headers['mcp-session-id'] ?? '');
  const asked: Asked = { what, id, session, body, known: plain.sessions.has(session), request, response };
  plain.asked.push(what);
  if (plain.before(asked)) return;
  if (what === 'initialize') {
    const opened = `${name}-${randomUUID()}`;
    plain.sessions.set(opened, 0);
    response.setHeader('mcp-session-id', opened);
    if (plain.after({ ...asked, session: opened })) return;
    const serverInfo = { name: 'plain', version: '1' };
    const capabilities = { tools: {} };
    sayJson(response, 200, { id, result: { protocolVersion: params?.protocolVersion, capabilities, serverInfo } });
    return;
  }
  if (!asked.known) return plain.unknown(asked);
  if (what === 'GET') return beginStream(plain, asked);
  plain.ran.push(what);
  if (what === 'count') plain.sessions.set(session, (plain.sessions.get(session) ?? 0) + 1);
  const counted = `${name}${plain.sessions.get(session) ?? 0}`;
  if (plain.after(asked)) return;
  if (what === 'DELETE') plain.sessions.delete(session);
  if (id === undefined) return void response.writeHead(what === 'DELETE' ? 200 : 202).end();
  const result = what === 'tools/list' ? { tools: TOOLS } : { content: [{ type: 'text', text: counted }] };
  return sayJson(response, 200, { id, result: what === 'ping' ? {} : result });
}
