/** A real backend's other paths: JSON, uploads, downloads, event streams, redirects, cookies, gzip, a WebSocket echo. */

import { createHash } from 'node:crypto';
import { type IncomingMessage, type RequestListener, type ServerResponse, createServer } from 'node:http';
import type { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { WebSocketServer } from 'ws';
import { until } from './until.ts';

export type Site = {
  readonly name: string;
  readonly origin: string;
  /** Method and target of every request, in order. */
  readonly asked: readonly string[];
  /** Connections so far, and those that are open. */
  readonly connections: { readonly all: number; readonly open: number };
  /** Requests to /slow that wait for their answer. */
  readonly waiting: readonly ServerResponse[];
  /** The answer to the last /events. */
  readonly events: () => Promise<ServerResponse>;
  /** The targets of requests that ended before their answer was whole. */
  readonly left: readonly string[];
  /** WebSockets that are open. */
  readonly talking: () => number;
  readonly close: () => Promise<void>;
};

/** What `GET /json` answers. */
export type Told = { readonly name: string; readonly url: string; readonly fields: readonly string[] };

const PIECE = Buffer.alloc(64 * 1024, 'x');

export async function startSite(name: string): Promise<Site> {
  const asked: string[] = [];
  const left: string[] = [];
  const waiting: ServerResponse[] = [];
  const events: ServerResponse[] = [];
  const sockets = new Set<Socket>();
  let all = 0;
  const pages = pagesOf(name, waiting, events);
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.once('close', () => {
      if (!response.writableFinished) left.push(request.url ?? '');
    });
    // Who is cut off need not say so.
    request.on('error', () => {});
    const { pathname } = new URL(request.url ?? '', 'http://site');
    (pages[pathname] ?? notFound)(request, response);
  });
  const echo = startEcho(server);
  server.on('connection', (socket) => {
    all += 1;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    name,
    origin: `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`,
    asked,
    left,
    waiting,
    get connections() {
      return { all, open: sockets.size };
    },
    events: () => until('the events are asked for', () => events.at(-1)),
    talking: () => echo.clients.size,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A WebSocket at /echo; at /closed the upgrade gets a 401, at /dead nothing, at /waiting it waits. */
function startEcho(server: ReturnType<typeof createServer>): WebSocketServer {
  const echo = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => {});
    if (request.url?.startsWith('/closed')) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nmcp-affinity-x: 1\r\ncontent-length: 2\r\n\r\nno');
      return;
    }
    if (request.url?.startsWith('/waiting')) return;
    if (request.url?.startsWith('/dead')) {
      socket.destroy();
      return;
    }
    echo.handleUpgrade(request, socket, head, (client) => {
      client.send(JSON.stringify(request.rawHeaders));
      client.on('error', () => {});
      client.on('message', (data, binary) => client.send(data, { binary }));
    });
  });
  return echo;
}

function pagesOf(
  name: string,
  waiting: ServerResponse[],
  events: ServerResponse[],
): Readonly<Record<string, RequestListener | undefined>> {
  return {
    '/json': (request, response) => {
      const told: Told = { name, url: request.url ?? '', fields: request.rawHeaders };
      answer(response, 200, JSON.stringify(told), { 'content-type': 'application/json' });
    },
    '/upload': (request, response) => {
      void digest(request).then((text) => answer(response, 201, text, { 'content-type': 'application/json' }));
    },
    '/download': ({ url = '' }, response) => {
      const pieces = Number(new URL(url, 'http://site').searchParams.get('pieces'));
      Readable.from(Array.from({ length: pieces }, () => PIECE)).pipe(response);
    },
    '/events': (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }).flushHeaders();
      events.push(response);
    },
    '/redirect': (_request, response) => {
      const cookies = ['a=1; Domain=inner.test; Path=/x', 'b=2'];
      answer(response, 302, '', { location: 'http://inner.test:3000/next', 'set-cookie': cookies });
    },
    '/gzip': (_request, response) => {
      answer(response, 200, gzipSync('plain'), { 'content-encoding': 'gzip', etag: '"1"' });
    },
    '/slow': (_request, response) => waiting.push(response),
    '/half': (_request, response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('half', () => response.socket?.resetAndDestroy());
    },
    '/half-chunked': (_request, response) => {
      response.write('half', () => response.socket?.end());
    },
    '/dead': (_request, response) => response.destroy(),
    '/refusing-upload': (_request, response) => {
      answer(response, 413, 'too much', { connection: 'close' });
    },
  };
}

const notFound: RequestListener = (_request, response) => answer(response, 404, 'the site has no such page');

function answer(
  response: ServerResponse,
  status: number,
  body: string | Buffer,
  headers: Record<string, string | string[]> = {},
): void {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body);
}

/** How many bytes, which, in what framing, and how many pieces. */
async function digest(request: IncomingMessage): Promise<string> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const piece of request as AsyncIterable<Buffer>) {
      hash.update(piece);
      bytes += piece.length;
    }
  } catch {
    // The client left: nobody reads this.
  }
  const { 'content-length': length, 'transfer-encoding': coding } = request.headers;
  return JSON.stringify({ bytes, sha256: hash.digest('hex'), length, coding });
}
