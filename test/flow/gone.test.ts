/** What counts as a lost session when a server does not say 404: a ping decides, and the words of others move nothing. */

import { afterEach, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Forgetful, type Manner, startForgetful } from '../house/foreign/forgetful.ts';
import { type RawAnswer, rawOpen, rawPost } from '../house/by-hand.ts';
import { UNKNOWN } from '../house/talk.ts';

type Scene = { readonly a: Forgetful; readonly proxy: TestProxy; call: (tool: string) => Promise<RawAnswer> };
let undo: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const one of undo.toReversed()) await one();
  undo = [];
});

/** One server, and a client that has asked for its tools. */
async function begin(manner: Manner): Promise<Scene> {
  const a = await startForgetful('a', manner);
  undo.push(() => a.close());
  const proxy = await startProxy([a.origin], []);
  undo.push(() => proxy.stop());
  const { id } = await rawOpen(proxy.url);
  const session = { 'mcp-session-id': id };
  await rawPost(proxy.url, { method: 'notifications/initialized' }, session);
  await rawPost(proxy.url, { id: 1, method: 'tools/list' }, session);
  a.served.length = 0;
  return { a, proxy, call: (name) => rawPost(proxy.url, { id: 2, method: 'tools/call', params: { name } }, session) };
}

function migrations({ events }: TestProxy): number {
  return events.filter((event) => event.type === 'migration').length;
}

const MANNERS: readonly Manner[] = ['200 with an error', '400'];

test.each(MANNERS)("another server's words, relayed by a tool, migrate nothing: %s", async (manner) => {
  const { a, proxy, call } = await begin(manner);
  expect(await call('relay')).toMatchObject({
    status: 200,
    message: { id: 2, error: { message: 'Session not found' } },
  });
  expect(await call('relay-400')).toMatchObject({
    status: 400,
    message: { id: 2, error: { message: 'Invalid session' } },
  });
  expect(await call('write')).toMatchObject({ status: 200, message: { id: 2, result: expect.anything() } });
  expect(a.served).toEqual(['relay', 'ping', 'relay-400', 'ping', 'write']);
  expect(migrations(proxy)).toBe(0);
});

test.each(MANNERS)('a home that was restarted is asked before a call that must not run twice: %s', async (manner) => {
  const { a, proxy, call } = await begin(manner);
  await a.restart();
  // By then the proxy has seen its connections close.
  await fetch(`${proxy.opsUrl}/healthz`);
  expect(await call('write')).toMatchObject({ status: 200, message: { id: 2, result: expect.anything() } });
  expect(a.unknown).toEqual(['ping']);
  expect(a.served).toEqual(['notifications/initialized', 'write']);
  expect(migrations(proxy)).toBe(1);
});

test.each(MANNERS)('a session that is forgotten while a call runs: the call is not sent again: %s', async (manner) => {
  const { a, proxy, call } = await begin(manner);
  a.forget();
  const { message } = await call('write');
  expect(message).toMatchObject({ id: 2, error: { message: expect.stringContaining(UNKNOWN) } });
  expect(a.unknown).toEqual(['write', 'ping']);
  expect(a.served).toEqual(['notifications/initialized']);
  expect(migrations(proxy)).toBe(1);
  expect(await call('write')).toMatchObject({ status: 200, message: { id: 2, result: expect.anything() } });
  expect(a.served).toEqual(['notifications/initialized', 'write']);
  expect(migrations(proxy)).toBe(1);
});

test('after a 200 that says so, a call whose session cannot be healed is said to be unknown still', async () => {
  const { a, call } = await begin('200 with an error');
  a.forget(401);
  const { message } = await call('write');
  expect(message).toMatchObject({ id: 2, error: { message: expect.stringContaining(UNKNOWN) } });
});

test('a ping whose connection breaks is sent again', async () => {
  const { a, proxy, call } = await begin('400');
  a.breakOff();
  expect(await call('read')).toMatchObject({ status: 200, message: { id: 2, result: expect.anything() } });
  expect(a.served).toEqual(['notifications/initialized', 'read']);
  expect(migrations(proxy)).toBe(1);
});

test.each(MANNERS)('a safe call is sent again: %s', async (manner) => {
  const { a, proxy, call } = await begin(manner);
  a.forget();
  expect(await call('read')).toMatchObject({ status: 200, message: { id: 2, result: expect.anything() } });
  expect(a.unknown).toEqual(['read', 'ping']);
  expect(a.served).toEqual(['notifications/initialized', 'read']);
  expect(migrations(proxy)).toBe(1);
});
