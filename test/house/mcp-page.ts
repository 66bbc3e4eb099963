/** A page of an origin of its own, with the SDK's client in it: its modules as npm brings them, without a bundler. */

import { readFileSync } from 'node:fs';
import { type Server, createServer } from 'node:http';
import { fileURLToPath } from 'node:url';

const MODULES = fileURLToPath(new URL('../../node_modules/', import.meta.url));
const SDK = '/npm/@modelcontextprotocol/sdk/dist/esm';

/** What a bare name of an import leads to. */
const IMPORTS = {
  'zod/v3': '/npm/zod/v3/index.js',
  'zod/v4': '/npm/zod/v4/index.js',
  'zod/v4-mini': '/npm/zod/v4-mini/index.js',
  'eventsource-parser/stream': '/npm/eventsource-parser/dist/stream.js',
  'eventsource-parser': '/npm/eventsource-parser/dist/index.js',
  'zod-to-json-schema': '/npm/zod-to-json-schema/dist/esm/index.js',
  'pkce-challenge': '/npm/pkce-challenge/dist/index.browser.js',
  'content-type': '/commonjs/content-type/index.js',
  // Of schemas of results, which are not checked here.
  ajv: '/none.js',
  'ajv-formats': '/none.js',
};

/** `open(url)` connects a client; the others use it. What is thrown rejects in the test. */
const SCRIPT = `
import { Client } from '${SDK}/client/index.js';
import { StreamableHTTPClientTransport } from '${SDK}/client/streamableHttp.js';
const jsonSchemaValidator = { getValidator: () => (data) => ({ valid: true, data, errorMessage: undefined }) };
let client, transport;
globalThis.mcp = {
  async open(url) {
    client = new Client({ name: 'page', version: '1' }, { jsonSchemaValidator });
    transport = new StreamableHTTPClientTransport(new URL(url));
    await client.connect(transport);
    await client.listTools();
    return transport.sessionId;
  },
  async call(name, args = {}) {
    return (await client.callTool({ name, arguments: args })).structuredContent;
  },
  failure: () => client.ping().then(() => undefined, ({ code, message }) => ({ code, message })),
  end: () => transport.terminateSession(),
  async ask(url, init) {
    const answer = await fetch(url, init);
    const fields = Object.fromEntries(['retry-after', 'mcp-session-id'].map((name) => [name, answer.headers.get(name)]));
    return { status: answer.status, fields, text: await answer.text() };
  },
};
document.title = 'ready';
`;

const PAGE = `<!doctype html>
<link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>
<script type="module">${SCRIPT}</script>`;

export type McpPage = { readonly origin: string; close(): Promise<void> };

export async function servePage(): Promise<McpPage> {
  const server = createServer((request, response) => {
    const { type, text } = contentOf(request.url ?? '/');
    response.writeHead(text === undefined ? 404 : 200, { 'content-type': type }).end(text);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return { origin: `http://localhost:${portOf(server)}`, close: () => closed(server) };
}

function contentOf(path: string): { readonly type: string; readonly text: string | undefined } {
  const script = 'text/javascript; charset=utf-8';
  if (path === '/') return { type: 'text/html; charset=utf-8', text: PAGE };
  if (path === '/none.js') return { type: script, text: 'export class Ajv {}\nexport default () => {};' };
  if (path.startsWith('/npm/')) return { type: script, text: read(path.slice('/npm/'.length)) };
  if (!path.startsWith('/commonjs/')) return { type: 'text/plain', text: undefined };
  const text = read(path.slice('/commonjs/'.length));
  return { type: script, text: `const exports = {};\n${text}\nexport default exports;` };
}

function read(file: string): string | undefined {
  try {
    return readFileSync(MODULES + file, 'utf8');
  } catch {
    return undefined;
  }
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

function closed(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
