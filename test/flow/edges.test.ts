/** What a client is told when its backend is nasty: a fixed sentence, and never a word of the inside. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startEdge } from '../house/edge.ts';
import type { Field, NastyRequest } from '../house/nasty.ts';
import { type RawClient, post, request, said } from '../house/raw.ts';
import { call, note, result } from '../house/recording.ts';
import { soon, until } from '../house/until.ts';

const UNKNOWN = 'The server was lost while it worked on this request: the outcome is unknown';
const ERROR = JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code: -32000, message: UNKNOWN } });
let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
  await edge.open('session-1');
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

/** A call of a tool that must not run twice. */
async function calling(): Promise<{ readonly client: RawClient; readonly it: NastyRequest }> {
  const client = await edge.dial();
  client.send(post(call(1), 'mcp-session-id: session-1'));
  return { client, it: await edge.a.next() };
}

describe('before anything was shown: an answer to the call', () => {
  const JSON_HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n';
  const CASES: readonly (readonly [how: string, act: (it: NastyRequest) => void])[] = [
    ['reset before a byte', (it) => it.reset()],
    ['closed before a byte', (it) => it.die()],
    ['dead in the headers', (it) => it.write('HTTP/1.1 200 OK\r\nset-cookie: a=').die()],
    ['dead in a body', (it) => it.write(`${JSON_HEAD}content-length: 50\r\n\r\n{"jsonrpc"`).die()],
    ['garbage', (it) => it.write(`\0\x01\x02 stack at inside.ts:1 ${edge.a.origin}\r\n\r\n`)],
    ['another protocol', (it) => it.write('SSH-2.0-nasty\r\n')],
    ['a status that is none', (it) => it.write('HTTP/1.1 2000 OK\r\n\r\n')],
    ['two lengths', (it) => it.write(`${JSON_HEAD}content-length: 2\r\ncontent-length: 3\r\n\r\n{}}`)],
    ['a broken chunk', (it) => it.write(`${JSON_HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`)],
    ['headers without end', (it) => it.write(`HTTP/1.1 200 OK\r\nx: ${'x'.repeat(70_000)}`)],
  ];
  test.each(CASES)('%s', async (_how, act) => {
    const { client, it } = await calling();
    act(it);
    expect(said(await client.answer())).toBe(`200 -32000: ${UNKNOWN}`);
    client.leave();
  });
});

describe('on a stream that was begun: an error for the call, and a clean end', () => {
  const CASES: readonly (readonly [how: string, act: (it: NastyRequest) => void, events: number])[] = [
    ['dead after the head', (it) => it.stream().die(), 0],
    ['dead in an event', (it) => it.stream().event(note('x')).chunk('data: {"jsonrpc":"2.0","id":1,"resu').die(), 1],
    ['dead between events', (it) => it.stream().event(note('x')).event(note('y')).die(), 2],
    ['an end without the answer', (it) => it.stream().event(note('x')).end(), 1],
    ['garbage for a chunk', (it) => it.stream().event(note('x')).write('nonsense\r\n'), 1],
  ];
  test.each(CASES)('%s', async (_how, act, events) => {
    const { client, it } = await calling();
    act(it);
    const { status, body } = await client.answer();
    expect([status, body.split('\n\n').length - 1]).toEqual([200, events + 1]);
    expect(body.endsWith(`event: message\ndata: ${ERROR}\n\n`)).toBe(true);
    client.leave();
  });
});

