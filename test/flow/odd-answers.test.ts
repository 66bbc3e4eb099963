/** Messages that bend JSON-RPC: they pass as they came, and an answer under a bent id is an answer, not a loss. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, INITIALIZE, startEdge } from '../house/edge.ts';
import type { NastyRequest } from '../house/nasty.ts';
import { post } from '../house/raw.ts';

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
  await edge.open('s1');
});
afterAll(() => edge.close());

/** A safe call, which would be sent again if it were lost. */
const call = (id: unknown): object => ({ jsonrpc: '2.0', id, method: 'resources/read', params: { uri: 'x' } });
const result = (id: unknown): object => ({ jsonrpc: '2.0', id, result: {} });
const failure = (id: unknown): object => ({ jsonrpc: '2.0', id, error: { code: -32602, message: 'bad argument' } });

/** What the client got, and how often the backend was asked. */
async function exchange(body: unknown, answer: (to: NastyRequest) => void): Promise<string> {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  client.send(post(body, 'mcp-session-id: s1', 'connection: close'));
  const asked = await edge.a.next();
  expect(asked.body).toBe(JSON.stringify(body));
  answer(asked);
  const { body: got } = await client.answer();
  await client.last();
  expect(edge.a.requests).toHaveLength(before + 1);
  return got;
}

describe('a stream that ends after its answer', () => {
  test.each<[string, unknown, readonly object[]]>([
    ['with the id as a number', call('1'), [result(1)]],
    ['with the id as text', call(1), [result('1')]],
    ['with a shortened id', call(4_294_967_297), [result(1)]],
    ['an error without an id', call(7), [failure(null)]],
    ['an error with no id at all', call(7), [failure(undefined)]],
    ['a result that is null', call(7), [{ jsonrpc: '2.0', id: 7, result: null }]],
    ['a result of another kind, and id', call(7), [{ jsonrpc: '2.0', id: '7', result: [1] }]],
    ['an error that is text', call(7), [{ jsonrpc: '2.0', id: 7, error: 'no' }]],
    ['a batch, each in a way of its own', [call(1), call('2'), call(3)], [result('1'), result(2), failure(null)]],
    ['a batch, each unknown', [call(1), call(2)], [failure(null), failure(null)]],
  ])('%s', async (_what, body, answers) => {
    const got = await exchange(body, (to) => {
      to.stream();
      for (const answer of answers) to.event(answer);
      to.end();
    });
    expect(got).toBe(answers.map((answer) => `event: message\ndata: ${JSON.stringify(answer)}\n\n`).join(''));
  });
});

test('an initialize whose answer has an id of another type opens one session', async () => {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  client.send(post({ ...INITIALIZE, id: '1' }));
  const answer = { jsonrpc: '2.0', id: 1, result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: {} } };
  (await edge.a.next())
    .stream([['mcp-session-id', 's2']])
    .event(answer)
    .end();
  expect((await client.answer()).body).toBe(`event: message\ndata: ${JSON.stringify(answer)}\n\n`);
  expect(edge.a.requests).toHaveLength(before + 1);
});

test('an answer that came twice is not another request’s', async () => {
  const client = await edge.dial();
  client.send(post([call(1), call(2)], 'mcp-session-id: s1'));
  (await edge.a.next()).stream().event(result(1)).event(result('1')).end();
  const again = await edge.a.next();
  expect(again.body).toBe(JSON.stringify([call(2)]));
  again.stream().event(result(2)).end();
  await client.saw('0\r\n\r\n');
});

test.each([
  ['params that are null', { ...call(1), params: null }],
  ['params that are a list', { ...call(1), params: [] }],
  ['a list of params in a notification', { jsonrpc: '2.0', method: 'notifications/x', params: [1] }],
  ['a result that is null', { jsonrpc: '2.0', id: 1, result: null }],
  [
    'params that are null, of a message whose answer is remembered',
    { jsonrpc: '2.0', id: 1, method: 'logging/setLevel', params: null },
  ],
])('%s: the server judges', async (_what, body) => {
  expect(await exchange(body, (to) => to.answer(200, failure(1)))).toBe(JSON.stringify(failure(1)));
});
