/** The ops port against pages of other origins, rebound names and guessed tokens, on a running proxy. */

import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { refusing } from '../house/nasty.ts';

const TOKEN = 'correct-horse-battery';
const RIGHT = { authorization: `Bearer ${TOKEN}` };
const HASH = 'f'.repeat(64);
const ORDERS: readonly (readonly [method: string, path: string])[] = [
  ['POST', '/backends/nobody/drain'],
  ['DELETE', '/backends/nobody/drain'],
  ['DELETE', `/sessions/${HASH}`],
  ['POST', `/sessions/${HASH}/migrate`],
];

let open: TestProxy;
let closed: TestProxy;
beforeAll(async () => {
  const backend = await refusing();
  open = await startProxy([backend], []);
  closed = await startProxy([backend], ['--ops-token', TOKEN]);
});
afterAll(async () => {
  await open.stop();
  await closed.stop();
});

type Asking = { readonly method?: string; readonly headers?: Record<string, string>; readonly from?: string };

async function ask(proxy: TestProxy, path: string, { method = 'GET', headers = {}, from = '127.0.0.1' }: Asking = {}) {
  const { port } = new URL(proxy.opsUrl);
  const type: Record<string, string> = method === 'POST' ? { 'content-type': 'application/json' } : {};
  const sent = request({ host: '127.0.0.1', port, path, method, localAddress: from, headers: { ...type, ...headers } });
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve).once('error', reject).end();
  });
  return { status: answer.statusCode, headers: answer.headers, body: await text(answer) };
}

describe.each(ORDERS)('%s %s', (method, path) => {
  /** Both without and with the token, which a browser adds by itself. */
  async function statuses(headers: Record<string, string>): Promise<readonly (number | undefined)[]> {
    const own = { host: 'localhost:9464', ...headers };
    const all = [
      await ask(open, path, { method, headers: own }),
      await ask(closed, path, { method, headers: { ...own, ...RIGHT } }),
    ];
    return all.map(({ status }) => status);
  }
  test.each([
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'same-site', origin: 'http://localhost:9464' },
    { 'sec-fetch-site': 'same-origin, cross-site' },
    { 'sec-fetch-site': '' },
    { origin: 'https://evil.example' },
    { origin: 'http://localhost:9465' },
    { origin: 'http://127.0.0.1:9464' },
    { origin: 'http://localhost.evil.example:9464' },
    { origin: 'http://localhost:9464@evil.example' },
    { origin: 'null' },
    { origin: '' },
  ])('from a page of another origin is refused: %j', async (headers) => {
    expect(await statuses(headers)).toEqual([403, 403]);
  });

  test.each([
    {},
    { 'sec-fetch-site': 'same-origin' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-site': 'same-origin', origin: 'https://ops.example' },
    { origin: 'http://localhost:9464' },
  ])('from the status page, and from no page, is taken, and finds nobody: %j', async (headers) => {
    expect(await statuses(headers)).toEqual([404, 404]);
  });

  test('by a name that was rebound to this address is refused, whatever else it says', async () => {
    const headers = { host: 'evil.example:9464', origin: 'http://evil.example:9464', 'sec-fetch-site': 'same-origin' };
    expect((await ask(open, path, { method, headers })).status).toBe(403);
    expect((await ask(closed, path, { method, headers })).status).toBe(401);
  });
});

test('what only looks is no order: a link from another page opens', async () => {
  for (const path of ['/', '/backends', '/metrics', '/status']) {
    expect((await ask(open, path, { headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(200);
  }
});

test('no preflight of another page is granted', async () => {
  const headers = { origin: 'https://evil.example', 'access-control-request-method': 'POST' };
  const answer = await ask(open, ORDERS[0]![1], { method: 'OPTIONS', headers });
  expect(answer.status).toBe(403);
  expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
});

test('after ten wrong tokens none of that address is looked at; another address, and health, notice nothing', async () => {
  const from = '127.0.0.66';
  const guess = (at: number) => ask(closed, '/backends', { from, headers: { authorization: `Bearer wrong-${at}` } });
  const said: (number | undefined)[] = [];
  for (let at = 0; at < 12; at += 1) said.push((await guess(at)).status);
  expect(said).toEqual([...Array.from({ length: 10 }, () => 401), 429, 429]);

  const late = await ask(closed, '/backends', { from, headers: RIGHT });
  expect(late.status).toBe(429);
  expect(Number(late.headers['retry-after'])).toBeOneOf([1, 2, 3, 4, 5, 6]);
  expect(late.headers['www-authenticate']).toBeUndefined();
  // A browser that has not asked for the token yet.
  expect((await ask(closed, '/', { from })).status).toBe(401);
  expect((await ask(closed, '/healthz', { from })).status).toBe(200);
  expect((await ask(closed, '/backends', { headers: RIGHT })).status).toBe(200);
});

test('a form with the password in it is a guess too', async () => {
  const from = '127.0.0.67';
  const authorization = `Basic ${Buffer.from(':wrong').toString('base64')}`;
  const all = await Promise.all(
    Array.from({ length: 11 }, () => ask(closed, '/', { from, headers: { authorization } })),
  );
  expect(all.filter(({ status }) => status === 429)).toHaveLength(1);
});
