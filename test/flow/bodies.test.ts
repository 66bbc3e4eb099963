/** Request bodies in memory, all together, and requests that wait for a server: bounded, and given back in the end. */

import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { startProxy } from '../house/flow.ts';
import { type Edge, type EdgeOptions, INITIALIZE, startEdge } from '../house/edge.ts';
import type { NastyRequest } from '../house/nasty.ts';
import { type RawClient, post, request, said } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';
import { POSTED } from '../house/by-hand.ts';
import { soon, until } from '../house/until.ts';

const FULL = '503 -32000: Service unavailable: too many bytes of request bodies are in memory, try again';
const JSON_TYPE = 'content-type: application/json';

let edge: Edge;
afterEach(async () => {
  edge.assertTight();
  await edge.close();
});
/** Two bodies of 1,000 bytes fit, and half of one. */
async function begin(options: EdgeOptions = {}): Promise<void> {
  edge = await startEdge({ flags: ['--max-body', '1000', '--max-bodies', '2500'], ...options });
}
const limits = (): readonly string[] => edge.events.flatMap((event) => (event.type === 'limited' ? [event.limit] : []));

const sized = (bytes: number): string => {
  const of = (name: string): string => JSON.stringify(call(1, name));
  return of('x'.repeat(bytes - of('').length));
};
async function ask(body = sized(1000)): Promise<RawClient> {
  return (await edge.dial()).send(post(body));
}
/** A client whose request has reached the backend. */
async function running(body?: string): Promise<{ readonly client: RawClient; readonly it: NastyRequest }> {
  const client = await ask(body);
  return { client, it: await edge.a.next() };
}
/** Resolves when a request passes. */
async function passes(): Promise<void> {
  await until('a body fits', async () => {
    const before = edge.a.requests.length;
    const client = await ask();
    await until('an answer, or the backend has it', () => client.text !== '' || edge.a.requests.length > before);
    const passed = edge.a.requests.length > before;
    if (passed) (await edge.a.next()).answer(200, result(1));
    await client.answer();
    client.leave();
    return passed;
  });
}

describe('bodies of requests', () => {
  test('count until they are answered', async () => {
    await begin();
    const first = await running();
    const second = await running();
    const client = await ask();
    const answer = await client.answer();
    expect(said(answer)).toBe(FULL);
    expect(answer.head.toLowerCase()).toMatch(/\r\nretry-after: 1\r\n/);
    expect((await client.last()).toLowerCase()).toContain('\r\nconnection: close\r\n');
    expect(limits()).toEqual(['bodies']);
    const small = await running(sized(500));
    for (const { it } of [first, second, small]) it.answer(200, result(1));
    for (const one of [first, second, small]) expect((await one.client.answer()).status).toBe(200);
    await passes();
  });

  test('count when their client or their server is gone', async () => {
    await begin();
    const first = await running();
    const second = await running();
    expect(said(await (await ask()).answer())).toBe(FULL);
    first.client.leave();
    await first.it.left;
    await passes();
    second.it.reset();
    expect((await second.client.answer()).status).toBe(200);
    await running();
    await running();
    expect(said(await (await ask()).answer())).toBe(FULL);
  });

  test('count from their first byte, and what does not fit any more is refused in its middle', async () => {
    await begin();
    const clients = await Promise.all([edge.dial(), edge.dial(), edge.dial()]);
    for (const client of clients) {
      client.send(request('POST /mcp', [JSON_TYPE, 'transfer-encoding: chunked']));
      client.send(`384\r\n${'x'.repeat(900)}\r\n`);
    }
    const refused = await until('one is refused', () => clients.find(({ text }) => text !== ''));
    expect(said(await refused.answer())).toBe(FULL);
    const last = await edge.dial();
    last.send(request('POST /mcp', [JSON_TYPE, 'content-length: 1000']));
    expect(said(await last.answer())).toBe(FULL);
    expect(clients.filter(({ text }) => text !== '')).toEqual([refused]);
    for (const client of clients) client.leave();
    await passes();
  });

  test('one that is refused is read to its end, so that its client reads why', async () => {
    await begin({ flags: ['--max-body', '8000000', '--max-bodies', '8000000'] });
    const first = await running(sized(4_000_000));
    const client = await edge.dial();
    client.pause();
    client.send(request('POST /mcp', [JSON_TYPE, 'content-length: 8000000']));
    await client.sendAll('x'.repeat(8_000_000));
    client.resume();
    expect(said(await client.answer())).toBe(FULL);
    first.client.leave();
  });

  test('in thousands of chunks they are whole', async () => {
    await begin({ flags: [] });
    const body = sized(20_000);
    const client = await edge.dial();
    client.send(request('POST /mcp', [JSON_TYPE, 'transfer-encoding: chunked']));
    client.send(Array.from(body, (one) => `1\r\n${one}\r\n`).join('') + '0\r\n\r\n');
    const it = await edge.a.next();
    expect(it.body).toBe(body);
    it.answer(200, result(1));
    await client.answer();
  });
});

test('a body that names no session has less time to arrive than one that does', async () => {
  await begin({ deadlines: { body: 300 } });
  await edge.open('known');
  const body = sized(1000);
  const fields = [JSON_TYPE, 'content-length: 1000'];
  const [known, nameless] = [await edge.dial(), await edge.dial()];
  known.send(request('POST /mcp', [...fields, 'mcp-session-id: known']) + body.slice(0, 500));
  nameless.send(request('POST /mcp', fields) + body.slice(0, 500));
  expect(said(await nameless.answer())).toBe('408 -32000: Request timeout: the body took too long to arrive');
  expect((await nameless.last()).toLowerCase()).toContain('\r\nconnection: close\r\n');
  expect(limits()).toEqual(['body-time']);
  known.send(body.slice(500));
  (await edge.a.next()).answer(200, result(1));
  expect((await known.answer()).status).toBe(200);
});

test('1,000 requests wait for a server; more are refused at once, until some have gone', async () => {
  await begin();
  const backends = { list: () => [], suspect() {}, onChange: () => () => {}, close: () => Promise.resolve() };
  const proxy = await startProxy(['http://127.0.0.1:1'], ['--hold-seconds', '60'], { backends });
  onTestFinished(() => proxy.stop());
  const leave = new AbortController();
  const body = JSON.stringify(INITIALIZE);
  const refused: Response[] = [];
  const open = (signal: AbortSignal): Promise<void> =>
    fetch(proxy.url, { method: 'POST', headers: POSTED, body, signal }).then(
      (answer) => void refused.push(answer),
      () => {},
    );
  const all = Array.from({ length: 1003 }, () => open(leave.signal));
  await until('three are refused', () => refused.length >= 3, 30_000);
  const [first] = refused;
  expect([refused.length, first?.status, first?.headers.get('retry-after')]).toEqual([3, 503, '1']);
  expect(await first?.json()).toMatchObject({
    id: INITIALIZE.id,
    error: { message: 'Service unavailable: too many requests wait for a server, try again' },
  });
  leave.abort();
  await soon('all clients have left', Promise.all(all));
  await until('all are over', () => proxy.events.filter(({ type }) => type === 'exchange').length === 1003);
  const held = (): number => proxy.events.filter(({ type }) => type === 'held').length;
  expect(held()).toBe(1000);
  await until('one more is held', () => open(AbortSignal.timeout(300)).then(() => held() > 1000));
  expect(refused).toHaveLength(3);
}, 60_000);
