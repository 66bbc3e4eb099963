/** A conversation stays where it began, and new ones are spread. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Flow, startFlow } from '../house/flow.ts';
import type { Talk } from '../house/talk.ts';

let flow: Flow;
beforeAll(async () => {
  flow = await startFlow();
});
afterAll(() => flow.close());

test('new sessions are spread evenly, and each has its own memory', async () => {
  const talks: Talk[] = [];
  for (let at = 0; at < 30; at += 1) talks.push(await flow.talk());
  expect(new Set(talks.map(({ sessionId }) => sessionId)).size).toBe(30);
  const saw: string[] = [];
  for (const { count } of talks) saw.push(await count());
  const held = ['a1', 'b1', 'c1'].map((name) => saw.filter((one) => one === name).length);
  expect(held.reduce((sum, one) => sum + one)).toBe(30);
  // Of two drawn backends the emptier one: less than 7 of 30 has a chance of one in a hundred thousand.
  expect(Math.min(...held)).toBeGreaterThanOrEqual(7);
});

test('every call of a session goes to its home', async () => {
  const { talk } = flow;
  const { count } = await talk();
  const saw = [await count(), await count(), await count()];
  const home = saw[0]?.[0];
  expect(saw).toEqual([`${home}1`, `${home}2`, `${home}3`]);
});

test('calls at the same time go to the one home', async () => {
  const { talk } = flow;
  const { count } = await talk();
  const saw = await Promise.all(Array.from({ length: 20 }, count));
  const home = saw[0]?.[0];
  expect(saw.toSorted()).toEqual(Array.from({ length: 20 }, (_, at) => `${home}${at + 1}`).toSorted());
});

test('the session id is the one that the home issued', async () => {
  const { talk, backend } = flow;
  const client = await talk();
  const home = await client.task('ping');
  const { sessionId } = client;
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const ping = { method: 'POST', body: '{"jsonrpc":"2.0","id":1,"method":"ping"}' };
  const answered = async (id: string) =>
    (await fetch(`${backend(home).origin}/mcp`, { ...ping, headers: { ...headers, 'mcp-session-id': id } })).status;
  expect(await answered(sessionId)).toBe(200);
  expect(await answered('another')).toBe(404);
});

test('a session that nobody knows is not found, and the id of the request is echoed', async () => {
  const { url, proxies } = flow;
  const headers = { 'content-type': 'application/json', 'mcp-session-id': 'nobody' };
  const answer = await fetch(url, { method: 'POST', headers, body: '{"jsonrpc":"2.0","id":"x","method":"ping"}' });
  expect(answer.status).toBe(404);
  expect(await answer.json()).toEqual({
    jsonrpc: '2.0',
    id: 'x',
    error: { code: -32001, message: 'Session not found' },
  });
  expect(proxies[0]?.events.filter(({ type }) => type === 'migration')).toEqual([]);
});
