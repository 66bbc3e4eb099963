/** Answers of backends that are held back, or read whole: bounded, and the client is told. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Edge, INITIALIZE, startEdge } from '../house/edge.ts';
import type { Field } from '../house/nasty.ts';
import { post, request, said } from '../house/raw.ts';
import { call, note } from '../house/recording.ts';
import { soon } from '../house/until.ts';

const KIB = 1024;
const CHUNKED: Field = ['transfer-encoding', 'chunked'];
const JSON_TYPE: Field = ['content-type', 'application/json'];
const EVENTS: Field = ['content-type', 'text/event-stream'];

let edge: Edge;
beforeEach(async () => {
  edge = await startEdge();
});
afterEach(async () => {
  edge.assertTight();
  await edge.close();
});

const tooLong = (): number => edge.events.filter((e) => e.type === 'limited' && e.limit === 'answers').length;

describe('an answer to initialize that is too long is 502, and what it has opened is closed', () => {
  test.each<[string, Field, string, string]>([
    ['JSON', JSON_TYPE, '{"jsonrpc":"2.0","id":"first","result":{"x":"', 'x'.repeat(64 * KIB)],
    ['notifications', EVENTS, '', `data: ${JSON.stringify(note('x'.repeat(2000)))}\n\n`.repeat(20)],
    ['comments', EVENTS, '', ':\n\n'.repeat(1000)],
    ['one event', EVENTS, 'data: ', 'x'.repeat(64 * KIB)],
  ])('%s without end', async (_what, type, begin, again) => {
    const before = tooLong();
    const client = await edge.dial();
    client.send(post(INITIALIZE));
    const it = await edge.a.next();
    it.head(200, [type, CHUNKED, ['mcp-session-id', 'endless']]);
    if (begin !== '') it.chunk(begin);
    const flood = it.flood(again, 20_000);
    expect(said(await client.answer())).toBe("502 -32000: The server's answer to initialize is too long");
    await soon('the proxy to leave', it.left);
    await expect(flood.done).rejects.toThrow(/EPIPE|ECONNRESET|ECANCELED|destroyed/);
    expect(tooLong()).toBe(before + 1);
    const goodbye = await edge.a.next();
    expect([goodbye.line, goodbye.all('mcp-session-id')]).toEqual(['DELETE /mcp HTTP/1.1', ['endless']]);
    goodbye.answer(200);
    client.leave();
  });
});

describe('in a session', () => {
  test('a list of tools that is too long to be held passes as it comes', async () => {
    await edge.open('tools');
    const client = await edge.dial();
    client.send(post({ jsonrpc: '2.0', id: 1, method: 'tools/list' }, 'mcp-session-id: tools'));
    const it = await edge.a.next();
    it.head(200, [JSON_TYPE, CHUNKED]).chunk('{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"');
    it.chunk('x'.repeat(1500 * KIB));
    // Its end has not come.
    await client.saw('x'.repeat(1000));
    it.chunk('"}]}}').end();
    expect((await client.answer()).body).toContain('"}]}}');
    client.leave();
  });

  test('a promise that is too long to be kept has an unknown outcome', async () => {
    await edge.open('level');
    const before = tooLong();
    const client = await edge.dial();
    const level = { jsonrpc: '2.0', id: 1, method: 'logging/setLevel', params: { level: 'info' } };
    client.send(post([level, call(2)], 'mcp-session-id: level'));
    const it = await edge.a.next();
    it.head(200, [JSON_TYPE, CHUNKED]);
    const flood = it.flood('x'.repeat(64 * KIB), 1000);
    await expect(flood.done).rejects.toThrow(/EPIPE|ECONNRESET|ECANCELED|destroyed/);
    const { status, body } = await client.answer();
    expect([status, body]).toEqual([200, expect.stringContaining('the outcome is unknown')]);
    expect(tooLong()).toBe(before + 1);
    client.leave();
  });

  test('what is no stream, in place of one that has broken, is not read without end', async () => {
    await edge.open('listener');
    const client = await edge.dial();
    client.send(request('GET /mcp', ['accept: text/event-stream', 'mcp-session-id: listener']));
    const stream = (await edge.a.next()).stream();
    stream.event(note('first'), '1');
    await client.saw('first');
    stream.reset();
    const again = await edge.a.next();
    expect(again.line).toBe('GET /mcp HTTP/1.1');
    again.head(200, [JSON_TYPE, CHUNKED]);
    await expect(again.flood('x'.repeat(64 * KIB), 1000).done).rejects.toThrow(/EPIPE|ECONNRESET|ECANCELED|destroyed/);
    client.leave();
  });
});
