/** The server behind every peer: just enough of MCP to open sessions and to answer calls at hardly any cost. */

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { announce } from './processes.ts';

const CALL = z.object({
  id: z.union([z.number(), z.string()]).optional(),
  method: z.string(),
  params: z.object({ name: z.string().optional() }).default({}),
});
type Call = z.infer<typeof CALL>;

const TEXT = 'as long as the answer of an ordinary tool '.repeat(5);

function resultOf({ method }: Call): object {
  if (method !== 'initialize') return { content: [{ type: 'text', text: TEXT }] };
  return { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'bench', version: '1' } };
}

function answer(request: IncomingMessage, response: ServerResponse, body: string): void {
  const call = CALL.parse(JSON.parse(body === '' ? '{"method":"DELETE"}' : body));
  if (call.id === undefined) return void response.writeHead(202).end();
  const text = JSON.stringify({ jsonrpc: '2.0', id: call.id, result: resultOf(call) });
  const session = request.headers['mcp-session-id'] ?? randomUUID();
  if (call.params.name !== 'stream') {
    const length = Buffer.byteLength(text);
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': length,
      'mcp-session-id': session,
    });
    response.end(text);
    return;
  }
  // As the SDK's servers do it: the head goes out at once, the event and the end together a moment later.
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'mcp-session-id': session,
  });
  response.flushHeaders();
  setImmediate(() => response.end(`event: message\ndata: ${text}\n\n`));
}

const server = createServer((request, response) => {
  if (request.method === 'GET') return response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => answer(request, response, Buffer.concat(chunks).toString()));
});
announce(server);
