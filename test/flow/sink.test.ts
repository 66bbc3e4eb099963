/** The client's side of a stream: flushed at once, paused when the client is slow, commented when it is silent. */

import { type Server, createServer } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ResponseSink } from '../../proxy/sink.ts';
import { type Edge, startEdge } from '../house/edge.ts';
import { type RawClient, dial, post, request } from '../house/raw.ts';
import { call, note, result } from '../house/recording.ts';
import { until } from '../house/until.ts';

const COMMENT = ': keep-alive\n';
const STREAM = ['content-type', 'text/event-stream'];
const event = (text: string) => ({ raw: Buffer.from(text), messages: [] });

describe('keep-alive comments', () => {
  const sinks: ResponseSink[] = [];
  let server: Server;
  let port = 0;
  beforeAll(async () => {
    server = createServer((_request, response) => {
      sinks.push(new ResponseSink(response, { closing: () => false, commentSeconds: 0.02 }));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  async function open(headers: readonly string[] = STREAM): Promise<{ client: RawClient; sink: ResponseSink }> {
    const before = sinks.length;
    const client = await dial(port);
    client.send(request('GET /mcp'));
    const sink = await until('the request is there', () => sinks[before]);
    sink.head(200, headers);
    return { client, sink };
  }
  /** A silent stream that was opened now has had some: so would an older one. */
  async function commentsCome(): Promise<void> {
    const { client } = await open();
    await client.saw(COMMENT, 4);
    client.leave();
  }

  test('come on a silent stream, after the head and after an event', async () => {
    const { client, sink } = await open();
    await client.saw(COMMENT, 2);
    sink.event(event('data: one\n\n'));
    const before = (await client.saw('data: one\n\n')).split(COMMENT).length;
    const text = await client.saw(COMMENT, before + 1);
    expect(text.split('data: one\n\n')[1]).toContain(COMMENT);
    client.leave();
  });

  test.each(['data: one', 'data: one\n', 'data: one\r\n', ': half'])('never within an event: %j', async (half) => {
    const { client, sink } = await open();
    sink.event(event(half));
    await commentsCome();
    sink.event(event('\n\n'));
    sink.end();
    const text = await client.saw('\r\n0\r\n\r\n');
    expect(text.slice(text.indexOf(half))).not.toContain(COMMENT);
    client.leave();
  });

  test.each(['\n\n', '\r\n\r\n', '\r\r'])('again after an event that ends with %j', async (blank) => {
    const { client, sink } = await open();
    sink.event(event(`data: one${blank}`));
    const text = await client.saw('data: one');
    const more = await client.saw(COMMENT, text.split(COMMENT).length);
    expect(more.split(`data: one${blank}`)[1]).toContain(COMMENT);
    client.leave();
  });

  test('never to a client that does not read: nothing piles up', async () => {
    const { client, sink } = await open();
    client.pause();
    const large = event(`data: ${'x'.repeat(1024 * 1024)}\n\n`);
    let written = 1;
    while (sink.event(large)) written += 1;
    for (let more = 0; more < 16; more += 1) sink.event(large);
    await commentsCome();
    client.resume();
    await sink.drained();
    sink.event(event('data: last\n\n'));
    const text = await client.saw('data: last\n\n');
    const events = text.slice(text.indexOf('data: x'));
    expect(events.split('data: x').length - 1).toBe(written + 16);
    expect(events.slice(0, events.indexOf('data: last'))).not.toContain(COMMENT);
    client.leave();
  });

  test('never in a body, and never after the end', async () => {
    const body = await open(['content-type', 'application/json']);
    body.sink.chunk(Buffer.from('{'));
    const ended = await open();
    ended.sink.end();
    const end = await ended.client.saw('0\r\n\r\n');
    await commentsCome();
    expect(await body.client.saw('{')).not.toContain(COMMENT);
    expect(ended.client.text).toBe(end);
    for (const { client } of [body, ended]) client.leave();
  });
});

describe('through the whole proxy', () => {
  let edge: Edge;
  beforeAll(async () => {
    edge = await startEdge();
    await edge.open('session-1');
  });
  afterEach(() => edge.assertTight());
  afterAll(() => edge.close());

  const asked = [
    ['a request', post({ ...call(1), method: 'resources/read' }, 'mcp-session-id: session-1')],
    ['a listening stream', request('GET /mcp', ['mcp-session-id: session-1'])],
    ['a stream without a session', request('GET /mcp')],
  ] as const;

  test.each(asked)('each event of %s reaches the client before the next is sent', async (_what, text) => {
    const client = await edge.dial();
    client.send(text);
    const it = (await edge.a.next()).stream();
    await client.saw('text/event-stream');
    for (const step of ['one', 'two', 'three']) {
      it.event(note(step));
      await client.saw(JSON.stringify(note(step)));
    }
    it.event(result(1)).end();
    expect((await client.answer()).body.split('\n\n').length - 1).toBe(4);
    client.leave();
  });

  test.each(asked)('a client that does not read %s stops the backend, and misses nothing', async (_what, text) => {
    const MIB = 1024 * 1024;
    const MANY = 96;
    const client = await edge.dial();
    client.send(text);
    const it = (await edge.a.next()).stream();
    await client.saw('text/event-stream');
    client.pause();
    const flood = it.flood(`data: ${'x'.repeat(MIB - 8)}\n\n`, MANY);
    // What the kernel's buffers hold, on both sides of the proxy, is less.
    expect(await flood.stopped()).toBeLessThan((MANY / 2) * MIB);
    client.resume();
    await flood.done;
    it.event(result(1)).end();
    await client.saw(JSON.stringify(result(1)));
    expect(client.text.split('data: x').length - 1).toBe(MANY);
    client.leave();
  });
});
