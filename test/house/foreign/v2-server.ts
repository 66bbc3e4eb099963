/** A server of the v2 SDK: sessions for the older revisions, and 2026-07-28 without them, at one endpoint. */

import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler, isLegacyRequest } from '@modelcontextprotocol/server';
import { z } from 'zod';

/** `greet` answers the same everywhere; `where` says which server it is. */
function newServer(): McpServer {
  const server = new McpServer({ name: 'v2', version: '1.0.0' });
  const greeting = { description: 'A greeting', inputSchema: z.object({ name: z.string() }) };
  server.registerTool('greet', greeting, ({ name }) => ({ content: [{ type: 'text', text: `Hello, ${name}!` }] }));
  server.registerTool('where', { description: 'Which server answers', annotations: { readOnlyHint: true } }, () => ({
    content: [{ type: 'text', text: String(process.env['PORT']) }],
  }));
  return server;
}

const sessions = new Map<string, NodeStreamableHTTPServerTransport>();

async function sessionful(request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> {
  const id = request.headers['mcp-session-id'];
  if (id === undefined) {
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (opened) => void sessions.set(opened, transport),
      onsessionclosed: (closed) => void sessions.delete(closed),
    });
    await newServer().connect(transport);
    return transport.handleRequest(request, response, body);
  }
  const known = sessions.get(String(id));
  if (known !== undefined) return known.handleRequest(request, response, body);
  response.writeHead(404, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_001, message: 'Session not found' } }));
}

const sessionless = toNodeHandler(createMcpHandler(() => newServer(), { legacy: 'reject' }));

async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const request = Object.assign(incoming, { method: incoming.method ?? '', url: incoming.url ?? '/' });
  if (request.method !== 'POST') return sessionful(request, response, undefined);
  const read = await toWebRequest(request);
  const body: unknown = await read.clone().json();
  await ((await isLegacyRequest(read, body))
    ? sessionful(request, response, body)
    : sessionless(request, response, body));
}

createServer((request, response) => {
  serve(request, response).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    response.destroy();
  });
}).listen(Number(process.env['PORT']), '127.0.0.1');
