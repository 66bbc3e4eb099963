/** A session's streams are attached to its new home before that is told that the handshake is over. */

import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { rawListen, openStreams, sayOn } from '../house/by-hand-stream.ts';
import { rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, beginStream, sayText, startPlain } from '../house/plain.ts';
import { startProxyProcess } from '../house/proxy-process.ts';
import { startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly b: Plain; readonly proxies: readonly TestProxy[]; readonly url: string };

/** The tool `read` says its name on each stream of the session. */
async function begin(count = 1, flags: readonly string[] = []): Promise<Scene> {
  const [a, b] = [await startPlain('a'), await startPlain('b')];
  undo.push(() => Promise.all([a.close(), b.close()]));
  const redis = count > 1 ? await startRedis() : undefined;
  if (redis !== undefined) undo.push(() => redis.close());
  const shared = redis === undefined ? [] : [`--redis=${redis.url}`];
  const proxies: TestProxy[] = [];
  while (proxies.length < count) {
    const proxy = await startProxy([a.origin, b.origin], [...shared, ...flags]);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  for (const [name, plain] of [
    ['a', a],
    ['b', b],
  ] as const) {
    plain.after = ({ what, session }) => {
      const its = openStreams(plain).filter((one) => one.session === session);
      if (what === 'read') its.forEach((stream, at) => sayOn(stream, `${name} ${at}`));
      return false;
    };
  }
  return { a, b, proxies, url: proxies[0]!.url };
}

/** A session over its handshake, at a where nothing else is said. */
async function open({ url, a }: Scene, where: 'at a' | 'anywhere' = 'at a') {
  for (;;) {
    const { id } = await rawOpen(url);
    const post = (message: object) => rawPost(url, message, { 'mcp-session-id': id });
    await post({ method: 'notifications/initialized' });
    await post({ id: 1, method: 'tools/list' });
    if (where === 'at a' && !a.sessions.has(id)) {
      await rawStatus(url, 'DELETE', id);
      continue;
    }
    const call = async () => (await post({ id: 2, method: 'tools/call', params: { name: 'read' } })).status;
    return { id, call, listen: (at = url) => rawListen(at, id) };
  }
}

/** Its address refuses from now on. */
const kill = (plain: Plain) => plain.close();

async function orderMigration({ proxies }: Scene, id: string): Promise<void> {
  const hash = Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(id))).toString('hex');
  const headers = { 'content-type': 'application/json' };
  const { status } = await fetch(`${proxies[0]!.opsUrl}/sessions/${hash}/migrate`, { method: 'POST', headers });
  expect(status).toBe(202);
}

/** Calls until one is due to wait for the migration: the order is known everywhere only after some time. */
async function callUntil(call: () => Promise<number>, isDue: () => boolean): Promise<void> {
  do expect(await call()).toBe(200);
  while (!isDue());
}

const LISTED = z.object({ backends: z.array(z.object({ id: z.string(), sessions: z.number().nullable() })) });

/** Sessions whose home it is, as the registry says. */
async function countAt({ proxies }: Scene, { origin }: Plain): Promise<number | null | undefined> {
  const { backends } = LISTED.parse(await (await fetch(`${proxies[0]!.opsUrl}/backends`)).json());
  return backends.find(({ id }) => origin.endsWith(id))?.sessions;
}

const streamEvents = ({ proxies }: Scene) =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'stream' ? [event.change] : [])));
const migrations = ({ proxies }: Scene) =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'migration' ? [event.outcome] : [])));

/** Holds what `take` picks until the returned function is called. */
function hold(plain: Plain, take: (asked: Asked) => boolean, go: (asked: Asked) => void) {
  const held: Asked[] = [];
  let taken = 0;
  let released = false;
  plain.before = (asked) => {
    if (released || !take(asked)) return false;
    held.push(asked);
    taken += 1;
    return true;
  };
  return {
    held,
    taken: () => taken,
    begun: () => until('it is held', () => taken > 0),
    release() {
      released = true;
      held.splice(0).forEach(go);
    },
  };
}
const accept = ({ response }: Asked) => response.writeHead(202).end();

