/** A server of the v1 SDK alone that asks its client, and tells it something, over the listening stream. */

import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type ServerResponse, createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { RootsListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';

/** A question that does not arrive at once is lost. Milliseconds. */
const AT_ONCE = { timeout: 3_000 };

/** `reach` needs the client four times in turn, and says what it was told. Nothing of it belongs to the call's own stream. */
function newServer(isMoved: boolean): McpServer {
  const server = new McpServer(
    { name: 'asking', version: '1.0.0' },
    { capabilities: { logging: {} }, instructions: 'Asks' },
  );
  const { server: session } = server;
  let rootsAtStart: Promise<string> = Promise.resolve('never initialized');
  const roots = async (): Promise<string> => {
    const listed = await session.listRoots({}, AT_ONCE);
    return listed.roots.map(({ uri }) => uri).join(' ');
  };
  /** What it works with: never asked for in a call. */
  let known = 'none';
  const learn = async (): Promise<string> => {
    const listed = await roots();
    // As a file server looks at each root.
    await pause(10);
    known = listed;
    return listed;
  };
  session.oninitialized = () => {
    rootsAtStart = learn().catch(String);
  };
  session.setNotificationHandler(RootsListChangedNotificationSchema, async () => void (await learn()));
  server.registerTool('reach', { inputSchema: { key: z.string() } }, async ({ key }) => {
    const log = (at: number) => session.sendLoggingMessage({ level: 'info', data: `${key} ${at}` });
    // A client that opens a session listens only after its handshake.
    const said: Record<string, string> = isMoved ? { known } : {};
    const ask = async (what: string, question: () => Promise<string>) => {
      said[what] = await question().catch(String);
    };
    await log(1);
    await ask('roots', roots);
    await log(2);
    await ask('sampling', async () => {
      const content = { type: 'text' as const, text: key };
      const sampled = await session.createMessage({ messages: [{ role: 'user', content }], maxTokens: 1 }, AT_ONCE);
      return sampled.content.type === 'text' ? sampled.content.text : sampled.content.type;
    });
    await log(3);
    const requestedSchema = { type: 'object' as const, properties: { key: { type: 'string' as const } } };
    await ask('elicitation', async () => {
      const elicited = await session.elicitInput({ message: key, requestedSchema }, AT_ONCE);
      return String(elicited.content?.['key']);
    });
    await log(4);
    if (isMoved) said['rootsAtStart'] = await rootsAtStart;
    said['port'] = String(process.env['PORT']);
    return { content: [{ type: 'text', text: JSON.stringify(said) }] };
  });
  return server;
}

const sessions = new Map<string, StreamableHTTPServerTransport>();
let listening = 0;

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.url === '/counts') return void response.end(JSON.stringify({ listening, sessions: sessions.size }));
  const id = request.headers['mcp-session-id'];
  const body: unknown = request.method === 'POST' ? await json(request) : undefined;
  if (id === undefined) {
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (opened) => void sessions.set(opened, transport),
      onsessionclosed: (closed) => void sessions.delete(closed),
    });
    await newServer('mcp-affinity-previous' in request.headers).connect(transport);
    return transport.handleRequest(request, response, body);
  }
  if (request.method === 'GET') {
    listening += 1;
    response.once('close', () => {
      listening -= 1;
    });
  }
  const known = sessions.get(String(id));
  if (known !== undefined) return known.handleRequest(request, response, body);
  response.writeHead(404, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32_001, message: 'Session not found' } }));
}

createServer((request, response) => {
  serve(request, response).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    response.destroy();
  });
}).listen(Number(process.env['PORT']), '127.0.0.1');
