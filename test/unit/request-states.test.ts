/** What is remembered of each `requestState`, for how long, and what it costs. */

import { expect, test, vi } from 'vitest';
import type { Exchange, JsonObject, Peers, Sink, SseEvent } from '../../proxy/contract.ts';
import { createRequestStates } from '../../proxy/request-states.ts';

type Handler = Parameters<Peers['on']>[1];

/** `others` answers the questions; `said` is what the others hear. */
function begin(others: (message: JsonObject) => Promise<readonly JsonObject[]> = () => Promise.resolve([])) {
  let now = 0;
  const handlers = new Map<string, Handler>();
  const said: JsonObject[] = [];
  const asked: JsonObject[] = [];
  const peers: Peers = {
    async ask(_topic, message) {
      asked.push(message);
      return { answers: await others(message), complete: true };
    },
    tell: (_topic, message) => void said.push(message),
    on(topic, f) {
      handlers.set(topic, f);
      return () => void handlers.delete(topic);
    },
    close() {},
  };
  const states = createRequestStates(peers, () => now);
  return {
    states,
    said,
    asked,
    hear: (topic: string, message: JsonObject) => handlers.get(topic)?.(message),
    handlers,
    pass: (ms: number) => (now += ms),
    find: (state: unknown, ask = false) => states.issuerOf(bringing(state), ask),
  };
}

function bringing(requestState: unknown): Exchange {
  const message = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { requestState } } as const;
  const intent = { kind: 'any', messages: [message] } as const;
  return { method: 'POST', target: '/mcp', headers: [], body: undefined, intent, signal: AbortSignal.any([]) };
}

function newSink() {
  const seen: (Buffer | SseEvent)[] = [];
  const sink: Sink = {
    shown: 'nothing',
    head() {},
    event: (event) => seen.push(event) > 0,
    chunk: (bytes) => seen.push(bytes) > 0,
    drained: () => Promise.resolve(),
    end() {},
    cut() {},
  };
  return { sink, seen };
}
const bodyOf = (requestState: unknown, more = {}) =>
  Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { requestState, ...more } }));

test('the backend of a state, from a body and from an event; told to others by its hash alone', async () => {
  const { states, said, find } = begin();
  const { sink, seen } = newSink();
  const body = bodyOf('secret-1');
  states.hear(sink, 'a').chunk(body);
  const event: SseEvent = {
    raw: Buffer.from('data: …\n\n'),
    messages: [{ jsonrpc: '2.0', id: 1, result: { requestState: 'secret-2' } }],
  };
  states.hear(sink, 'b').event(event);
  expect([await find('secret-1'), await find('secret-2'), await find('secret-3')]).toEqual(['a', 'b', undefined]);
  expect(seen).toEqual([body, event]);
  expect(said.map(({ backend }) => backend)).toEqual(['a', 'b']);
  expect(JSON.stringify(said)).not.toContain('secret');
});

test('an answer that bears none, or is none, is not parsed, and teaches nothing', async () => {
  const { states, said, find } = begin();
  const { sink } = newSink();
  const ear = states.hear(sink, 'a');
  const parse = vi.spyOn(JSON, 'parse');
  ear.chunk(Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 1, result: { content: 'the requestState' } })));
  expect(parse).not.toHaveBeenCalled();
  parse.mockRestore();
  for (const body of [bodyOf(7), bodyOf(null), Buffer.from('"requestState"'), Buffer.from('{"requestState":"s"')])
    ear.chunk(body);
  expect([said, await find('s'), await find(7), await find(undefined)]).toEqual([[], undefined, undefined, undefined]);
});

test('is remembered for ten minutes since it was issued last, ten thousand at most', async () => {
  const { states, find, pass } = begin();
  const { sink } = newSink();
  const ear = states.hear(sink, 'a');
  ear.chunk(bodyOf('first'));
  pass(599_999);
  expect(await find('first')).toBe('a');
  pass(1);
  expect(await find('first')).toBeUndefined();
  for (let at = 0; at <= 10_000; at += 1) ear.chunk(bodyOf(`state-${at}`));
  expect([await find('state-0'), await find('state-1'), await find('state-10000')]).toEqual([undefined, 'a', 'a']);
});

test('others are asked where it is not known here, once, and 64 times at once', async () => {
  const { promise, resolve } = Promise.withResolvers<readonly JsonObject[]>();
  const { find, asked } = begin(({ hash }) => promise.then(() => [{}, { hash, backend: 'b' }]));
  expect([await find('x', false), asked.length]).toEqual([undefined, 0]);
  const all = Array.from({ length: 70 }, (_, at) => find(`state-${at}`, true));
  resolve([]);
  const found = await Promise.all(all);
  expect(found.filter((one) => one === 'b')).toHaveLength(64);
  expect(asked).toHaveLength(64);
  expect([await find('state-0', true), await find('state-69', true), asked.length]).toEqual(['b', 'b', 65]);
});

test('others hear, and are answered, until it is closed', async () => {
  const first = begin();
  const second = begin();
  first.states.hear(newSink().sink, 'a').chunk(bodyOf('s'));
  const [{ hash } = {}] = first.said;
  expect(first.hear('request-state/who-issued', { hash })).toEqual({ hash, backend: 'a' });
  expect(first.hear('request-state/who-issued', { hash: 'other' })).toBeUndefined();
  for (const odd of [{}, { hash }, { hash: 's', backend: 'z' }, { hash, backend: 'z'.repeat(2_000) }])
    void second.hear('request-state/issued', odd);
  expect(await second.find('s')).toBeUndefined();
  void second.hear('request-state/issued', first.said[0]!);
  expect(await second.find('s')).toBe('a');
  second.states.close();
  expect(second.handlers.size).toBe(0);
});
