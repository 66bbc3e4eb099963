/** Framing that two servers could read in two ways is refused, and who is slow or half gone is dropped. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startEdge } from '../house/edge.ts';
import { post, request } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge({ deadlines: { headers: 200, request: 400 } });
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

describe('refused with 400, and the connection closes', () => {
  const body = JSON.stringify(call(1));
  const head = (...fields: string[]): string => request('POST /mcp', ['content-type: application/json', ...fields]);
  const length = `content-length: ${body.length}`;
  const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  test.each([
    ['two lengths that differ', head(length, 'content-length: 3') + body],
    ['two lengths that agree', head(length, length) + body],
    ['a list of lengths', head(`content-length: ${body.length}, ${body.length}`) + body],
    ['a negative length', head('content-length: -1') + body],
    ['a length with a sign', head(`content-length: +${body.length}`) + body],
    ['a length and chunks', head(length, 'transfer-encoding: chunked') + chunked],
    ['chunks and a length', head('transfer-encoding: chunked', 'content-length: 3') + chunked],
    ['chunks that are not last', head('transfer-encoding: chunked, identity') + chunked],
    ['chunks twice', head('transfer-encoding: chunked, chunked') + chunked],
    ['a bare LF after a field', post(call(1)).replace('localhost\r\n', 'localhost\n')],
    ['a bare LF after the request line', post(call(1)).replace('HTTP/1.1\r\n', 'HTTP/1.1\n')],
    ['bare LFs everywhere', post(call(1)).replaceAll('\r\n', '\n')],
    ['a bare CR in a field', post(call(1), 'x-a: 1\rx-b: 2')],
    ['a NUL in a field', post(call(1), 'x-a: \0')],
    ['a blank before the colon', post(call(1), 'x-a : 1')],
    ['a folded field', post(call(1), 'x-a: 1\r\n 2')],
    ['a size of a chunk that is none', `${head('transfer-encoding: chunked')}zz\r\n${body}\r\n0\r\n\r\n`],
    ['a chunk that is longer than its size', `${head('transfer-encoding: chunked')}1\r\n${body}\r\n0\r\n\r\n`],
    ['another protocol', 'SSH-2.0-client\r\n\r\n'],
    ['no Host', post(call(1)).replace('host: localhost\r\n', '')],
    ['two Hosts', post(call(1), 'host: other')],
  ])('%s', async (_what, text) => {
    const before = edge.a.requests.length;
    const client = await edge.dial();
    expect(await client.send(text).last()).toMatch(/^HTTP\/1\.1 400 /);
    expect(edge.a.requests.length).toBe(before);
  });
});

test('fields that are too large: 431', async () => {
  const client = await edge.dial();
  expect(await client.send(post(call(1), `x-large: ${'x'.repeat(70_000)}`)).last()).toMatch(/^HTTP\/1\.1 431 /);
});

test('fields of 32 KiB pass', async () => {
  const client = await edge.dial();
  const value = 'x'.repeat(32 * 1024);
  client.send(post(call(1), `x-large: ${value}`));
  const it = await edge.a.next();
  it.answer(200, result(1));
  expect(it.all('x-large')).toEqual([value]);
  expect((await client.answer()).status).toBe(200);
});

describe('dropped by the deadlines', () => {
  test.each([
    ['who says nothing', ''],
    ['who stops in the head', 'POST /mcp HTTP/1.1\r\nhost: loc'],
    ['who stops before the body', post(call(1)).split('{')[0]!],
    ['who stops in the body', post(call(1)).slice(0, -10)],
  ])('%s', async (_who, text) => {
    const before = edge.a.requests.length;
    const client = await edge.dial();
    expect(await client.send(text).last()).toMatch(/^(HTTP\/1\.1 408 |$)/);
    expect(edge.a.requests.length).toBe(before);
  });

  test('who sends a byte now and then', async () => {
    const client = await edge.dial();
    client.send('POST /mcp HTTP/1.1\r\n');
    const dripping = setInterval(() => client.send('x'), 20);
    expect(await client.last()).toMatch(/^(HTTP\/1\.1 408 |$)/);
    clearInterval(dripping);
  });
});

describe('outlives the deadlines', () => {
  /** Two who stop in the body, one after the other: when both have been dropped every deadline has passed. */
  async function deadlinesPass(): Promise<void> {
    for (const _ of ['one', 'other']) await (await edge.dial()).send(post(call(1)).slice(0, -10)).last();
  }

  test('a connection that is idle between two requests', async () => {
    const client = await edge.dial();
    client.send(post(call(1)));
    (await edge.a.next()).answer(200, result(1, 'one'));
    await client.saw('one');
    await deadlinesPass();
    client.send(post(call(2)));
    (await edge.a.next()).answer(200, result(2, 'two'));
    expect((await client.saw('two')).split('HTTP/1.1 200 OK')).toHaveLength(3);
  });

  test('a call that runs', async () => {
    const client = await edge.dial();
    client.send(post(call(1)));
    const it = await edge.a.next();
    await deadlinesPass();
    it.answer(200, result(1, 'late'));
    expect((await client.answer()).body).toContain('late');
  });

  test('a stream', async () => {
    const client = await edge.dial();
    client.send(request('GET /mcp'));
    const it = (await edge.a.next()).stream();
    await deadlinesPass();
    it.event(result(1, 'late')).end();
    expect((await client.answer()).body).toContain('late');
    client.leave();
  });
});