describe('a session with two streams', () => {
  test.each(['kill', 'order'])('has both at its new home: %s', async (how) => {
    const scene = await begin();
    const { id, call, listen } = await open(scene);
    const all = [await listen(), await listen()];
    if (how === 'kill') await kill(scene.a);
    else await orderMigration(scene, id);
    await call();
    await until(
      'each hears its own',
      () =>
        all
          .flatMap(({ heard }) => heard)
          .toSorted()
          .join() === 'b 0,b 1',
    );
    expect(streamEvents(scene).toSorted()).toEqual(['opened', 'opened', 'reattached', 'reattached']);
    await until('the old home has none', () => openStreams(scene.a).length === 0);
    expect(openStreams(scene.b)).toHaveLength(2);
    all.forEach(({ leave }) => leave());
    await until('nor has the new one', () => openStreams(scene.b).length === 0);
    await until('all are closed', () => streamEvents(scene).filter((one) => one === 'closed').length === 2);
  });
});

describe('a new home that answers GET', () => {
  test.each([404, 405])('with %i has no streams: nobody waits for one', async (status) => {
    const scene = await begin();
    const { call, listen } = await open(scene);
    const stream = await listen();
    scene.b.before = ({ what, response }) => what === 'GET' && (sayText(response, status, 'no'), true);
    await kill(scene.a);
    const start = performance.now();
    expect(await call()).toBe(200);
    expect(performance.now() - start).toBeLessThan(900);
    await until('the stream ends, as it would directly', stream.over);
    expect([migrations(scene), streamEvents(scene)]).toEqual([['migrated'], ['opened', 'closed']]);
  });

  test('late is waited for a second, and heard when it begins', async () => {
    const scene = await begin();
    const { call, listen } = await open(scene);
    const stream = await listen();
    const gets = hold(
      scene.b,
      ({ what }) => what === 'GET',
      (asked) => beginStream(scene.b, asked),
    );
    await kill(scene.a);
    const start = performance.now();
    expect(await call()).toBe(200);
    expect(performance.now() - start).toBeLessThan(2_000);
    expect([streamEvents(scene), gets.held.length]).toEqual([['opened', 'late'], 1]);
    gets.release();
    await call();
    await stream.hears('b 0');
    expect(streamEvents(scene)).toEqual(['opened', 'late', 'reattached']);
  });

  test.each([400, 409, 500])('with %i before the handshake is over is asked again after it', async (status) => {
    const scene = await begin();
    const { call, listen } = await open(scene);
    const stream = await listen();
    const ready = new Set<string>();
    scene.b.before = ({ what, session, response }) => {
      if (what === 'notifications/initialized') ready.add(session);
      return what === 'GET' && !ready.has(session) && (sayText(response, status, 'not yet'), true);
    };
    await kill(scene.a);
    await call();
    expect(stream.heard).toEqual([]);
    await stream.hears('b 0');
    expect([streamEvents(scene), migrations(scene)]).toEqual([['opened', 'reattached'], ['migrated']]);
  });
});

