/** `initialize` may be repeated: a backend that fails it costs no client its session, and is soon left alone. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { rawOpen } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { until } from '../house/until.ts';

const ANSWER = ['--answer-seconds', '1', '--hold-seconds', '1'];
const all: Plain[] = [];
const proxies: TestProxy[] = [];

beforeAll(async () => {
  all.push(...(await Promise.all(['a', 'b', 'c'].map(startPlain))));
});
afterEach(async () => {
  for (const one of proxies.splice(0)) await one.stop();
  for (const one of all) {
    one.before = () => false;
    one.after = () => false;
    one.asked.length = 0;
    one.sessions.clear();
  }
});
afterAll(async () => {
  for (const one of all) await one.close();
});

async function proxyOf(backends: readonly Plain[], flags: readonly string[] = ANSWER): Promise<TestProxy> {
  const proxy = await startProxy(
    backends.map(({ origin }) => origin),
    flags,
  );
  proxies.push(proxy);
  return proxy;
}

type Way = (asked: Asked) => void;
const isOpening = ({ what }: Asked): boolean => what === 'initialize';
const breakWith = (way: Way) => (asked: Asked) => isOpening(asked) && (way(asked), true);
const status =
  (code: number): Way =>
  ({ response }) =>
    sayText(response, code, `said ${code}`, 'text/plain');
const rpcError =
  (code: number): Way =>
  ({ response, id }) =>
    sayJson(response, 200, { id, error: { code, message: `said ${code}` } });
const event =
  (text: string, end = true): Way =>
  ({ response }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(text, () => (end ? response.end() : response.socket?.destroy()));
  };
const rpcErrorEvent =
  (code: number): Way =>
  (asked) =>
    event(`data: ${JSON.stringify({ jsonrpc: '2.0', id: asked.id, error: { code, message: `said ${code}` } })}\n\n`)(
      asked,
    );

/** It gave no answer, so that ours is the call's: what it may have done is unknown. */
const LOST = 'lost';

/** How a backend fails `initialize`, and the status of its answer. */
const WAYS: readonly (readonly [string, number | typeof LOST, Way])[] = [
  ['429', 429, status(429)],
  ['500', 500, status(500)],
  ['501', 501, status(501)],
  ['502', 502, status(502)],
  ['503', 503, status(503)],
  ['504', 504, status(504)],
  ['529', 529, status(529)],
  ['-32603', 200, rpcError(-32_603)],
  ['-32000', 200, rpcError(-32_000)],
  ['-32603 in an event', 200, rpcErrorEvent(-32_603)],
  ['-32000 in an event', 200, rpcErrorEvent(-32_000)],
  ['no answer', LOST, () => {}],
  [
    'a head, then silence',
    LOST,
    ({ response }) => response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders(),
  ],
  [
    'half a body, then silence',
    LOST,
    ({ response }) => response.writeHead(200, { 'content-type': 'application/json' }).write('{"jsonrpc"'),
  ],
  ['a cut in the head', LOST, ({ response }) => response.socket?.end('HTTP/1.1 200 OK\r\nContent-Ty')],
  ['no head', LOST, ({ response }) => response.socket?.end()],
  ['a reset', LOST, ({ response }) => response.socket?.resetAndDestroy()],
  [
    'a cut in the body',
    LOST,
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 999 });
      response.write('{"jsonrpc":"2.0"', () => response.socket?.destroy());
    },
  ],
  ['a cut in an event', LOST, event('data: {"jsonrpc":"2.0",', false)],
  ['a stream without an answer', LOST, event(': hello\n\n')],
  ['a stream that breaks before its answer', LOST, event(': hello\n\n', false)],
  ['garbage', LOST, ({ response }) => response.socket?.end('SSH-2.0-OpenSSH_9.6\r\n')],
];

async function openMany(proxy: TestProxy, count: number): Promise<Map<number, number>> {
  const statuses = new Map<number, number>();
  await Promise.all(
    Array.from({ length: count }, async () => {
      const opened = await rawOpen(proxy.url);
      const seen = opened.id === '' ? -opened.status : opened.status;
      statuses.set(seen, (statuses.get(seen) ?? 0) + 1);
    }),
  );
  return statuses;
}

const times = ({ asked }: Plain): number => asked.filter((one) => one === 'initialize').length;
const opened = (): number => all.reduce((sum, { sessions }) => sum + sessions.size, 0);

describe('one of three backends answers initialize with', () => {
  test.each(WAYS)('%s: no client sees it, and it is asked a few times only', async (_what, _status, way) => {
    const [a] = all;
    a!.before = breakWith(way);
    const proxy = await proxyOf(all);
    expect([...(await openMany(proxy, 100))]).toEqual([[200, 100]]);
    // They came in the same moment, before anything was known of it.
    const first = times(a!);
    expect(first).toBeLessThanOrEqual(50);
    for (let round = 0; round < 4; round += 1) expect([...(await openMany(proxy, 50))]).toEqual([[200, 50]]);
    expect(times(a!) - first).toBeLessThanOrEqual(50);
    expect([opened(), all.reduce((sum, one) => sum + times(one), 0)]).toEqual([300, 300 + times(a!)]);
  });
});

