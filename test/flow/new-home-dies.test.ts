/** A new home that dies during the handshake, or right after it, is another loss: the session goes on at the next one. */

import { onTestFinished, expect, test } from 'vitest';
import { rawOpen, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, startPlain } from '../house/plain.ts';
import { startRedis } from '../house/redis.ts';

const CALL = { id: 7, method: 'tools/call', params: { name: 'count' } };

async function begin(count: number, names: readonly string[]) {
  const all = await Promise.all(names.map(startPlain));
  for (const one of all) onTestFinished(() => one.close().catch(() => {}));
  const shared: string[] = [];
  if (count > 1) {
    const redis = await startRedis();
    onTestFinished(() => redis.close());
    shared.push('--redis', redis.url);
  }
  const origins = all.map(({ origin }) => origin);
  const proxies: TestProxy[] = [];
  while (proxies.length < count) proxies.push(await startProxy(origins, [...shared, '--hold-seconds', '3']));
  for (const one of proxies) onTestFinished(() => one.stop());
  const { id } = await rawOpen(proxies[0]!.url);
  await rawPost(proxies[0]!.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
  const home = all.find(({ sessions }) => sessions.has(id))!;
  const others = all.filter((one) => one !== home);
  await home.close();
  const call = () => rawPost(proxies.at(-1)!.url, CALL, { 'mcp-session-id': id });
  return { others, call };
}

/** It dies when it is asked this, for good. */
function dieAt(server: Plain, what: string): void {
  server.before = (asked) => {
    if (asked.what !== what) return false;
    asked.response.socket?.destroy();
    void server.close();
    return true;
  };
}

const opened = (servers: readonly Plain[]) =>
  servers.map(({ asked }) => asked.filter((what) => what === 'initialize').length);

test.each([
  ['initialize', 1],
  ['initialize', 2],
  ['notifications/initialized', 1],
  ['notifications/initialized', 2],
] as const)('two of three die at %s: the third serves, %i proxies', async (what, count) => {
  const { others, call } = await begin(count, ['a', 'b', 'c', 'd']);
  let deaths = 0;
  for (const one of others) {
    one.before = (asked) => {
      if (asked.what !== what || deaths === 2) return false;
      deaths += 1;
      asked.response.socket?.destroy();
      void one.close();
      return true;
    };
  }
  const { status, message } = await call();
  expect([status, message]).toEqual([200, expect.objectContaining({ result: expect.anything() })]);
  expect([deaths, opened(others)]).toEqual([2, [1, 1, 1]]);
  expect(others.flatMap(({ ran }) => ran).filter((ran) => ran === 'count')).toHaveLength(1);
});

test.each([1, 2])('one that dies once it has the session: another serves, %i proxies', async (count) => {
  const { others, call } = await begin(count, ['a', 'b', 'c']);
  let dead: Plain | undefined;
  for (const one of others) {
    one.after = ({ what, response }) => {
      if (what !== 'notifications/initialized' || dead !== undefined) return false;
      dead = one;
      response.writeHead(202).end(() => void one.close());
      return true;
    };
  }
  const { status, message } = await call();
  expect([status, message]).toEqual([200, expect.objectContaining({ result: expect.anything() })]);
  expect([dead?.ran, opened(others)]).toEqual([['notifications/initialized'], [1, 1]]);
});

test('all die at it: the client is told, and each was asked once', async () => {
  const { others, call } = await begin(1, ['a', 'b', 'c', 'd', 'e', 'f']);
  for (const one of others) dieAt(one, 'initialize');
  expect((await call()).status).toBe(503);
  expect(opened(others).toSorted((one, other) => one - other)).toEqual([0, 0, 1, 1, 1]);
});