describe('a client that begins to listen', () => {
  test.each([
    ['at the proxy that migrates', 0],
    ['at another proxy', 1],
  ])('in the middle of a migration is reached by the first call at the new home: %s', async (_where, at) => {
    const scene = await begin(1 + at);
    const { id, call, listen } = await open(scene);
    const opening = hold(scene.b, ({ what }) => what === 'notifications/initialized', accept);
    await orderMigration(scene, id);
    const calling = callUntil(call, () => opening.taken() > 0);
    await opening.begun();
    const stream = await listen(scene.proxies[at]!.url);
    await until('it is attached to both', () => openStreams(scene.a).length + openStreams(scene.b).length === 2);
    opening.release();
    await calling;
    await stream.hears('b 0');
    await until('the old home has none', () => openStreams(scene.a).length === 0);
    expect([stream.heard, openStreams(scene.b).length]).toEqual([['b 0'], 1]);
  });

  test('in the middle of a migration is waited for', async () => {
    const scene = await begin();
    const { id, call, listen } = await open(scene);
    const opening = hold(
      scene.b,
      ({ what }) => what === 'notifications/initialized' || what === 'GET',
      (asked) => (asked.what === 'GET' ? beginStream(scene.b, asked) : accept(asked)),
    );
    await orderMigration(scene, id);
    const called = call();
    await opening.begun();
    const stream = await listen();
    await until('the new home is asked for its stream', () => opening.held.length === 2);
    const gets = opening.held.splice(1);
    opening.release();
    await until('the migration is stored', async () => (await countAt(scene, scene.b)) === 1);
    for (let look = 0; look < 10; look += 1) await countAt(scene, scene.b);
    expect(scene.b.asked).not.toContain('read');
    gets.forEach((asked) => beginStream(scene.b, asked));
    expect(await called).toBe(200);
    await stream.hears('b 0');
    expect(streamEvents(scene)).toEqual(['opened', 'reattached']);
  });

  test('after it is reached', async () => {
    const scene = await begin();
    const { call, listen } = await open(scene);
    await kill(scene.a);
    await call();
    const stream = await listen();
    await call();
    await stream.hears('b 0');
    expect([stream.heard, streamEvents(scene)]).toEqual([['b 0'], ['opened']]);
  });

  test('and leaves in the middle of a migration holds up nothing', async () => {
    const scene = await begin();
    const { id, call, listen } = await open(scene);
    const stream = await listen();
    const gets = hold(
      scene.b,
      ({ what }) => what === 'GET',
      (asked) => beginStream(scene.b, asked),
    );
    await orderMigration(scene, id);
    const called = call();
    await gets.begun();
    stream.leave();
    expect(await called).toBe(200);
    await until('nobody is attached', () => gets.held.every(({ response }) => response.destroyed));
    expect([openStreams(scene.a).length, streamEvents(scene)]).toEqual([0, ['opened', 'closed']]);
  });
});

test('the old home is heard until the new stream is attached, then the new one, in order', async () => {
  const scene = await begin();
  const { id, call, listen } = await open(scene);
  const stream = await listen();
  const opening = hold(scene.b, ({ what }) => what === 'notifications/initialized', accept);
  await orderMigration(scene, id);
  const called = call();
  await opening.begun();
  const [old] = openStreams(scene.a);
  const [next] = openStreams(scene.b);
  for (let at = 0; at < 50; at += 1) {
    sayOn(next!, `new ${at}`);
    sayOn(old!, `old ${at}`);
  }
  await stream.hears('old 49');
  opening.release();
  await called;
  await stream.hears('b 0');
  const counted = (name: string) => Array.from({ length: 50 }, (_, at) => `${name} ${at}`);
  expect(stream.heard).toEqual([...counted('old'), ...counted('new'), 'b 0']);
  await until('the old home has none', () => openStreams(scene.a).length === 0);
});

test('a stream outlives any number of migrations, one after the other', async () => {
  const scene = await begin(1, ['--chaos-migrate=on', '--hold-seconds=1']);
  const { call, listen } = await open(scene, 'anywhere');
  const stream = await listen();
  const start = performance.now();
  let calls = 0;
  while (calls < 40 || performance.now() - start < 1_500) {
    calls += 1;
    expect(await call()).toBe(200);
  }
  await until('each call is heard', () => stream.heard.length === calls);
  expect([stream.over(), migrations(scene).length >= calls]).toEqual([false, true]);
  expect(streamEvents(scene).filter((one) => one !== 'reattached')).toEqual(['opened']);
});