describe('all backends answer initialize with', () => {
  test.each(WAYS)('%s: the client gets that, or our sentence', async (_what, code, way) => {
    for (const one of all) one.before = breakWith(way);
    const proxy = await proxyOf(all.slice(0, 2));
    const seen = await rawOpen(proxy.url);
    const expected = code === LOST ? 200 : code;
    expect(seen.status).toBe(expected);
    expect(seen.id).toBe('');
    expect(all.map(times)).toEqual([1, 1, 0]);
    const words = code === 200 ? 'said' : code === LOST ? 'outcome is unknown' : '';
    expect(JSON.stringify(seen.message ?? '')).toContain(words);
    // A second client is not told 503 only because they have just failed.
    expect((await rawOpen(proxy.url)).status).toBe(expected);
  });
});

describe('an answer is an answer', () => {
  test.each([400, 401, 403, 404, 405, 406, 415, 302, 303])('%i passes at once', async (code) => {
    for (const one of all) {
      one.before = breakWith(({ response }) =>
        response
          .writeHead(code, { 'content-type': 'text/plain', 'www-authenticate': 'Bearer', location: '/login' })
          .end('no'),
      );
    }
    const proxy = await proxyOf(all);
    const answer = await fetch(proxy.url, {
      method: 'POST',
      redirect: 'manual',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: '{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}',
    });
    expect([answer.status, await answer.text()]).toEqual([code, 'no']);
    expect(all.reduce((sum, one) => sum + times(one), 0)).toBe(1);
    expect(proxy.events.filter(({ type }) => type === 'suspect')).toEqual([]);
  });

  test.each([-32_600, -32_602, -32_601, 1])('the JSON-RPC error %i too', async (code) => {
    for (const one of all) one.before = breakWith(rpcError(code));
    const proxy = await proxyOf(all);
    expect(await rawOpen(proxy.url)).toMatchObject({ status: 200, message: { error: { code } } });
    expect(all.reduce((sum, one) => sum + times(one), 0)).toBe(1);
  });
});

describe('limits', () => {
  test.each(WAYS.filter(([what]) => ['503', 'a reset', '-32603'].includes(what)))(
    'a full backend gets no session of one that fails: %s',
    async (_what, _code, way) => {
      const [a, b, c] = all;
      a!.before = breakWith(way);
      const proxy = await proxyOf(all, [...ANSWER, '--max-sessions-per-backend', '5', '--hold-seconds', '0']);
      const seen = await openMany(proxy, 20);
      expect(seen.get(200)).toBe(10);
      expect([b!.sessions.size, c!.sessions.size]).toEqual([5, 5]);
    },
  );
});

describe('with --replay never', () => {
  const never = ['--answer-seconds', '1', '--replay', 'never', '--hold-seconds', '0'];

  test('what a backend has answered is asked of another; what was lost is said to be unknown', async () => {
    const [a, b] = all;
    a!.before = breakWith(status(503));
    const declines = await proxyOf([a!, b!], never);
    expect([...(await openMany(declines, 20))]).toEqual([[200, 20]]);
    const resets = await proxyOf([a!], never);
    a!.asked.length = 0;
    a!.before = breakWith(({ response }) => response.socket?.resetAndDestroy());
    const lost = await rawOpen(resets.url);
    expect([lost.status, JSON.stringify(lost.message)]).toEqual([200, expect.stringContaining('outcome is unknown')]);
    expect(times(a!)).toBe(1);
  });
});

test('a stream that never comes to its answer is left, and not kept in memory', async () => {
  const [a, b] = all;
  a!.before = breakWith(({ response }) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'mcp-session-id': 'endless' });
    const flood = (): void => void response.write(`: ${'x'.repeat(256 * 1024)}\n\n`, (error) => !error && flood());
    flood();
  });
  const proxy = await proxyOf([a!, b!], []);
  const before = process.memoryUsage().rss;
  expect([...(await openMany(proxy, 20))]).toEqual([[200, 20]]);
  expect(process.memoryUsage().rss - before).toBeLessThan(500_000_000);
  expect(b!.sessions.size).toBe(20);
});

test('a backend that was ejected and is well again gets sessions again', async () => {
  const [a, b] = all;
  a!.before = breakWith(status(503));
  const proxy = await proxyOf([a!, b!]);
  await openMany(proxy, 20);
  a!.before = () => false;
  await until('a has sessions again', async () => (await rawOpen(proxy.url)).id.startsWith('a-'), 10_000);
  await openMany(proxy, 20);
  expect(a!.sessions.size).toBeGreaterThan(10);
});
