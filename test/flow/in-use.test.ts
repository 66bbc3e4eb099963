/** A session does not idle out while a call or a stream of it runs, however short its idle life is. */

import { createHash } from 'node:crypto';
import { afterAll, describe, test } from 'vitest';
import { rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { startRedis, untilPeers } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterAll(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly proxies: readonly TestProxy[] };

/** Idle lives of a second. */
async function begin(shared: boolean): Promise<Scene> {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const redis = shared ? await startRedis() : undefined;
  if (redis) undo.push(() => redis.close());
  const proxies: TestProxy[] = [];
  for (let at = 0; at < (shared ? 2 : 1); at += 1) {
    const flags = ['--session-ttl', '1', ...(redis ? ['--redis', redis.url] : [])];
    const proxy = await startProxy([a.origin], flags);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  if (redis) await untilPeers(redis, 2);
  return { a, proxies };
}

/** Resolves when a session that is opened now, and that nobody uses, has idled out. */
async function idleLife({ proxies }: Scene): Promise<void> {
  const { url, opsUrl } = proxies.at(-1)!;
  const { id } = await rawOpen(url);
  await until('a session has idled out', async () => {
    const { status } = await fetch(`${opsUrl}/sessions/${createHash('sha256').update(id).digest('hex')}`);
    return status === 404;
  });
}

describe.concurrent.each([
  ['in memory', false],
  ['in Redis', true],
])('%s', (_what, shared) => {
  test('a call runs for longer', async ({ expect }) => {
    const scene = await begin(shared);
    const { a, proxies } = scene;
    const running: Asked[] = [];
    a.after = (asked) => asked.what === 'count' && running.push(asked) > 0;
    const { id } = await rawOpen(proxies[0]!.url);
    const call = rawPost(
      proxies[0]!.url,
      { id: 7, method: 'tools/call', params: { name: 'count' } },
      { 'mcp-session-id': id },
    );
    await until('it runs', () => running.length > 0);
    await idleLife(scene);
    // Another proxy, and the same, know it still.
    for (const { url } of proxies) expect((await rawPing(url, id)).status).toBe(200);
    sayJson(running[0]!.response, 200, { id: 7, result: { content: [] } });
    expect((await call).status).toBe(200);
    await idleLife(scene);
    for (const { url } of proxies) expect((await rawPing(url, id)).status).toBe(404);
  });

  test('a stream is open for longer', async ({ expect }) => {
    const scene = await begin(shared);
    const { a, proxies } = scene;
    const { id } = await rawOpen(proxies[0]!.url);
    const leaving = new AbortController();
    undo.push(() => leaving.abort());
    expect(await rawStatus(proxies[0]!.url, 'GET', id, leaving.signal)).toBe(200);
    await idleLife(scene);
    for (const { url } of proxies) expect((await rawPing(url, id)).status).toBe(200);
    leaving.abort();
    await until('its stream is gone', () => a.streams.every(({ response }) => response.closed));
    await idleLife(scene);
    await idleLife(scene);
    for (const { url } of proxies) expect((await rawPing(url, id)).status).toBe(404);
  });
});
