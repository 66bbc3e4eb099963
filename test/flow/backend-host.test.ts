/** What backends get as Host, on every way there: servers that check it are reached, and TLS follows the backend's own name. */

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, request as httpRequest } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { WebSocket, WebSocketServer } from 'ws';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { INITIALIZE } from '../house/edge.ts';
import { listen } from '../house/listen.ts';
import { newCertificate } from '../house/redis/tls.ts';
import { soon, until } from '../house/until.ts';

const PUBLIC = 'mcp.example.com';

/** A backend of few words. It opens one session, and then knows none. */
async function startBackend() {
  const seen: { readonly what: string; readonly headers: IncomingHttpHeaders }[] = [];
  const answer = (asked: IncomingMessage, response: ServerResponse, body: string): void => {
    const message: unknown = body.startsWith('{') ? JSON.parse(body) : undefined;
    const method = typeof message === 'object' && message && 'method' in message ? String(message.method) : '';
    const id = typeof message === 'object' && message && 'id' in message ? message.id : undefined;
    seen.push({ what: `${asked.method} ${method || asked.url}`, headers: asked.headers });
    if (method === 'initialize') response.setHeader('mcp-session-id', randomUUID());
    response.statusCode = method === 'tools/list' || method === 'ping' ? 404 : 200;
    response.setHeader('content-type', asked.method === 'GET' ? 'text/event-stream' : 'application/json');
    const opened = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'x', version: '1' } };
    response.end(asked.method === 'GET' ? 'data: x\n\n' : JSON.stringify({ jsonrpc: '2.0', id, result: opened }));
  };
  const { server, port } = await listen((asked, response) => {
    const take = (body: string): void => answer(asked, response, body);
    void text(asked).then(take);
  });
  server.on('upgrade', (asked, socket) => {
    seen.push({ what: 'upgrade', headers: asked.headers });
    socket.end('HTTP/1.1 400 No\r\n\r\n');
  });
  return { seen, port, origin: `http://127.0.0.1:${port}` };
}

test.each<[setting: string, flags: readonly string[], host: (port: number) => string]>([
  ['by default', [], (port) => `localhost:${port}`],
  ['keep', ['--backend-host', 'keep'], () => PUBLIC],
  ['origin', ['--backend-host', 'origin'], (port) => `127.0.0.1:${port}`],
  ['a name', ['--backend-host', 'Inner.test:81'], () => 'Inner.test:81'],
])('%s: on each way to a backend; X-Forwarded-Host and Forwarded are the client’s', async (_setting, flags, host) => {
  const backends = [await startBackend(), await startBackend()];
  const origins = backends.map(({ origin }) => origin);
  const proxy = await startProxy(origins, ['--allowed-host', PUBLIC, '--hold-seconds', '0', ...flags]);
  onTestFinished(() => proxy.stop());
  const { headers } = await ask(proxy, PUBLIC, { method: 'POST', body: INITIALIZE });
  const session = { 'mcp-session-id': String(headers['mcp-session-id']) };
  await ask(proxy, PUBLIC, { method: 'GET', headers: session });
  await ask(proxy, PUBLIC, { method: 'POST', body: { jsonrpc: '2.0', id: 1, method: 'tools/list' }, headers: session });
  await ask(proxy, PUBLIC, { method: 'DELETE', headers: session });
  await ask(proxy, PUBLIC, { method: 'GET', path: '/page' });
  await ask(proxy, PUBLIC, {
    method: 'GET',
    path: '/socket',
    headers: { connection: 'upgrade', upgrade: 'websocket' },
  });
  const kinds = ['POST initialize', 'GET /mcp', 'POST tools/list', 'DELETE /mcp', 'GET /page', 'upgrade'];
  await until('each has come', () => {
    const seen = backends.flatMap((one) => one.seen.map(({ what }) => what));
    return kinds.every((kind) => seen.includes(kind)) && seen.filter((what) => what === kinds[0]).length > 1;
  });
  for (const { seen, port } of backends) {
    for (const { headers: fields } of seen) {
      const { host: told, 'x-forwarded-host': outer, forwarded } = fields;
      expect([told, outer, forwarded]).toEqual([host(port), PUBLIC, `for=127.0.0.1;proto=http;host=${PUBLIC}`]);
    }
  }
});

