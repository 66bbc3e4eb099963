/** What a person may order: who is refused, and what becomes of an order that cannot be taken. */

import { once } from 'node:events';
import { type IncomingMessage, type Server, createServer, request } from 'node:http';
import { text } from 'node:stream/consumers';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { SessionsUnavailable } from '../../proxy/contract.ts';
import { createOps } from '../../proxy/ops.ts';
import { type OrderRooms, createOrders } from '../../proxy/orders.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

const HASH = 'a'.repeat(64);
type Asking = { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string };

/** What is asked of the rooms is written down; by default they take every order for backend `a`. */
async function orders(rooms: Partial<OrderRooms['backends'] & OrderRooms['orders']> = {}) {
  const taken: string[] = [];
  const own: OrderRooms['backends'] & OrderRooms['orders'] = {
    list: () => [{ id: 'a:1', origin: 'http://a:1', draining: true, suspect: false, zone: 'x' }],
    async drain(id) {
      taken.push(`drain ${id}`);
      return id === 'a:1' ? 'marked' : 'unknown';
    },
    async undrain(id) {
      taken.push(`undrain ${id}`);
      return id === 'a:1' ? 'unmarked' : 'unknown';
    },
    async set(hash) {
      taken.push(`migrate ${hash}`);
    },
    ...rooms,
  };
  const metrics = { metrics: async () => '', contentType: 'text/plain', ready: () => true };
  server = createServer(createOps({ ...metrics, routers: [createOrders({ backends: own, orders: own })] }));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const ask = async (path: string, { method = 'POST', headers = {}, body = '' }: Asking = {}) => {
    const type: Record<string, string> = method === 'POST' ? { 'content-type': 'application/json' } : {};
    const sent = request({ host: '127.0.0.1', port, path, method, headers: { ...type, ...headers } }).end(body);
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve).once('error', reject);
    });
    return { status: answer.statusCode, retryAfter: answer.headers['retry-after'], body: await text(answer) };
  };
  return { ask, taken };
}

test('orders are taken', async () => {
  const { ask, taken } = await orders();
  expect(await ask('/backends/a:1/drain')).toMatchObject({ status: 202, body: '{"backend":"a:1","draining":true}' });
  expect(await ask('/backends/a%3A1/drain', { method: 'DELETE' })).toMatchObject({
    status: 202,
    body: '{"backend":"a:1","draining":false}',
  });
  const { status, body } = await ask(`/sessions/${HASH}/migrate`, { body: '{}' });
  expect([status, body]).toEqual([202, '{"session":"aaaaaaaa","migrates":"at its next exchange"}']);
  expect(taken).toEqual(['drain a:1', 'undrain a:1', `migrate ${HASH}`]);
});

const ORDERS: readonly (readonly [string, string])[] = [
  ['POST', '/backends/a:1/drain'],
  ['DELETE', '/backends/a:1/drain'],
  ['POST', `/sessions/${HASH}/migrate`],
];

describe.each(ORDERS)('%s %s', (method, path) => {
  test.each(['evil.example', 'evil.example:9090', '10.0.0.1', 'localhost.evil.example', '127.0.0.1.evil.example'])(
    'to the name %s is refused: a page may have had it rebound',
    async (host) => {
      const { ask, taken } = await orders();
      expect((await ask(path, { method, headers: { host } })).status).toBe(403);
      expect(taken).toEqual([]);
    },
  );

  test.each(['localhost', 'localhost:9090', '127.0.0.1:9090', '[::1]:9090'])(
    'to the name %s is taken',
    async (host) => {
      const { ask } = await orders();
      expect((await ask(path, { method, headers: { host } })).status).toBe(202);
    },
  );

  test('while the registry is away: 503, and when to try again', async () => {
    const away = () => Promise.reject(new SessionsUnavailable('secret'));
    const { ask } = await orders({ drain: away, undrain: away, set: away });
    const answer = await ask(path, { method });
    expect(answer).toMatchObject({ status: 503, retryAfter: '1' });
    expect(answer.body).not.toContain('secret');
  });
});

test.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', ''])(
  'a form of another site can send %j: it is not taken',
  async (type) => {
    const { ask, taken } = await orders();
    for (const [method, path] of ORDERS) {
      if (method !== 'POST') continue;
      for (const body of ['{}', '']) {
        expect([path, body, (await ask(path, { headers: { 'content-type': type }, body })).status]).toEqual([
          path,
          body,
          415,
        ]);
      }
    }
    expect(taken).toEqual([]);
  },
);

test.each(['POST', 'DELETE'])('%s: nobody drains that is not there', async (method) => {
  const { ask } = await orders();
  for (const id of ['b:1', 'constructor', '%00', '..', 'a:1%2F']) {
    expect([id, (await ask(`/backends/${id}/drain`, { method })).status]).toEqual([id, 404]);
  }
});

test.each(['x', HASH.slice(1), `${HASH}a`, HASH.toUpperCase(), `${HASH}%0A`, 'g'.repeat(64)])(
  '%s is no hash of a session',
  async (hash) => {
    const { ask, taken } = await orders();
    expect((await ask(`/sessions/${hash}/migrate`)).status).toBe(400);
    expect(taken).toEqual([]);
  },
);

test.each(['/backends//drain', '/backends/a:1', '/sessions//migrate'])('%s is not here', async (path) => {
  const { ask } = await orders();
  expect((await ask(path)).status).toBe(404);
});

test.each(['/backends/%/drain', '/sessions/%/migrate', '/backends/%ff/drain'])(
  'a path that cannot be read (%s) is no way to look inside',
  async (path) => {
    const { ask } = await orders();
    expect(await ask(path)).toMatchObject({ status: 400, body: '{"error":"the path cannot be read"}' });
  },
);

test('an order that fails tells nothing of the inside', async () => {
  const { ask } = await orders({ drain: () => Promise.reject(new Error('secret')) });
  expect(await ask('/backends/a:1/drain')).toMatchObject({ status: 500, body: '{"error":"internal error"}' });
});

test('an answer to a look is no order', async () => {
  const { ask, taken } = await orders();
  for (const [, path] of ORDERS) expect((await ask(path, { method: 'GET' })).status).toBe(404);
  expect(taken).toEqual([]);
});

test('the backends are listed, without their addresses', async () => {
  const { ask } = await orders();
  const listed = await ask('/backends', { method: 'GET' });
  expect(listed.status).toBe(200);
  expect(JSON.stringify(listed)).toContain('draining');
  expect(JSON.stringify(listed)).not.toContain('http:');
});

test('orders are taken from loopback only', async () => {
  let status = 0;
  const router = createOrders({
    backends: { list: () => [], drain: async () => 'marked', undrain: async () => 'unmarked' },
    orders: { async set() {} },
  });
  const app = express().use((incoming, _response, next) => {
    Object.defineProperty(incoming.socket, 'remoteAddress', { value: '10.0.0.9' });
    next();
  }, router);
  server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  for (const [method, path] of ORDERS) {
    const headers = { 'content-type': 'application/json' };
    ({ status } = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers }));
    expect(status).toBe(403);
  }
});