test('an answer that dies after a MiB cannot be taken for the whole', async () => {
  const { client, it } = await calling();
  const large = JSON.stringify(result(1, 'x'.repeat(4_000_000)));
  it.write(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${large.length}\r\n\r\n`);
  it.write(large.slice(0, 3_000_000));
  await client.saw('xxx');
  it.die();
  const text = await client.last();
  expect(text.length).toBeLessThan(large.length);
});

test('one that has no length either', async () => {
  const { client, it } = await calling();
  it.head(200, [
    ['content-type', 'application/json'],
    ['transfer-encoding', 'chunked'],
  ]);
  it.chunk('x'.repeat(3_000_000));
  await client.saw('xxx');
  it.die();
  expect((await client.last()).endsWith('0\r\n\r\n')).toBe(false);
});

describe('404', () => {
  test('of a method passes, and the session lives', async () => {
    const missing = { jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'Method not found' } };
    const { client, it } = await calling();
    it.answer(404, missing);
    expect(said(await client.answer())).toBe('404 -32601: Method not found');
    const next = await calling();
    next.it.answer(200, result(1));
    expect((await next.client.answer()).status).toBe(200);
  });

  test('of a session is answered by a new one of the same home', async () => {
    await edge.open('session-2');
    const client = await edge.dial();
    client.send(post({ ...call(1), method: 'resources/read' }, 'mcp-session-id: session-2'));
    edge.a.knows = false;
    (await edge.a.next()).answer(404);
    const handshake = await edge.a.next();
    expect(handshake.all('mcp-affinity-previous')).toEqual(['session-2']);
    const answer = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'nasty', version: '1' } };
    handshake.answer(200, { jsonrpc: '2.0', id: JSON.parse(handshake.body).id, result: answer }, [
      ['content-type', 'application/json'],
      ['mcp-session-id', 'session-2b'],
    ]);
    const after = [await edge.a.next(), await edge.a.next()];
    after.find(({ line }) => line.startsWith('DELETE'))?.answer(404);
    const again = after.find(({ line }) => line.startsWith('POST'))!;
    expect([again.all('mcp-session-id'), again.all('mcp-affinity-session')]).toEqual([['session-2b'], ['session-2']]);
    again.answer(200, result(1, 'healed'));
    expect((await client.answer()).body).toContain('healed');
    edge.a.knows = true;
  });
});

describe('the client leaves: the backend sees it at once', () => {
  test.each([
    ['a call', () => post(call(1), 'mcp-session-id: session-1'), () => {}],
    [
      'a call’s stream',
      () => post(call(1), 'mcp-session-id: session-1'),
      (it: NastyRequest) => it.stream().event(note('x')),
    ],
    [
      'a listening stream',
      () => request('GET /mcp', ['mcp-session-id: session-1']),
      (it: NastyRequest) => it.stream().event(note('x')),
    ],
    ['a stream without a session', () => request('GET /mcp'), (it: NastyRequest) => it.stream().event(note('x'))],
  ])('%s', async (_what, text, act) => {
    const client = await edge.dial();
    client.send(text());
    const it = await edge.a.next();
    if (act(it) !== undefined) await client.saw('event: message');
    const before = edge.events.length;
    client.leave();
    await soon('the close', it.left);
    const ending = await until('it is recorded', () =>
      edge.events.slice(before).find(({ type }) => type === 'exchange'),
    );
    expect(ending).toMatchObject({ outcome: 'abandoned', status: 499 });
  });
});

test.each([
  ['does not begin its answer in time', (): void => {}],
  ['sends no more than a head', (it: NastyRequest) => it.head(200, HALF)],
  ['stops in the middle of its answer', (it: NastyRequest) => it.head(200, HALF).write('{"jsonrpc"')],
  ['stops in the middle of an error', (it: NastyRequest) => it.head(500, HALF).write('<html>')],
])('a backend that %s: the call is told', async (_what, act) => {
  const strict = await startEdge({ flags: ['--answer-seconds', '0.2'] });
  const client = await strict.dial();
  client.send(post(call(1)));
  const it = await strict.a.next();
  act(it);
  expect(said(await client.answer())).toBe('200 -32000: The server did not answer in time: the outcome is unknown');
  await soon('the close', it.left);
  strict.assertTight();
  await strict.close();
});

const HALF: readonly Field[] = [
  ['content-type', 'application/json'],
  ['content-length', '100'],
];

test('a backend that refuses: 503, and when to come again', async () => {
  const empty = await startEdge();
  await empty.a.close();
  const client = await empty.dial();
  const answer = await client.send(post(call(1))).answer();
  expect(said(answer)).toBe('503 -32000: Service unavailable: no server can take the request now, try again');
  expect(answer.head.toLowerCase()).toContain('\r\nretry-after: 1\r\n');
  empty.assertTight();
  await empty.close();
});
