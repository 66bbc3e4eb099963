/** What one client may have, or ask for: beyond it there is 429, other clients go on, and no server hears of it. */

import { afterEach, describe, expect, test } from 'vitest';
import { type RawAnswer, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly proxies: readonly TestProxy[]; readonly redis: TestRedis | undefined };

/** A proxy alone keeps its sessions in memory. */
async function begin(count: number, flags: readonly string[]): Promise<Scene> {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const redis = count > 1 ? await startRedis() : undefined;
  if (redis !== undefined) undo.push(() => redis.close());
  const proxies: TestProxy[] = [];
  for (let nth = 0; nth < count; nth += 1) {
    const shared = redis === undefined ? [] : ['--redis', redis.url];
    const proxy = await startProxy([a.origin], ['--trust-proxy', '1', ...shared, ...flags]);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  if (redis !== undefined) await untilPeers(redis, count);
  return { a, proxies, redis };
}

type Fields = Readonly<Record<string, string>>;
const PARAMS = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };

const opening = ({ proxies }: Scene, at: number, fields: Fields): Promise<RawAnswer> =>
  rawPost(proxies[at % proxies.length]!.url, { id: 7, method: 'initialize', params: PARAMS }, fields);
const idOf = ({ headers }: RawAnswer): string => headers.get('mcp-session-id') ?? '';
const limits = ({ proxies }: Scene): readonly string[] =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'limited' ? [event.limit] : [])));

/** A refusal as the client reads it: status, seconds until it may try again, and what is said. */
function refusal({ status, headers, message }: RawAnswer): unknown {
  return { status, again: Number(headers.get('retry-after')), message };
}
const refused = (again: unknown, message: string, id: number | null = 7) => ({
  status: 429,
  again,
  message: { jsonrpc: '2.0', id, error: { code: -32_000, message: expect.stringContaining(message) } },
});

describe('listening streams of a session', () => {
  /** Resolves with its status, and what ends it. */
  async function listen(
    { proxies }: Scene,
    id: string,
  ): Promise<{ readonly status: number; readonly leave: () => void }> {
    const leaving = new AbortController();
    const headers = { accept: 'text/event-stream', 'mcp-session-id': id };
    const { status } = await fetch(proxies[0]!.url, { headers, signal: leaving.signal });
    return { status, leave: () => leaving.abort() };
  }

  test('beyond --max-streams-per-session: 429, and the session and its other streams go on', async () => {
    const scene = await begin(1, ['--max-streams-per-session', '2']);
    const [id, other] = [idOf(await opening(scene, 0, {})), idOf(await opening(scene, 0, {}))];
    const first = await listen(scene, id);
    expect([first.status, (await listen(scene, id)).status]).toEqual([200, 200]);
    const { url } = scene.proxies[0]!;
    const third = await fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
    const answer = { status: third.status, headers: third.headers, message: await third.json() };
    expect(refusal(answer)).toEqual(refused(5, 'Too many streams', null));
    expect(scene.a.streams).toHaveLength(2);
    expect((await listen(scene, other)).status).toBe(200);
    expect((await rawPost(url, { id: 1, method: 'ping' }, { 'mcp-session-id': id })).status).toBe(200);
    first.leave();
    await until('another has its place', async () => (await listen(scene, id)).status === 200);
    expect(new Set(limits(scene))).toEqual(new Set(['streams']));
  });

  test('16 by default', async () => {
    const scene = await begin(1, []);
    const id = idOf(await opening(scene, 0, {}));
    const all = await Promise.all(Array.from({ length: 40 }, () => listen(scene, id)));
    expect(all.filter(({ status }) => status === 200)).toHaveLength(16);
    expect(limits(scene)).toHaveLength(24);
  });
});
