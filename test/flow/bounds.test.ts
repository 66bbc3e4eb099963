/** What is bounded of a request at the endpoint: beyond it the client is told so, and no backend hears of it. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { EndpointLimit } from '../../proxy/events.ts';
import { type Edge, INITIALIZE, greet, startEdge } from '../house/edge.ts';
import { post, request, said } from '../house/raw.ts';
import { call, note, result } from '../house/recording.ts';
import { until } from '../house/until.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

/** How often a limit was met. */
function met(limit: EndpointLimit, { events } = edge): number {
  return events.filter((event) => event.type === 'limited' && event.limit === limit).length;
}
/** The refusal of a request that no backend hears of. */
async function refused(body: unknown, limit: EndpointLimit, ...fields: string[]): Promise<string> {
  const before = [edge.a.requests.length, met(limit)];
  const client = await edge.dial();
  const answer = await client.send(post(body, ...fields)).answer();
  client.leave();
  expect([edge.a.requests.length, met(limit) - 1]).toEqual(before);
  return said(answer);
}
/** The body that the backend gets, whose answer the client gets. */
async function passed(body: unknown, ...fields: string[]): Promise<string> {
  const client = await edge.dial();
  client.send(post(body, ...fields));
  const it = await edge.a.next();
  it.answer(200, result(1));
  expect((await client.answer()).status).toBe(200);
  client.leave();
  return it.body;
}
const withArguments = (text: string): string => JSON.stringify(call(1)).replace('"name"', `"arguments":${text},"name"`);

describe('an initialize', () => {
  const TOO_MUCH = '400 -32602: Invalid params: an initialize has at most 64 KiB, and params of at most 64 levels';
  const sized = (bytes: number): unknown => {
    const { params } = INITIALIZE;
    const of = (text: string) => ({ ...INITIALIZE, params: { ...params, clientInfo: { name: text, version: '1' } } });
    return of('x'.repeat(bytes - JSON.stringify(of('')).length));
  };
  const deep = (levels: number): string =>
    JSON.stringify(INITIALIZE).replace('"raw"', `"raw","deep":${'['.repeat(levels - 2)}${']'.repeat(levels - 2)}`);

  test.each([
    ['of more than 64 KiB', sized(64 * KIB + 1)],
    ['of 4 MB', sized(4 * MIB - 1)],
    ['with params of more than 64 levels', deep(65)],
    ['of one message in a batch, and 65 levels', `[${deep(65)}]`],
  ])('%s is refused under its own id', async (_what, body) => {
    const client = await edge.dial();
    const answer = await client.send(post(body)).answer();
    client.leave();
    expect(JSON.parse(answer.body)).toMatchObject({ id: INITIALIZE.id });
    expect(await refused(body, 'initialize')).toBe(TOO_MUCH);
  });

  test.each([
    ['of 64 KiB', sized(64 * KIB), 'large'],
    ['with params of 64 levels', deep(64), 'deep'],
  ])('%s opens a session', async (_what, body, id) => {
    const client = await edge.dial();
    client.send(post(body));
    greet(await edge.a.next(), id);
    expect((await client.answer()).status).toBe(200);
    client.leave();
    await passed(call(1), `mcp-session-id: ${id}`);
  });
});

describe('a body', () => {
  const DEPTH = '400 -32600: Invalid Request: the body has more than 128 objects and arrays within each other';
  const BATCH = '400 -32600: Invalid Request: a batch has at most 100 messages';
  const MEMBERS =
    '400 -32600: Invalid Request: messages of this size have at most 5000 members outside of their arguments';
  const fill = (unit: string): string => unit.repeat((4 * MIB) / unit.length - 100);

  test.each([
    ['of 4 MB of brackets', fill('['), DEPTH],
    ['of 129 levels', withArguments(`${'['.repeat(127)}${']'.repeat(127)}`), DEPTH],
    ['of 101 messages', Array.from({ length: 101 }, () => note('x')), BATCH],
    ['of 100,000 messages', `[${fill('{"jsonrpc":"2.0","method":"notifications/x"},')}{}]`, BATCH],
    ['of 4 MB of empty objects', `[${fill('{},')}{}]`, BATCH],
    ['of 350,000 keys', `{${Array.from({ length: 350_000 }, (_, at) => `"${at}":1`).join(',')}}`, MEMBERS],
  ])('%s is refused unparsed', async (_what, body, refusal) => {
    expect(await refused(body, 'json')).toBe(refusal);
  });

  test.each([
    ['of 128 levels', withArguments(`${'['.repeat(126)}${']'.repeat(126)}`)],
    ['of 4 MB in one string', withArguments(`"${'A'.repeat(4 * MIB - 1000)}"`)],
    ['of 4 MB of brackets in a string', withArguments(`"${'[\\"'.repeat((4 * MIB) / 3 - 1000)}"`)],
    ['of 200,000 numbers', withArguments(JSON.stringify(Array.from({ length: 200_000 }, (_, at) => at)))],
    [
      'of 300,000 keys in its arguments',
      withArguments(`{${Array.from({ length: 300_000 }, (_, at) => `"${at}":1`).join(',')}}`),
    ],
  ])('%s passes as it came', async (_what, body) => {
    expect((await passed(body)) === body).toBe(true);
  });
});

