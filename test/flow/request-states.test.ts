/** Calls without a session that go on in rounds, at servers that seal `requestState` each with a key of its own. */

import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type RawAnswer, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { startRedis, untilPeers } from '../house/redis.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

const NAMES = ['a', 'b', 'c'];
const ROUNDS = 3;
const HEADERS = { 'mcp-protocol-version': '2026-07-28' };
const CALLED = z.object({ params: z.object({ requestState: z.string().optional() }) });
const ANSWER = z.object({
  result: z.object({ requestState: z.string().optional(), home: z.string() }).optional(),
  error: z.object({ message: z.string() }).optional(),
});

type Say = (response: ServerResponse, body: object) => void;
const asJson: Say = (response, body) => sayJson(response, 200, body);
const asEvents: Say = (response, body) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const progress = { jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data: 'x' } };
  for (const one of [progress, { jsonrpc: '2.0', ...body }]) response.write(`data: ${JSON.stringify(one)}\n\n`);
  response.end();
};

/** Goes on for as many rounds as it likes, and reads no state but its own. */
function inRounds(server: Plain, name: string, say: Say): void {
  let calls = 0;
  server.before = ({ id, body, response }: Asked) => {
    const { requestState = `${name}/${(calls += 1)}/0` } = CALLED.parse(JSON.parse(body)).params;
    const [home, number, round] = requestState.split('/');
    const next = `${name}/${number}/${Number(round) + 1}`;
    if (home !== name) say(response, { id, error: { code: -32_602, message: `${name} cannot read the state` } });
    else if (Number(round) === ROUNDS) say(response, { id, result: { resultType: 'complete', home } });
    else say(response, { id, result: { resultType: 'input_required', requestState: next, home } });
    return true;
  };
}

async function begin(proxies: number, say: Say = asJson) {
  const servers = await Promise.all(NAMES.map(startPlain));
  for (const [at, server] of servers.entries()) {
    undo.push(() => server.close());
    inRounds(server, NAMES[at]!, say);
  }
  const redis = await startRedis();
  undo.push(() => redis.close());
  const flags = proxies > 1 ? [`--redis=${redis.url}`] : [];
  const origins = servers.map(({ origin }) => origin);
  const started: TestProxy[] = [];
  for (let at = 0; at < proxies; at += 1) {
    const proxy = await startProxy(origins, flags);
    undo.push(() => proxy.stop());
    started.push(proxy);
  }
  if (proxies > 1) await untilPeers(redis, proxies);
  return { servers, proxies: started };
}

function call({ url }: TestProxy, requestState?: string): Promise<RawAnswer> {
  return rawPost(url, { id: 1, method: 'tools/call', params: { name: 'rounds', requestState } }, HEADERS);
}

/** Calls in rounds, each by the next proxy in turn: who answered each, or the error. */
async function rounds(proxies: readonly TestProxy[], first: number): Promise<readonly string[]> {
  const homes: string[] = [];
  let state: string | undefined;
  for (let at = first; ; at += 1) {
    const { result, error } = ANSWER.parse((await call(proxies[at % proxies.length]!, state)).message);
    homes.push(result?.home ?? error?.message ?? '');
    state = result?.requestState;
    if (state === undefined) return homes;
  }
}

describe.each<[string, Say]>([
  ['JSON', asJson],
  ['events', asEvents],
])('answers as %s', (_as, say) => {
  test.each([1, 2])('each call stays with the server that began it, at %i proxies', async (count) => {
    const { proxies } = await begin(count, say);
    const all = await Promise.all(Array.from({ length: 60 }, (_, at) => rounds(proxies, at)));
    const starts = all.map(([home]) => home);
    expect(new Set(starts)).toEqual(new Set(NAMES));
    expect(all).toEqual(starts.map((home) => Array.from({ length: ROUNDS + 1 }, () => home)));
  });
});

/** A call at the first proxy that waits for its second round. */
async function asked(proxies: readonly TestProxy[]) {
  const { result } = ANSWER.parse((await call(proxies[0]!)).message);
  return { home: result?.home ?? '', state: result?.requestState ?? '' };
}

test('a proxy that ends leaves what it knew with the others', async () => {
  const { proxies } = await begin(2);
  const calls = await Promise.all(Array.from({ length: 20 }, () => asked(proxies)));
  await proxies[0]!.stop();
  const answers = await Promise.all(calls.map(({ state }) => call(proxies[1]!, state)));
  const homes = answers.map(({ message }) => ANSWER.parse(message).result?.home);
  expect(homes).toEqual(calls.map(({ home }) => home));
});

test('where its server is gone, and where nobody knows the state, any other is asked', async () => {
  const { servers, proxies } = await begin(2);
  const { home, state } = await asked(proxies);
  await servers[NAMES.indexOf(home)]!.close();
  for (const proxy of proxies) {
    const gone = ANSWER.parse((await call(proxy, state)).message);
    expect(gone.error?.message).toMatch(/cannot read the state/);
    const unknown = ANSWER.parse((await call(proxy, 'nobody/1/1')).message);
    expect(unknown.error?.message).toMatch(/cannot read the state/);
  }
});

test('a server that is about to stop is asked for what it has begun, and nothing changes in the bytes', async () => {
  const { servers, proxies } = await begin(1);
  const { home, state } = await asked(proxies);
  const server = servers[NAMES.indexOf(home)]!;
  const host = new URL(server.origin).host;
  const json = { 'content-type': 'application/json' };
  const order = await fetch(`${proxies[0]!.opsUrl}/backends/${host}/drain`, { method: 'POST', headers: json });
  expect(order.status).toBe(202);
  const bytes = '{ "id":1,\n "jsonrpc":"2.0", "result":{"n":9007199254740993,"n":1.0,"requestState":"\\u0061" }}';
  let stay: unknown;
  server.before = ({ request, response }) => {
    stay = request.headers['mcp-affinity-stay'];
    response.writeHead(200, { 'content-type': 'application/json' }).end(bytes);
    return true;
  };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { requestState: state } });
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...HEADERS };
  const answer = await fetch(proxies[0]!.url, { method: 'POST', headers, body });
  expect([await answer.text(), stay]).toEqual([bytes, '1']);
});
