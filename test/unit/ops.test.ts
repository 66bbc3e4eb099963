/** The second port, over real sockets. */

import { once } from 'node:events';
import { type Server, createServer } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { createOps } from '../../proxy/ops.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

async function ops(options: Partial<Parameters<typeof createOps>[0]> = {}) {
  const app = createOps({
    metrics: async () => 'up 1\n',
    contentType: 'text/plain; version=0.0.4',
    ready: () => true,
    routers: [],
    rules: { opsToken: undefined, opsHost: '127.0.0.1' },
    ...options,
  });
  server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  return async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      ...(method === 'POST' && { headers: { 'content-type': 'application/json' } }),
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };
}

test('metrics, with their content type', async () => {
  const ask = await ops();
  const answer = await ask('/metrics');
  expect(answer).toMatchObject({ status: 200, body: 'up 1\n' });
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4');
});

test('a scrape that fails says nothing of the inside', async () => {
  const ask = await ops({ metrics: async () => Promise.reject(new Error('secret')) });
  expect(await ask('/metrics')).toMatchObject({ status: 500, body: '{"error":"metrics are not available"}' });
});

test('healthy while it serves, ready when told so', async () => {
  let ready = true;
  const ask = await ops({ ready: () => ready });
  expect(await ask('/healthz')).toMatchObject({ status: 200, body: '{"status":"ok"}' });
  expect(await ask('/readyz')).toMatchObject({ status: 200, body: '{"status":"ready"}' });
  ready = false;
  expect(await ask('/readyz')).toMatchObject({
    status: 503,
    body: '{"status":"unavailable","reason":"new exchanges are not taken now"}',
  });
  expect((await ask('/healthz')).status).toBe(200);
});

test.each([
  ['/', 'GET'],
  ['/mcp', 'POST'],
  ['/metrics', 'POST'],
  ['/metrics/x', 'GET'],
  ['/%', 'GET'],
])('%s by %s is not here', async (path, method) => {
  const ask = await ops();
  const answer = await ask(path, method);
  expect(answer).toMatchObject({ status: 404, body: '{"error":"not found"}' });
  expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
});

test('no header tells what it is made of, or lets an answer be kept', async () => {
  const ask = await ops();
  for (const path of ['/metrics', '/healthz', '/readyz', '/']) {
    const { headers } = await ask(path);
    expect([headers.get('x-powered-by'), headers.get('etag'), headers.get('cache-control')]).toEqual([
      null,
      null,
      'no-store',
    ]);
  }
});
