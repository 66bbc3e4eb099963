/** Floods: what a client or a backend may send to exhaust a proxy, each with how it is sent. */

import { connect } from 'node:net';
import { POSTED, rawOpen } from './by-hand.ts';
import type { Plain } from './plain.ts';

export type Flooded = {
  /** The MCP endpoint. */
  readonly url: string;
  /** The backends; what a flood changes of them it leaves so. */
  readonly backends: readonly Plain[];
  /** Kills a backend for good. */
  readonly kill: (backend: Plain) => Promise<void>;
};

export type Flood = {
  readonly name: string;
  /** Resolves when all of it is sent, and answered where an answer is due. */
  readonly send: (flooded: Flooded) => Promise<void>;
};

const MEGABYTE = 1024 * 1024;
const FULL = 4 * MEGABYTE - 1024;
/** Requests on their way at once. */
const AT_ONCE = 16;

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at);

/** So many at a time; what each of them comes to does not matter. */
async function each(count: number, one: (at: number) => Promise<unknown>, atOnce = AT_ONCE): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) await one(next++).catch(() => {});
  };
  await Promise.all(range(atOnce).map(work));
}

async function post(url: string, body: string, headers: Record<string, string> = {}): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  const answer = await fetch(url, { method: 'POST', headers: { ...POSTED, ...headers }, body, signal });
  // What has no end is left after its first bytes.
  for await (const _ of answer.body ?? []) if (signal.aborted) break;
}

const initialize = (capabilities: unknown): string =>
  JSON.stringify({
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'flood', version: '1' } },
  });
const call = (text: string): string =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'count', arguments: { text } } });

const fat = (count: number, bytes: number): Flood => ({
  name: `${count} initializes of ${(bytes / MEGABYTE).toFixed(1)} MB`,
  send: async ({ url }) => {
    const body = initialize({ experimental: { fat: { text: 'x'.repeat(bytes) } } });
    await each(count, () => post(url, body));
  },
});

const hostile = (name: string, body: () => string): Flood => ({
  name: `10 times ${name}`,
  send: async ({ url }) => {
    const text = body();
    await each(10, () => post(url, text), 1);
  },
});

/** Bodies that lack their last byte, on connections of their own; they are let go when the proxy has had them all. */
const halfSent = (count: number): Flood => ({
  name: `${count} bodies of 4 MB without their last byte`,
  send: async ({ url }) => {
    const { hostname, port, pathname, host } = new URL(url);
    const body = Buffer.from(call('x'.repeat(FULL - 200)));
    const head = `POST ${pathname} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: ${body.length + 1}\r\n\r\n`;
    const sockets = await Promise.all(
      range(count).map(
        () =>
          new Promise<{ destroy(): unknown }>((resolve) => {
            const socket = connect(Number(port), hostname, () => {
              socket.write(head);
              socket.write(body, () => resolve(socket));
            });
            // An answer in advance ends it as well.
            socket
              .on('data', () => resolve(socket))
              .on('error', () => resolve(socket))
              .on('close', () => resolve(socket));
          }),
      ),
    );
    for (const socket of sockets) socket.destroy();
  },
});

const held: Flood = {
  name: '150 calls of 4 MB while every backend is dead',
  send: async ({ url, backends, kill }) => {
    const { id } = await rawOpen(url);
    await Promise.all(backends.map(kill));
    const body = call('x'.repeat(FULL - 200));
    await each(150, () => post(url, body, { 'mcp-session-id': id }), 150);
  },
};

const moved: Flood = {
  name: '150 calls of 4 MB, each in a session whose home has died',
  send: async ({ url, backends, kill }) => {
    const opened = await Promise.all(range(150).map(() => rawOpen(url)));
    const [first] = backends;
    if (first !== undefined) await kill(first);
    const body = call('x'.repeat(FULL - 200));
    await each(150, (at) => post(url, body, { 'mcp-session-id': opened[at]?.id ?? '' }), 50);
  },
};

const subscriptions: Flood = {
  name: '3,000 subscriptions of 1 KB in one session',
  send: async ({ url }) => {
    const { id } = await rawOpen(url);
    const subscribe = (uri: string): string =>
      JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'resources/subscribe', params: { uri } });
    await each(3_000, (at) => post(url, subscribe(`demo://${at}/${'x'.repeat(1024)}`), { 'mcp-session-id': id }));
  },
};

/** Writes for as long as the proxy takes it, 512 MB at most. */
const endless = (name: string, type: string, piece: string): Flood => ({
  name: `an initialize that is answered by endless ${name}`,
  send: async ({ url, backends }) => {
    for (const backend of backends) {
      backend.before = ({ what, response }) => {
        if (what !== 'initialize') return false;
        response.writeHead(200, { 'content-type': type, 'mcp-session-id': 'endless' });
        if (type === 'application/json') response.write('{"jsonrpc":"2.0","id":0,"result":{"x":"');
        let sent = 0;
        const more = (): void => {
          while (!response.destroyed && sent < 512 * MEGABYTE) {
            sent += piece.length;
            if (!response.write(piece)) return void response.once('drain', more);
          }
          response.destroy();
        };
        more();
        return true;
      };
    }
    await each(4, () => post(url, initialize({})), 4);
  },
});

const crowd: Flood = {
  name: '20,000 sessions',
  send: async ({ url }) => {
    const body = initialize({});
    await each(20_000, () => post(url, body));
  },
};

const NOTIFICATION = `data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x'.repeat(2_000) } })}\n\n`;

export const FLOODS: readonly Flood[] = [
  fat(100, FULL),
  fat(400, MEGABYTE),
  subscriptions,
  hostile('4 MB of [', () => '['.repeat(FULL)),
  hostile('2 million nested arrays', () => '['.repeat(FULL / 2) + ']'.repeat(FULL / 2)),
  hostile(
    '350,000 keys',
    () =>
      `{${range(350_000)
        .map((at) => `"${at}":1`)
        .join()}}`,
  ),
  hostile(
    'a batch of 95,000',
    () =>
      `[${range(95_000)
        .map((at) => `{"jsonrpc":"2.0","id":${at},"method":"x"}`)
        .join()}]`,
  ),
  halfSent(400),
  held,
  moved,
  endless('JSON', 'application/json', 'x'.repeat(64 * 1024)),
  endless('notifications', 'text/event-stream', NOTIFICATION),
  crowd,
];
