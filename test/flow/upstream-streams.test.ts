/** Streams on real sockets: back-pressure, a thousand at once, bounds, and the ids of a session that has migrated. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Attempt, Backend, Exchange, Session } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Nasty, startNasty } from '../house/nasty.ts';
import { RecordingSink, call, listening, note, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon, until } from '../house/until.ts';

const MIB = 1024 * 1024;
const upstream = createUpstream({ answerSeconds: undefined });
const session = newSession();
let a: Nasty;
beforeAll(async () => {
  a = await startNasty();
});
afterAll(async () => {
  await upstream.close();
  await a.close();
});

function send(exchange: Exchange, of?: Session): { readonly sink: RecordingSink; readonly attempt: Promise<Attempt> } {
  const sink = new RecordingSink();
  const home: Backend = { id: 'a', origin: a.origin, draining: false, suspect: false };
  return { sink, attempt: soon('the end of the attempt', upstream.send(exchange, of, home, sink), 20_000) };
}

describe('a client that reads slowly stops the backend', () => {
  /** Far more than the kernel's buffers between the two hold. */
  const MANY = 96;
  const kinds = [
    ['in a stream', { 'content-type': 'text/event-stream' }, `data: ${'x'.repeat(MIB - 8)}\n\n`],
    ['in a body', { 'content-type': 'application/octet-stream' }, 'x'.repeat(MIB)],
  ] as const;
  test.each(kinds)('%s', async (_where, type, piece) => {
    const { sink, attempt } = send(posting(call(1)));
    sink.fill();
    const it = await a.next();
    it.head(200, [...Object.entries(type), ['transfer-encoding', 'chunked']]);
    const flood = it.flood(piece, MANY);
    expect(await flood.stopped()).toBeLessThan((MANY / 2) * MIB);
    expect(sink.bytes).toBeLessThan(4 * MIB);
    sink.drain();
    await soon('the rest', flood.done, 20_000);
    it.end();
    await attempt;
    expect(sink.bytes).toBe(MANY * MIB);
  });
});

test('a thousand listening streams to one backend, and the next POST is served', async () => {
  const client = new AbortController();
  const streams = Array.from({ length: 1000 }, () => send(listening(session, { signal: client.signal }), session));
  for (const _ of streams) (await a.next()).stream().event(note('hello'));
  await until('all streams are open', () => streams.every(({ sink }) => sink.events.length === 1), 20_000);
  expect(a.connections).toBeGreaterThanOrEqual(1000);

  const { attempt } = send(posting(call(1), { session }), session);
  const it = await a.next();
  expect(it.line).toBe('POST /mcp HTTP/1.1');
  it.answer(200, result(1));
  expect(await attempt).toEqual({ kind: 'answered', status: 200 });

  client.abort();
  const endings = await Promise.all(streams.map((stream) => stream.attempt));
  expect(endings.every(({ kind }) => kind === 'abandoned')).toBe(true);
  await until('the backend has none of them any more', () => a.connections <= 1);
});

test('hundreds of POSTs at once: no socket waits for another', async () => {
  const posts = Array.from({ length: 300 }, (_, id) => send(posting(call(id))));
  const all = await Promise.all(posts.map(() => a.next()));
  for (const it of all.toReversed()) it.answer(200, result(Number(JSON.parse(it.body).id)));
  expect(new Set((await Promise.all(posts.map((one) => one.attempt))).map(({ kind }) => kind))).toEqual(
    new Set(['answered']),
  );
  expect(posts.map(({ sink }) => sink.body)).toEqual(posts.map((_, id) => JSON.stringify(result(id))));
});

describe('an answer over a MiB', () => {
  const large = JSON.stringify(result(1, 'x'.repeat(3 * MIB)));

  test('streams through: its beginning is there before its end', async () => {
    const { sink, attempt } = send(posting(call(1)));
    const it = (await a.next()).head(200, [
      ['content-type', 'application/json'],
      ['content-length', String(large.length)],
    ]);
    it.write(large.slice(0, 2 * MIB));
    await until('the beginning is shown', () => sink.bytes === 2 * MIB);
    it.write(large.slice(2 * MIB));
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect([sink.body === large, sink.ending]).toEqual([true, 'end']);
  });

  test('that dies in its middle cuts the client off', async () => {
    const { sink, attempt } = send(posting(call(1)));
    const it = (await a.next()).head(200, [
      ['content-type', 'application/json'],
      ['content-length', String(large.length)],
    ]);
    it.write(large.slice(0, 2 * MIB)).die();
    expect(await attempt).toMatchObject({ kind: 'lost', unanswered: [1] });
    expect([sink.shown, sink.ending]).toEqual(['body', 'cut']);
  });
});

describe('an event over the bound', () => {
  const large = `event: message\ndata: ${JSON.stringify(result(1, 'x'.repeat(9 * MIB)))}\n\n`;
  const whole = (sink: RecordingSink): string => sink.texts.join('');

  test('passes as it came, and what follows it is read again', async () => {
    const { sink, attempt } = send(posting(call(1)));
    (await a.next()).stream().chunk(large).event(note('after')).end();
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect(whole(sink).startsWith(large)).toBe(true);
    expect(sink.events.at(-1)?.messages).toEqual([note('after')]);
  });

  test.each([
    ['a POST', () => posting(call(1))],
    ['a listening stream', () => listening(session)],
  ])('that is torn cuts the client of %s off: nothing can follow half an event', async (_what, make) => {
    const { sink, attempt } = send(make(), session);
    (await a.next()).stream().chunk(large.slice(0, -100)).die();
    expect(await attempt).toMatchObject({ kind: 'lost' });
    expect(sink.ending).toBe('cut');
  });
});

describe('from the first migration on', () => {
  const migrated = newSession({ epoch: 2 });
  const question = { jsonrpc: '2.0', id: 0, method: 'elicitation/create', params: { _meta: { progressToken: 'p' } } };
  const cancelled = { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 0 } };

  test.each([
    ['a POST', () => posting(call(1), { session: migrated })],
    ['a listening stream', () => listening(migrated)],
  ])('the server’s questions and event ids carry the epoch, on %s', async (_what, make) => {
    const { sink, attempt } = send(make(), migrated);
    (await a.next()).stream().event(question, '7').event(cancelled).event(result(1), '8').chunk(': hi\n\n').end();
    await attempt;
    const renamed = { ...question, id: 'e2|n|0', params: { _meta: { progressToken: 'e2|s|p' } } };
    const shown = [renamed, { ...cancelled, params: { requestId: 'e2|n|0' } }, result(1)];
    expect(sink.texts).toEqual([
      `event: message\nid: e2|7\ndata: ${JSON.stringify(renamed)}\n\n`,
      `event: message\ndata: ${JSON.stringify(shown[1])}\n\n`,
      `event: message\nid: e2|8\ndata: ${JSON.stringify(result(1))}\n\n`,
      ': hi\n\n',
    ]);
    expect(sink.events.map(({ id }) => id)).toEqual(['7', undefined, '8', undefined]);
    expect(sink.events.flatMap(({ messages }) => messages)).toEqual(shown);
  });

  test('before it, every byte stays as it is', async () => {
    const texts = [
      'id: 7\r\ndata:{"jsonrpc" : "2.0", "id":0,"method":"ping"}\r\n\r\n',
      'retry: 5\n\n',
      'data: \u{1F600}\n\n',
    ];
    const { sink, attempt } = send(listening(session), session);
    const it = (await a.next()).stream();
    for (const text of texts) it.chunk(text);
    it.end();
    await attempt;
    expect(sink.texts).toEqual(texts);
  });
});
