/** A backend in this process that drains: an SDK server behind our middleware, and an SDK client as if behind a proxy. */

import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createDrain, type Drain, type DrainOptions } from '../../server/index.ts';

/** What a proxy adds to its requests. */
export const PROXIED = { 'mcp-affinity-backend': '127.0.0.1:1' };
const SCHEMA = { type: 'object' as const, properties: { yes: { type: 'boolean' as const } } };

export type Listening = { readonly origin: string; readonly close: () => Promise<void> };

export async function listen(listener: RequestListener): Promise<Listening> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const close = async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
  return { origin: `http://127.0.0.1:${port}`, close };
}

/** A drain that neither hears signals nor ends this process. */
export function testDrain(options: DrainOptions = {}): Drain {
  return createDrain({ signals: [], exit: false, graceSeconds: 20, ...options });
}

/** `handle` behind the middleware, on bare node:http. */
export function drained(drain: Drain, handle: (request: IncomingMessage, response: ServerResponse) => void) {
  return listen((request, response) => drain.middleware(request, response, () => handle(request, response)));
}

export type Sessions = {
  readonly handle: (request: IncomingMessage & { readonly body?: unknown }, response: ServerResponse) => Promise<void>;
  /** The sessions' servers, in the order they were opened. */
  readonly servers: McpServer[];
  /** Errors that servers and their transports reported. */
  readonly errors: Error[];
  /** Lets `hold` return. */
  readonly release: () => void;
  /** What `ask_later` was answered. */
  readonly said: unknown[];
};

/** Sessions of SDK servers with the tools `ping`, `hold`, `ask` (in the call's stream) and `ask_later` (outside it). */
export function sdkSessions(): Sessions {
  const transports = new Map<string, StreamableHTTPServerTransport>();
  const servers: McpServer[] = [];
  const errors: Error[] = [];
  const said: unknown[] = [];
  const held = Promise.withResolvers<void>();
  const text = (words: string) => ({ content: [{ type: 'text' as const, text: words }] });

  const open = async () => {
    const server = new McpServer({ name: 'test', version: '1' });
    const ask = (extra: { relatedRequestId?: string | number }) =>
      server.server.elicitInput({ message: 'Really?', requestedSchema: SCHEMA }, extra);
    server.registerTool('ping', {}, () => text('pong'));
    server.registerTool('hold', {}, async () => {
      await held.promise;
      return text('held');
    });
    server.registerTool('ask', {}, async ({ requestId }) => text((await ask({ relatedRequestId: requestId })).action));
    server.registerTool('ask_later', {}, () => {
      void ask({}).then((reply) => said.push(reply.action));
      return text('asked');
    });
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void transports.set(id, transport),
      onsessionclosed: (id) => void transports.delete(id),
    });
    Object.assign(server.server, { onerror: (error: Error) => void errors.push(error) });
    await server.connect(transport);
    servers.push(server);
    return transport;
  };

  return {
    servers,
    errors,
    said,
    release: () => held.resolve(),
    async handle(request, response) {
      const id = request.headers['mcp-session-id'];
      const transport = typeof id === 'string' ? transports.get(id) : await open();
      if (!transport) return void response.writeHead(404).end();
      await transport.handleRequest(request, response, request.body);
    },
  };
}

/** A server-sent stream by hand. */
export function startStream(response: ServerResponse, fields: Readonly<Record<string, string>> = {}): void {
  response.writeHead(200, { 'content-type': 'text/event-stream', ...fields });
  response.flushHeaders();
}

export const event = (message: unknown) => `event: message\ndata: ${JSON.stringify(message)}\n\n`;
export const question = (id: string | number) => ({ jsonrpc: '2.0', id, method: 'elicitation/create', params: {} });
export const reply = (id: string | number) => ({ jsonrpc: '2.0', id, result: { action: 'decline' } });