type Asked = { method: string; path?: string; body?: object; headers?: Record<string, string> };
async function ask(
  { url }: TestProxy,
  host: string,
  { path = '/mcp', body, ...rest }: Asked,
): Promise<IncomingMessage> {
  const headers = { host, 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const asked = httpRequest(new URL(path, url), { ...rest, headers: { ...headers, ...rest.headers } });
  asked.end(body && JSON.stringify(body));
  const answer = await soon(
    'the answer',
    new Promise<IncomingMessage>((resolve, reject) => asked.once('response', resolve).once('error', reject)),
  );
  answer.resume();
  return answer;
}

async function statusOf(proxy: TestProxy, host: string): Promise<number | undefined> {
  return (await ask(proxy, host, { method: 'POST', body: INITIALIZE })).statusCode;
}

test.each([
  ['the guard of the TypeScript SDK', () => Promise.resolve(createMcpExpressApp()), 403],
  ['one that takes no name but localhost with its port, as Playwright MCP’s', () => Promise.resolve(undefined), 403],
])('%s lets the proxy in, and a public name not', async (_what, make, refused) => {
  const app = await make();
  app?.post('/mcp', (_request, response) => void response.json({}));
  const { server, port } = await listen(
    app ??
      ((asked, response) => {
        asked.resume();
        response.statusCode = asked.headers.host === `localhost:${portOf(server)}` ? 200 : 403;
        response.end();
      }),
  );
  const origin = `http://127.0.0.1:${port}`;
  const flags = ['--allowed-host', PUBLIC];
  const proxies = [await startProxy([origin], flags), await startProxy([origin], [...flags, '--backend-host', 'keep'])];
  onTestFinished(async () => void (await Promise.all(proxies.map((proxy) => proxy.stop()))));
  expect(await Promise.all(proxies.map((proxy) => statusOf(proxy, PUBLIC)))).toEqual([200, refused]);
});

function portOf(server: { address(): AddressInfo | string | null }): number {
  const address = server.address();
  return typeof address === 'object' && address ? address.port : 0;
}

describe.each([
  ['localhost', 'DNS:localhost', 'localhost'],
  ['127.0.0.1', 'IP:127.0.0.1', false],
])('https://%s: its certificate is checked, and asked for, by that name', (name, names, sni) => {
  test.each([[['--backend-host', 'keep']], [[]]])('%j', async (flags) => {
    const { folder, key, certificate } = await newCertificate(names);
    const [cert, secret] = [readFileSync(certificate, 'utf8'), readFileSync(key)];
    rmSync(folder, { recursive: true });
    const before = getCACertificates('default');
    setDefaultCACertificates([...before, cert]);
    const asked: TLSSocket[] = [];
    const server = createTlsServer({ key: secret, cert }, (incoming, response) => {
      incoming.resume().once('end', () => response.setHeader('content-type', 'application/json').end('{}'));
    });
    server.on('secureConnection', (socket) => asked.push(socket));
    const sockets = new WebSocketServer({ server, path: '/socket' });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = await startProxy(
      [`https://${name}:${portOf(server)}`],
      ['--allowed-host', PUBLIC, '--allowed-host', 'other.example.com', ...flags],
    );
    onTestFinished(async () => {
      await proxy.stop();
      for (const socket of asked) socket.destroy();
      sockets.close();
      server.close();
      setDefaultCACertificates(before);
    });
    await until('a check has passed', () => !proxy.events.some(({ type }) => type === 'checks'));
    const first = asked.length;
    for (const host of [PUBLIC, 'other.example.com', PUBLIC]) expect(await statusOf(proxy, host)).toBe(200);
    // One connection for all: the next Host needs no other.
    expect(asked.slice(first).filter(({ bytesRead }) => bytesRead > 0).length).toBeLessThanOrEqual(2);
    expect((await ask(proxy, PUBLIC, { method: 'GET', path: '/page' })).statusCode).toBe(200);
    const socket = new WebSocket(new URL('/socket', proxy.url.replace('http', 'ws')), { headers: { host: PUBLIC } });
    await soon('the WebSocket', once(socket, 'open'));
    socket.terminate();
    for (const one of asked.slice(first)) expect(one.servername || false).toBe(sni);
  });
});
