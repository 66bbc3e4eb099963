/** An `initialize` that names a session: its home answers while it knows the session; else it opens another. */

import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type Listening, listen, sdkSessions } from '../house/draining.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { sayJson, startPlain } from '../house/plain.ts';
import { startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Server = Listening & { readonly forget: () => void; readonly opened: () => number };

/** An SDK server that keeps sessions. */
async function startSdk(): Promise<Server> {
  let sessions = sdkSessions();
  const listening = await listen((request, response) => {
    sessions.handle(request, response).catch(() => response.destroy());
  });
  undo.push(() => listening.close());
  let before = 0;
  return {
    ...listening,
    forget() {
      before += sessions.servers.length;
      sessions = sdkSessions();
    },
    opened: () => before + sessions.servers.length,
  };
}

async function proxiesOf(servers: readonly Listening[], count = 1): Promise<readonly TestProxy[]> {
  const flags: string[] = [];
  if (count > 1) {
    const redis = await startRedis();
    undo.push(() => redis.close());
    flags.push(`--redis=${redis.url}`);
  }
  const made: TestProxy[] = [];
  for (let at = 0; at < count; at += 1) {
    const proxy = await startProxy(
      servers.map(({ origin }) => origin),
      flags,
    );
    undo.push(() => proxy.stop());
    made.push(proxy);
  }
  return made;
}

const INITIALIZE = {
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};
const again = (url: string, id: string) => rawPost(url, INITIALIZE, { 'mcp-session-id': id });
const idOf = ({ headers }: { readonly headers: Headers }): string => headers.get('mcp-session-id') ?? '';
const changes = (proxies: readonly TestProxy[]) =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'session' ? [event.change] : [])));

test.each([1, 2])('a living session: the home answers as it does directly; proxies: %i', async (count) => {
  const a = await startSdk();
  const proxies = await proxiesOf([a], count);
  const [first, last] = [proxies[0]!.url, proxies.at(-1)!.url];
  const direct = await rawOpen(`${a.origin}/mcp`);
  const directly = await again(`${a.origin}/mcp`, direct.id);
  const { id } = await rawOpen(first);
  const opened = a.opened();
  const seen = await again(last, id);
  expect([seen.status, seen.message]).toEqual([directly.status, directly.message]);
  expect(seen.status).toBe(400);
  // It goes on, and no other was opened.
  expect([(await rawPing(first, id)).status, a.opened(), changes(proxies)]).toEqual([200, opened, ['opened']]);
});

test.each([1, 2])('unknown, ended and forgotten ids: another session is opened; proxies: %i', async (count) => {
  const a = await startSdk();
  const proxies = await proxiesOf([a], count);
  const [first, last] = [proxies[0]!.url, proxies.at(-1)!.url];
  const unknown = await again(first, 'nobody-knows-it');
  expect([unknown.status, idOf(unknown) === 'nobody-knows-it', (await rawPing(last, idOf(unknown))).status]).toEqual([
    200,
    false,
    200,
  ]);

  const ended = idOf(unknown);
  expect(await rawStatus(last, 'DELETE', ended)).toBe(200);
  const anew = await again(first, ended);
  expect([anew.status, idOf(anew) === ended]).toEqual([200, false]);
  expect((await rawPing(last, ended)).status).toBe(404);

  a.forget();
  const forgotten = idOf(anew);
  const after = await again(last, forgotten);
  expect([after.status, idOf(after) === forgotten]).toEqual([200, false]);
  // The old one is not there any more, and did not migrate.
  expect(await Promise.all([first, last].map(async (url) => (await rawPing(url, forgotten)).status))).toEqual([
    404, 404,
  ]);
  expect((await rawPing(first, idOf(after))).status).toBe(200);
  expect(proxies.flatMap(({ events }) => events.filter(({ type }) => type === 'migration'))).toEqual([]);
});

test('another proxy does not answer whether it knows the id: another session is opened', async () => {
  const redis = await startRedis();
  const direct = new Redis(redis.url);
  undo.push(async () => {
    direct.disconnect();
    await redis.close();
  });
  const a = await startSdk();
  const proxy = await startProxy([a.origin], [`--redis=${redis.url}`]);
  undo.push(() => proxy.stop());
  await until('it lives', async () => (await direct.zcard(REDIS.peers)) === 1);
  const listening = direct.duplicate();
  undo.push(async () => listening.disconnect());
  const greeted = new Promise((resolve) => listening.once('message', resolve));
  await listening.subscribe(REDIS.answers('ghost'));
  await direct.publish(REDIS.messages, JSON.stringify({ from: 'ghost', kind: 'joined' }));
  await greeted;
  // A call cannot be told that its session is unknown.
  expect((await rawPing(proxy.url, 'nobody')).status).toBe(503);
  const after = await again(proxy.url, 'stale');
  expect([after.status, idOf(after) === 'stale']).toEqual([200, false]);
  expect((await rawPing(proxy.url, idOf(after))).status).toBe(200);
});

test.each([1, 2])('the home is dead: another session is opened elsewhere; proxies: %i', async (count) => {
  const all = [await startSdk(), await startSdk()];
  const proxies = await proxiesOf(all, count);
  const [first, last] = [proxies[0]!.url, proxies.at(-1)!.url];
  const { id } = await rawOpen(first);
  const home = all.find((one) => one.opened() === 1)!;
  const other = all.find((one) => one !== home)!;
  await home.close();
  const after = await again(last, id);
  expect([after.status, idOf(after) === id, idOf(after) === '', other.opened()]).toEqual([200, false, false, 1]);
  expect(await Promise.all([first, last].map(async (url) => (await rawPing(url, id)).status))).toEqual([404, 404]);
  expect((await rawPing(first, idOf(after))).status).toBe(200);
  expect(proxies.flatMap(({ events }) => events.filter(({ type }) => type === 'migration'))).toEqual([]);
});

test('a home that answers a second initialize with an error, or in a stream, is heard', async () => {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const [proxy] = await proxiesOf([a]);
  const { id } = await rawOpen(proxy!.url);
  a.before = ({ what, known, response, id: request }) => {
    if (what !== 'initialize' || !known) return false;
    sayJson(response, 200, { id: request, error: { code: -32_600, message: 'Already initialized' } });
    return true;
  };
  expect(await again(proxy!.url, id)).toMatchObject({
    status: 200,
    message: { error: { message: 'Already initialized' } },
  });
  a.before = ({ what, known, response, id: request }) => {
    if (what !== 'initialize' || !known) return false;
    const error = { code: -32_000, message: 'Server already initialized' };
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: request, error })}\n\n`);
    return true;
  };
  expect(await again(proxy!.url, id)).toMatchObject({ message: { error: { message: 'Server already initialized' } } });
  expect([(await rawPing(proxy!.url, id)).status, a.sessions.size]).toEqual([200, 1]);
});

test('a session of a home that opens another for it is not lost, and ends with the client’s DELETE', async () => {
  const a = await startPlain('a');
  undo.push(() => a.close());
  const [proxy] = await proxiesOf([a]);
  const { id } = await rawOpen(proxy!.url);
  const seen = await again(proxy!.url, id);
  expect(seen.status).toBe(200);
  expect((await rawPing(proxy!.url, idOf(seen))).status).toBe(200);
  expect(await rawStatus(proxy!.url, 'DELETE', idOf(seen))).toBe(200);
  expect((await rawPing(proxy!.url, idOf(seen))).status).toBe(404);
});
