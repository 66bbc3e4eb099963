/** What operators may ask and order: who is refused, and what becomes of an order that cannot be taken. */

import { once } from 'node:events';
import { type IncomingMessage, type Server, createServer, request } from 'node:http';
import { text } from 'node:stream/consumers';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { SessionsUnavailable } from '../../proxy/contract.ts';
import { createOps } from '../../proxy/ops.ts';
import { createBackendsApi } from '../../proxy/ops/backends.ts';
import type { OperatorRules } from '../../proxy/ops/operators.ts';
import { createSessionsApi } from '../../proxy/ops/sessions.ts';
import { readCursor } from '../../proxy/sessions/by-hash.ts';

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

const HASH = 'a'.repeat(64);
const RULES: OperatorRules = { opsToken: undefined, opsHost: '127.0.0.1' };
type Asking = { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string };
type Orders = Parameters<typeof createBackendsApi>[0]['backends'] & { set(hash: string): Promise<void> };

/** What is asked of the rooms is written down; by default they take every order for backend `a`. */
async function orders(rooms: Partial<Orders> = {}, rules: OperatorRules = RULES, from?: string) {
  const taken: string[] = [];
  const own: Orders = {
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
  const telemetry = { record() {} };
  const counted = { countByBackend: async () => new Map([['a:1', 2]]), running: new Map([['a:1', 1]]) };
  const none = { byHash: undefined, readCursor, discard() {}, now: Date.now };
  const routers = [
    createBackendsApi({ backends: own, ...counted, telemetry }),
    createSessionsApi({ backends: own, orders: own, ...none, telemetry }),
  ];
  const metrics = { metrics: async () => 'up 1', contentType: 'text/plain', ready: () => true };
  const app = express().use(
    (incoming, _response, next) => {
      if (from !== undefined) Object.defineProperty(incoming.socket, 'remoteAddress', { value: from });
      next();
    },
    createOps({ ...metrics, routers, rules }),
  );
  server = createServer(app);
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
    return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
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
  expect([status, body]).toEqual([202, `{"session":"${HASH}","migrates":"at its next exchange"}`]);
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
    expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
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

test('the backends are listed, with their addresses one by one only', async () => {
  const { ask } = await orders();
  const listed = await ask('/backends', { method: 'GET' });
  expect(listed.status).toBe(200);
  const [one] = JSON.parse(listed.body).backends;
  expect(one).toEqual({
    id: 'a:1',
    state: 'draining',
    draining: true,
    suspect: false,
    zone: 'x',
    sessions: 2,
    running: 1,
  });
  expect(listed.body).not.toContain('http:');
  expect((await ask('/backends/a:1', { method: 'GET' })).body).toContain('"origin":"http://a:1"');
  expect((await ask('/backends/b:1', { method: 'GET' })).status).toBe(404);
});

test('orders are taken from loopback only', async () => {
  const { ask, taken } = await orders({}, { ...RULES, opsHost: '0.0.0.0' }, '10.0.0.9');
  for (const [method, path] of ORDERS) expect((await ask(path, { method })).status).toBe(403);
  expect(taken).toEqual([]);
  expect((await ask('/backends', { method: 'GET', headers: { host: 'proxy:9464' } })).status).toBe(200);
});

test('a port on loopback is looked at by a loopback name only', async () => {
  const { ask } = await orders();
  const look = async (host: string) => (await ask('/backends', { method: 'GET', headers: { host } })).status;
  expect(await Promise.all(['evil.example', 'localhost:1', '127.0.0.1'].map(look))).toEqual([403, 200, 200]);
  expect((await ask('/healthz', { method: 'GET', headers: { host: 'evil.example' } })).status).toBe(200);
});

describe('with a token', () => {
  const TOKEN = 'correct-horse-battery';
  const basic = (said: string) => `Basic ${Buffer.from(said).toString('base64')}`;
  const begin = (from?: string) => orders({}, { opsToken: TOKEN, opsHost: '0.0.0.0' }, from);

  test.each([`Bearer ${TOKEN}`, `bearer   ${TOKEN}`, basic(`:${TOKEN}`), basic(`anybody:${TOKEN}`)])(
    '%s may do everything, from anywhere, by any name',
    async (authorization) => {
      const { ask, taken } = await begin('10.0.0.9');
      const headers = { authorization, host: 'ops.example' };
      for (const [method, path] of ORDERS) expect((await ask(path, { method, headers })).status).toBe(202);
      expect(taken).toHaveLength(ORDERS.length);
      for (const path of ['/backends', '/metrics']) {
        expect((await ask(path, { method: 'GET', headers })).status).toBe(200);
      }
    },
  );

  test.each([
    undefined,
    '',
    TOKEN,
    'Bearer',
    'Bearer ',
    `Bearer ${TOKEN}x`,
    `Bearer ${TOKEN.slice(1)}`,
    `Bearer ${TOKEN} ${TOKEN}`,
    `Bearer x, Bearer ${TOKEN}`,
    `Digest ${TOKEN}`,
    basic(TOKEN),
    basic(`${TOKEN}:`),
    'Basic %%%',
  ])('%s is shown the door, from loopback too', async (authorization) => {
    const { ask, taken } = await begin();
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const paths = ['/backends', '/metrics', '/', '/nowhere', '/backends/%ff'];
    const asked = [...ORDERS, ...paths.map((path) => ['GET', path] as const)];
    for (const [method, path] of asked) {
      const answer = await ask(path, { method, headers });
      expect([path, answer.status]).toEqual([path, 401]);
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer realm=.*, Basic realm=/);
      expect(answer.body).not.toContain(TOKEN);
    }
    expect(taken).toEqual([]);
    for (const path of ['/healthz', '/readyz']) expect((await ask(path, { method: 'GET', headers })).status).toBe(200);
  });

  test('a page of another site that a browser sends the password with cannot order', async () => {
    const { ask, taken } = await begin();
    const headers = { authorization: basic(`:${TOKEN}`), 'content-type': 'text/plain' };
    expect((await ask('/backends/a:1/drain', { headers })).status).toBe(415);
    expect(taken).toEqual([]);
  });
});
