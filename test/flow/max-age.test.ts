/** A session that is too old ends: before its next exchange, with its streams, and not in the middle of a call. */

import { afterAll, describe, test } from 'vitest';
import { POSTED, rawOpen, rawPing, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { startRedis, untilPeers } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterAll(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly one: TestProxy; readonly other: TestProxy };

/** Two proxies where sessions are shared, else one. */
async function begin(shared: boolean, seconds: number): Promise<Scene> {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const redis = shared ? await startRedis() : undefined;
  if (redis) undo.push(() => redis.close());
  const start = async () => {
    const flags = ['--session-max-age', String(seconds), ...(redis ? ['--redis', redis.url] : [])];
    const proxy = await startProxy([a.origin], flags);
    undo.push(() => proxy.stop());
    return proxy;
  };
  const one = await start();
  const other = redis ? await start() : one;
  if (redis) await untilPeers(redis, 2);
  return { a, one, other };
}

const expired = ({ one, other }: Scene) =>
  [...new Set([one, other])]
    .flatMap(({ events }) => events)
    .reduce((sum, event) => {
      if (event.type === 'sweep') return sum + event.expired;
      return event.type === 'session' && event.change === 'expired' ? sum + 1 : sum;
    }, 0);

describe.concurrent.each([
  ['in memory', false],
  ['in Redis', true],
])('%s', (_what, shared) => {
  test('it is used all the time, and ends all the same; its client starts over', async ({ expect }) => {
    const scene = await begin(shared, 1);
    const { a, one, other } = scene;
    const { id } = await rawOpen(one.url);
    const seen: number[] = [];
    await until('it has ended', async () => {
      const { status } = await rawPing(seen.length % 2 === 0 ? one.url : other.url, id);
      seen.push(status);
      return status !== 200;
    });
    expect(new Set(seen.slice(0, -1))).toEqual(new Set([200]));
    expect(seen.at(-1)).toBe(404);
    await until('its home has heard of it', () => a.sessions.size === 0);
    await until('that is told', () => expired(scene) === 1);
    const again = await rawOpen(other.url);
    expect((await rawPing(one.url, again.id)).status).toBe(200);
  });

  test('nobody uses it but for a stream: that ends, and its home hears of it', async ({ expect }) => {
    const scene = await begin(shared, 1);
    const { a, one } = scene;
    const { id } = await rawOpen(one.url);
    const stream = await fetch(one.url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
    expect(stream.status).toBe(200);
    await soon('the end of the stream', stream.text());
    await until('its home has heard of it', () => a.sessions.size === 0);
    expect((await rawPing(one.url, id)).status).toBe(404);
    await until('that is told', () => expired(scene) === 1);
  });

  test('a call runs, at this proxy or the other: what belongs to it goes on, and then it ends', async ({ expect }) => {
    const scene = await begin(shared, 2);
    const { a, one, other } = scene;
    const running: Asked[] = [];
    a.after = (asked) => asked.what === 'count' && running.push(asked) > 0;
    const { id } = await rawOpen(one.url);
    const call = fetch(one.url, {
      method: 'POST',
      headers: { ...POSTED, 'mcp-session-id': id },
      body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'count' } }),
    });
    await until('it runs', () => running.length > 0);
    const control = await rawOpen(other.url);
    await until('a younger one is too old', async () => (await rawPing(one.url, control.id)).status === 404);
    const notification = { method: 'notifications/cancelled', params: { requestId: 3 } };
    for (const { url } of [one, other]) {
      expect((await rawPost(url, notification, { 'mcp-session-id': id })).status).toBe(202);
    }
    expect(a.sessions.has(id)).toBe(true);
    sayJson(running[0]!.response, 200, { id: 7, result: { content: [] } });
    expect((await call).status).toBe(200);
    await until('it ends', async () => (await rawPing(other.url, id)).status === 404);
    await until('its home has heard of it', () => a.sessions.size === 0);
  });
});
