/** A home that takes a request and says nothing: told to the client in time, avoided for new sessions, and kept. */

import { afterEach, expect, test } from 'vitest';
import { rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, startPlain } from '../house/plain.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

async function begin(): Promise<{ readonly all: readonly Plain[]; readonly proxy: TestProxy }> {
  const all = await Promise.all(['a', 'b'].map(startPlain));
  undo.push(...all.map((one) => () => one.close()));
  const proxy = await startProxy(
    all.map(({ origin }) => origin),
    ['--answer-seconds', '1'],
  );
  undo.push(() => proxy.stop());
  return { all, proxy };
}

const json = { 'content-type': 'application/json' };
const HANGS: readonly (readonly [string, (asked: Asked) => void])[] = [
  ['nothing at all', () => {}],
  ['an interim answer alone', ({ response }) => response.writeProcessing()],
  ['a head alone', ({ response }) => response.writeHead(200, json).flushHeaders()],
  ['a head of an error', ({ response }) => response.writeHead(500, json).flushHeaders()],
  ['half a body', ({ response }) => response.writeHead(200, json).write('{"jsonrpc":"2.0"')],
  ['a head of a 404', ({ response }) => response.writeHead(404, json).write('{')],
];

test.each(HANGS)('a home that says %s', async (_what, hang) => {
  const { all, proxy } = await begin();
  const { id } = await rawOpen(proxy.url);
  const session = { 'mcp-session-id': id };
  await rawPost(proxy.url, { id: 1, method: 'tools/list' }, session);
  const home = all.find(({ sessions }) => sessions.has(id))!;
  home.before = (asked) => (hang(asked), true);
  const call = (name: string) => rawPost(proxy.url, { id: 2, method: 'tools/call', params: { name } }, session);
  // Side by side: each takes a second.
  const seen = await Promise.all([call('count'), call('read'), rawPing(proxy.url, id)]);
  const error = { code: -32_000, message: 'The server did not answer in time: the outcome is unknown' };
  expect(seen.map(({ status }) => status)).toEqual([200, 200, 200]);
  for (const { message } of seen) expect(message).toMatchObject({ error });
  // New sessions go elsewhere.
  const opened = await Promise.all(Array.from({ length: 10 }, () => rawOpen(proxy.url)));
  expect(opened.map(({ status, id: other }) => [status, other[0]])).toEqual(
    opened.map(() => [200, home === all[0] ? 'b' : 'a']),
  );
  expect(proxy.events.filter(({ type }) => type === 'migration' || type === 'replay')).toEqual([]);
  expect(proxy.events.filter(({ type }) => type === 'suspect').length).toBeGreaterThan(0);
  const metrics = await (await fetch(`${proxy.opsUrl}/metrics`)).text();
  const counted = [...metrics.matchAll(/^mcp_affinity_exchanges_total\{.*outcome="lost".*\} (\d+)$/gm)];
  expect(counted.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(3);
  // It comes to itself, and knows the session still.
  home.before = () => false;
  const { status, message } = await call('count');
  expect([status, JSON.stringify(message)]).toEqual([200, expect.stringContaining(`${id[0]}1`)]);
});

test('a DELETE that is not answered has ended nothing', async () => {
  const { all, proxy } = await begin();
  const { id } = await rawOpen(proxy.url);
  const home = all.find(({ sessions }) => sessions.has(id))!;
  home.before = ({ what }) => what === 'DELETE';
  expect(await rawStatus(proxy.url, 'DELETE', id)).toBe(504);
  expect((await rawPing(proxy.url, id)).status).toBe(200);
  await home.restart();
  await fetch(`${proxy.opsUrl}/healthz`);
  expect((await rawPing(proxy.url, id)).status).toBe(200);
});

test('a stream may be silent', async () => {
  const { all, proxy } = await begin();
  const { id } = await rawOpen(proxy.url);
  const home = all.find(({ sessions }) => sessions.has(id))!;
  home.after = ({ what, response, id: request }) => {
    if (what !== 'count') return false;
    response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
    const message = { jsonrpc: '2.0', id: request, result: { content: [] } };
    setTimeout(() => response.end(`data: ${JSON.stringify(message)}\n\n`), 1_500);
    return true;
  };
  const call = { id: 2, method: 'tools/call', params: { name: 'count' } };
  expect(await rawPost(proxy.url, call, { 'mcp-session-id': id })).toMatchObject({ status: 200, message: { id: 2 } });
});
