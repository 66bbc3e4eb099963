/** What a backend is told of the way of an MCP exchange, the handshake of a migration included. */

import { afterEach, expect, test } from 'vitest';
import { type Edge, INITIALIZE, greet, startEdge } from '../house/edge.ts';
import type { NastyRequest } from '../house/nasty.ts';
import { post } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';

let edge: Edge;
afterEach(() => edge.close());

const CLIENTS = ['X-Forwarded-For: 6.6.6.6, 1.2.3.4', 'X-Forwarded-Proto: https', 'Forwarded: for=6.6.6.6'];
const FIELDS = ['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-port', 'forwarded'];
const told = (it: NastyRequest) => FIELDS.map((name) => it.all(name).join(' | '));

const OURS = ['127.0.0.1', 'http', 'localhost', '80', 'for=127.0.0.1;proto=http;host=localhost'];
const TRUSTING = [
  '1.2.3.4, 127.0.0.1',
  'https',
  'localhost',
  '443',
  'for=1.2.3.4;proto=https;host=localhost, for=127.0.0.1;proto=http;host=localhost',
];

test.each([
  ['nobody is trusted', [], OURS],
  ['one hop is', ['--trust-proxy', '1'], TRUSTING],
])('on each request, and on those of a migration: %s', async (_what, flags, expected) => {
  edge = await startEdge({ flags });
  const client = await edge.dial();
  client.send(post(INITIALIZE, ...CLIENTS));
  const opening = await edge.a.next();
  greet(opening, 'session-1');
  await client.answer();
  client.leave();

  const caller = await edge.dial();
  caller.send(
    post(
      { ...call(1), method: 'resources/read' },
      'Mcp-Session-Id: session-1',
      'Connection: X-Forwarded-For, Forwarded',
      ...CLIENTS,
    ),
  );
  edge.a.knows = false;
  const first = await edge.a.next();
  first.answer(404, { jsonrpc: '2.0', id: 1, error: { code: -32001, message: 'Session not found' } });
  const handshake = await edge.a.next();
  const { id } = JSON.parse(handshake.body);
  handshake.answer(
    200,
    {
      jsonrpc: '2.0',
      id,
      result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'n', version: '1' } },
    },
    [
      ['content-type', 'application/json'],
      ['mcp-session-id', 'session-2'],
    ],
  );
  const after = [await edge.a.next(), await edge.a.next()];
  after.find(({ line }) => line.startsWith('DELETE'))?.answer(404);
  const again = after.find(({ line }) => line.startsWith('POST'))!;
  again.answer(200, result(1));
  expect((await caller.answer()).status).toBe(200);

  expect(handshake.body).toContain('"initialize"');
  for (const it of [opening, first, handshake, again]) expect(told(it)).toEqual(expected);
});
