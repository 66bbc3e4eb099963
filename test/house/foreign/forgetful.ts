/** A server that says in its own way that it does not know a session, forgets at a word, and relays what others say. */

import { once } from 'node:events';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { z } from 'zod';

/** How it answers a request of a session that it does not know. */
export type Manner = '200 with an error' | '400';

export type Forgetful = {
  readonly origin: string;
  /** The methods that it was sent in a session it knew, in order; of a tool its name. */
  readonly served: string[];
  /** The methods of requests whose session it did not know. */
  readonly unknown: string[];
  /** Forgets all sessions, and from now on answers `initialize` with the status, if one is given. */
  forget(status?: number): void;
  /** Forgets all sessions as a process does that is started again: its connections are closed. */
  restart(): Promise<void>;
  /** Breaks off the next ping, having forgotten all sessions by then. */
  breakOff(): void;
  close(): Promise<void>;
};

const MESSAGE = z.object({
  id: z.union([z.string(), z.number()]).optional(),
  method: z.string(),
  params: z.object({ name: z.string().optional(), protocolVersion: z.string().optional() }).optional(),
});
const TOOLS = [
  { name: 'read', inputSchema: { type: 'object' }, annotations: { readOnlyHint: true } },
  { name: 'write', inputSchema: { type: 'object' } },
  { name: 'relay', inputSchema: { type: 'object' } },
  { name: 'relay-400', inputSchema: { type: 'object' } },
];

/** The name is the prefix of its session ids. `relay` answers with the words of another server that has lost a session. */
export async function startForgetful(name: string, manner: Manner): Promise<Forgetful> {
  const sessions = new Set<string>();
  const served: string[] = [];
  const unknown: string[] = [];
  let issued = 0;
  let breaking = false;
  let refusing: number | undefined;

  function say(response: ServerResponse, status: number, message: object, id?: string): void {
    response.writeHead(status, {
      'content-type': 'application/json',
      ...(id !== undefined && { 'mcp-session-id': id }),
    });
    response.end(JSON.stringify({ jsonrpc: '2.0', ...message }));
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method !== 'POST') return void response.writeHead(405, { 'content-length': '0' }).end();
    const { id, method, params } = MESSAGE.parse(JSON.parse(await text(request)));
    const error = { code: -32_000, message: manner === '400' ? 'No valid session ID provided' : 'Session not found' };
    if (method === 'initialize' && refusing !== undefined) return say(response, refusing, { id, error });
    if (method === 'initialize') {
      issued += 1;
      const opened = `${name}-${issued}`;
      sessions.add(opened);
      const serverInfo = { name: 'forgetful', version: '1' };
      const result = { protocolVersion: params?.protocolVersion, capabilities: { tools: {} }, serverInfo };
      return say(response, 200, { id, result }, opened);
    }
    const what = params?.name ?? method;
    if (breaking && what === 'ping') {
      breaking = false;
      return void request.socket.destroy();
    }
    if (!sessions.has(String(request.headers['mcp-session-id']))) {
      unknown.push(what);
      return say(response, manner === '400' ? 400 : 200, { id: id ?? null, error });
    }
    served.push(what);
    if (id === undefined) return void response.writeHead(202, { 'content-length': '0' }).end();
    if (what === 'relay') return say(response, 200, { id, error: { code: -32_000, message: 'Session not found' } });
    if (what === 'relay-400') return say(response, 400, { id, error: { code: -32_000, message: 'Invalid session' } });
    const content = [{ type: 'text', text: `${name}:${what}` }];
    return say(response, 200, { id, result: method === 'tools/list' ? { tools: TOOLS } : { content } });
  }

  const server = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await once(server, 'listening');
  const address = server.address();
  return {
    origin: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    served,
    unknown,
    forget(status) {
      sessions.clear();
      refusing = status;
    },
    async restart() {
      sessions.clear();
      const closed = [...sockets].map((socket) => once(socket, 'close'));
      server.closeAllConnections();
      await Promise.all(closed);
    },
    breakOff() {
      sessions.clear();
      breaking = true;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
