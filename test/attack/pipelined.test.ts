/** Requests that come before those ahead of them are answered: no answer is another's, and no refused request hides one. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startEdge } from '../house/edge.ts';
import { standstill } from '../house/nasty.ts';
import { post, request } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';

const HIDDEN = request('GET /hidden');
const GOOD = JSON.stringify(call(2));

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

/** What the backend has seen since then, by its line. */
const since = (at: number): readonly string[] => edge.a.requests.slice(at).map(({ line }) => line);

describe.each([
  ['the endpoint', post(call(1))],
  ['another path', request('GET /other')],
])('behind a request to %s', (_where, first) => {
  /** The statuses that the client gets when the first request is answered after the second has been read. */
  async function statuses(second: string): Promise<readonly string[]> {
    const client = await edge.dial();
    client.send(first + second);
    const it = await edge.a.next();
    // A whole turn through the proxy: what came with the first request has been read.
    const other = await edge.dial();
    other.send(post(call(3)));
    (await edge.a.next()).answer(200, result(3));
    await other.answer();
    other.leave();
    it.answer(200, result(1, 'first'));
    const text = await client.last();
    expect(text.indexOf('first')).toBeLessThan(text.lastIndexOf('HTTP/1.1 '));
    return text.match(/(?<=HTTP\/1\.1 )\d{3}/g) ?? [];
  }

  test.each([
    ['is no HTTP', '\0\0\0\r\n\r\n', '400'],
    ['has two lengths', request('POST /mcp', ['content-length: 3', 'content-length: 4'], 'abc'), '400'],
    [
      'breaks in its body',
      `${request('POST /mcp', ['content-type: application/json', 'transfer-encoding: chunked'])}zz\r\n`,
      '400',
    ],
    ['has fields without end', request('GET /mcp', [`x: ${'y'.repeat(70_000)}`]), '431'],
  ])('one that %s gets its own answer, not the one that waits', async (_what, second, status) => {
    expect(await statuses(second)).toEqual(['200', status]);
  });

  test.each([
    ['in a coding', `${request('POST /mcp', ['transfer-encoding: gzip, chunked'])}0\r\n\r\n`, '501'],
    ['in a coding, elsewhere', `${request('POST /x', ['transfer-encoding: x, chunked'])}0\r\n\r\n`, '501'],
    ['from another origin', post(call(2), 'origin: http://evil.test'), '403'],
    ['to two hosts', post(call(2), 'host: other'), '400'],
    ['to a folded path', request('POST //mcp', [], call(2)), '404'],
  ])('nothing that follows a request %s is a request', async (_what, second, status) => {
    const before = edge.a.requests.length;
    expect(await statuses(second + HIDDEN)).toEqual(['200', status]);
    expect(since(before).filter((line) => line.includes('hidden'))).toEqual([]);
    expect(edge.a.requests.length).toBe(before + 2);
  });
});

test('a WebSocket that follows a refused request is hung up on', async () => {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  const upgrade = ['connection: upgrade', 'upgrade: websocket', 'sec-websocket-version: 13', 'sec-websocket-key: eA=='];
  client.send(`${request('POST /x', ['transfer-encoding: gzip, chunked'])}0\r\n\r\n${request('GET /x', upgrade)}`);
  await client.last();
  expect(since(before)).toEqual([]);
});

describe('a client that expects a 100', () => {
  const expecting = (body: string): string => request('POST /mcp', ['expect: 100-continue'], body);
  test('gets it at once where nobody waits before it', async () => {
    const client = await edge.dial();
    const text = expecting(GOOD);
    client.send(text.slice(0, -GOOD.length));
    await client.saw('HTTP/1.1 100 Continue\r\n\r\n');
    client.send(GOOD);
    (await edge.a.next()).answer(200, result(2, 'done'));
    expect(await client.saw('done')).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
    client.leave();
  });

  test('gets it after the answer before, when it has to wait for that', async () => {
    const client = await edge.dial();
    const text = expecting(GOOD);
    client.send(post(call(1)) + text.slice(0, -GOOD.length));
    (await edge.a.next()).answer(200, result(1, 'first'));
    expect(await client.saw('100 Continue')).toMatch(/first"\}\}HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send(GOOD);
    (await edge.a.next()).answer(200, result(2, 'second'));
    await client.saw('second');
    client.leave();
  });

  test('never finds it in the middle of an answer', async () => {
    const client = await edge.dial();
    client.send(post(call(1)) + expecting('no JSON') + request('GET /nowhere'));
    const [it, other] = [await edge.a.next(), await edge.a.next()];
    other.answer(404, 'nowhere');
    it.answer(200, result(1, 'first'));
    const text = await client.saw('is not JSON');
    expect(text).toMatch(/HTTP\/1\.1 400 Bad Request\r\n(?:[^\r]+\r\n)+\r\n\{"jsonrpc":"2.0"[^\r]*$/);
    expect(text).not.toContain('100 Continue');
    client.leave();
  });
});

test('a connection brings 32 requests before an answer; the last of them ends it, and no more is read', async () => {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  client.pause();
  client.send(post(call(1)).repeat(100));
  let sent = 0;
  const more = post(call(2, 'x'.repeat(100_000)));
  const flood = (): void => {
    sent += more.length;
    client.sendAll(more).then(flood, () => {});
  };
  flood();
  const all = [];
  for (let at = 0; at < 32; at += 1) all.push(await edge.a.next());
  expect(await standstill(() => sent)).toBeLessThan(50_000_000);
  expect(edge.events).toContainEqual({ type: 'limited', limit: 'pipelined' });
  client.resume();
  for (const it of all) it.answer(200, result(1, 'done'));
  const text = await client.last();
  expect([text.split('done').length - 1, text.toLowerCase().split('connection: close').length - 1]).toEqual([32, 1]);
  expect(edge.a.requests.length).toBe(before + 32);
});

test('a connection may bring any number of requests, one after the other', async () => {
  const client = await edge.dial();
  for (let at = 1; at <= 40; at += 1) {
    client.send(post(call(at)));
    (await edge.a.next()).answer(200, result(at, 'done'));
    await client.saw('done', at);
  }
  expect(client.text.toLowerCase()).not.toContain('connection: close');
  client.leave();
});
