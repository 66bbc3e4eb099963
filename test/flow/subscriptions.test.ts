/** Streams without a session, which stay open: a server that many listen at gets its part of the calls all the same. */

import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import { rawPost } from '../house/by-hand.ts';
import { startProxy } from '../house/flow.ts';
import { sayJson, startPlain } from '../house/plain.ts';

const HEADERS = { 'mcp-protocol-version': '2026-07-28' };
const ACCEPT = { accept: 'application/json, text/event-stream', ...HEADERS };
const listen = { jsonrpc: '2.0', id: 1, method: 'subscriptions/listen', params: { notifications: {} } };

test.each<[string, RequestInit]>([
  [
    'subscriptions/listen',
    { method: 'POST', headers: { 'content-type': 'application/json', ...ACCEPT }, body: JSON.stringify(listen) },
  ],
  ['GET', { headers: ACCEPT }],
])('%s', async (_what, request) => {
  const servers = await Promise.all(['a', 'b'].map(startPlain));
  const open: ServerResponse[] = [];
  const calls = [0, 0];
  for (const [at, server] of servers.entries()) {
    onTestFinished(() => server.close());
    server.before = ({ what, id, response }) => {
      if (what === 'read') {
        calls[at]! += 1;
        sayJson(response, 200, { id, result: {} });
      } else {
        open.push(response);
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      }
      return true;
    };
  }
  const proxy = await startProxy(
    servers.map(({ origin }) => origin),
    [],
  );
  onTestFinished(() => proxy.stop());
  const leave = new AbortController();
  const stream = await fetch(proxy.url, { ...request, signal: leave.signal });
  expect([stream.status, open.length]).toEqual([200, 1]);
  for (let at = 0; at < 40; at += 1) {
    await rawPost(proxy.url, { id: 2, method: 'tools/call', params: { name: 'read' } }, HEADERS);
  }
  // Each of two by chance: that one gets none happens once in 10^12 runs.
  expect([calls[0]! + calls[1]!, Math.min(...calls) > 0]).toEqual([40, true]);
  const closed = once(open[0]!, 'close');
  leave.abort();
  await closed;
});