describe('subscriptions of a session', () => {
  const TOO_MANY =
    '200 -32602: Invalid params: a session has at most 1000 subscriptions, whose URIs have 256 KiB together';
  const TOO_LONG = '200 -32602: Invalid params: the URI of a subscription has at most 2048 bytes';
  const about = (uri: string, id = 1, method = 'subscribe') =>
    ({ jsonrpc: '2.0', id, method: `resources/${method}`, params: { uri } }) as const;
  const uris = (count: number, bytes: number): readonly string[] =>
    Array.from({ length: count }, (_, at) => `u:${at}`.padEnd(bytes, '.'));
  const refusal = (uri: string, session: string): Promise<string> =>
    refused(about(uri), 'subscriptions', `mcp-session-id: ${session}`);

  /** Subscribes in batches. */
  async function subscribe(session: string, all: readonly string[]): Promise<void> {
    for (let from = 0; from < all.length; from += 100) {
      const messages = all.slice(from, from + 100).map((uri, at) => about(uri, at));
      const client = await edge.dial();
      client.send(post(messages, `mcp-session-id: ${session}`));
      const it = await edge.a.next();
      it.answer(
        200,
        messages.map(({ id }) => result(id)),
      );
      expect((await client.answer()).status).toBe(200);
      client.leave();
    }
  }

  test('1,000 at most; those that are there can be made again, and another one after one has ended', async () => {
    await edge.open('many');
    await subscribe('many', uris(1000, 8));
    expect(await refusal('one more', 'many')).toBe(TOO_MANY);
    const [first = ''] = uris(1, 8);
    await passed(about(first), 'mcp-session-id: many');
    await passed(about(first, 1, 'unsubscribe'), 'mcp-session-id: many');
    await passed(about('one more'), 'mcp-session-id: many');
    expect(await refusal(first, 'many')).toBe(TOO_MANY);
  });

  test('a URI has 2,048 bytes at most, and all have 256 KiB', async () => {
    await edge.open('fat');
    expect(await refusal('\u00E9'.repeat(1024) + 'x', 'fat')).toBe(TOO_LONG);
    await subscribe('fat', uris(128, 2048));
    expect(await refusal('x', 'fat')).toBe(TOO_MANY);
  });

  test('a batch that has one too many is refused as a whole, each request under its id', async () => {
    await edge.open('batched');
    const before = edge.a.requests.length;
    const client = await edge.dial();
    client.send(post([about('a', 7), about('x'.repeat(2049), 8)], 'mcp-session-id: batched'));
    const { status, body } = await client.answer();
    client.leave();
    expect([status, edge.a.requests.length]).toEqual([200, before]);
    expect(JSON.parse(body)).toMatchObject([
      { id: 7, error: { code: -32602 } },
      { id: 8, error: { code: -32602 } },
    ]);
  });
});

test('connections to a backend are closed after clients that left', async () => {
  await edge.open('left');
  const clients = [];
  for (let at = 0; at < 20; at += 1) {
    const client = await edge.dial();
    const listens = request('GET /mcp', ['accept: text/event-stream', 'mcp-session-id: left']);
    client.send(at % 2 === 0 ? post(call(at), 'mcp-session-id: left') : listens);
    const it = await edge.a.next();
    if (at % 2 === 1) it.stream([['keep-alive', 'timeout=600']]).event(note('x'));
    clients.push(client);
  }
  for (const client of clients) client.leave();
  expect(await until('all are closed', () => edge.a.connections === 0)).toBe(true);
});