describe('a home that does not become it', () => {
  test('is not heard, and its stream is closed: its handshake fails', async () => {
    const scene = await begin();
    const { id, call, listen } = await open(scene);
    const stream = await listen();
    const opening = hold(
      scene.b,
      ({ what }) => what === 'notifications/initialized',
      ({ response }) => sayText(response, 500, 'no'),
    );
    await orderMigration(scene, id);
    const called = call();
    await opening.begun();
    sayOn(openStreams(scene.b)[0]!, 'ghost');
    opening.release();
    expect(await called).toBe(200);
    await stream.hears('a 0');
    await until('it has no stream', () => openStreams(scene.b).length === 0);
    expect([stream.heard, openStreams(scene.a).length, migrations(scene)]).toEqual([['a 0'], 1, ['failed']]);
    await until('nor the session', () => scene.b.sessions.size === 0);
  });

  test('is not heard, and its stream is closed: another proxy was sooner', async () => {
    const scene = await begin(2);
    const { call, listen } = await open(scene);
    const stream = await listen(scene.proxies[1]!.url);
    const opening = hold(scene.b, ({ what }) => what === 'notifications/initialized', accept);
    await kill(scene.a);
    const called = call();
    await until('both migrate it', () => opening.held.length === 2);
    for (const one of openStreams(scene.b)) sayOn(one, `hello ${one.session}`);
    opening.release();
    expect(await called).toBe(200);
    await stream.hears('b 0');
    await until('one session is left', () => scene.b.sessions.size === 1);
    const [session] = scene.b.sessions.keys();
    expect(stream.heard).toEqual([`hello ${session}`, 'b 0']);
    await until('one stream is left', () => openStreams(scene.b).length === 1);
    expect(migrations(scene).toSorted()).toEqual(['migrated', 'raced']);
  });
});

test('a home that floods its stream before it is the home has to wait, and nothing is lost', async () => {
  const scene = await begin();
  const { call, listen } = await open(scene);
  const stream = await listen();
  const opening = hold(scene.b, ({ what }) => what === 'notifications/initialized', accept);
  await kill(scene.a);
  const called = call();
  await opening.begun();
  const [next] = openStreams(scene.b);
  const padding = 'x'.repeat(16 * 1024);
  const said = Array.from({ length: 1_500 }, (_, at) => `${at} ${padding}`);
  for (const one of said) sayOn(next!, one);
  const { socket } = next!.response;
  let before = -1;
  await until('no more is taken from it', () => {
    const taken = socket!.bytesWritten - next!.response.writableLength - socket!.writableLength;
    const still = taken === before;
    before = taken;
    return still;
  });
  expect(next!.response.writableLength + socket!.writableLength).toBeGreaterThan(8 * 1024 * 1024);
  opening.release();
  await called;
  await stream.hears('b 0');
  expect(stream.heard.length).toBe(said.length + 1);
  expect(stream.heard.slice(0, -1).every((one, at) => one === said[at])).toBe(true);
});

test('a proxy that is killed while it holds the stream holds up one call for a second at most, and no other', async () => {
  const redis = await startRedis();
  undo.push(() => redis.close());
  const flags = [`--redis=${redis.url}`];
  const scene = await begin(1, flags);
  const backends = [scene.a, scene.b].map(({ origin }) => `--backend=${origin}`);
  const other = await startProxyProcess([...flags, ...backends]);
  undo.push(() => other.close());
  const { call, listen } = await open(scene);
  const broken = await listen(`http://127.0.0.1:${other.port}/mcp`);
  other.signal('SIGKILL');
  await other.exit();
  await until('its stream is broken', broken.over);
  await kill(scene.a);
  const start = performance.now();
  expect(await call()).toBe(200);
  expect(performance.now() - start).toBeLessThan(2_500);
  expect(streamEvents(scene)).toEqual(['late']);
  const stream = await listen();
  await call();
  await stream.hears('b 0');
  expect([stream.heard, streamEvents(scene), openStreams(scene.b).length]).toEqual([['b 0'], ['late', 'opened'], 1]);
});
