/** What a real Redis does to the registry when it is slow, gone, back, or somebody else's replica. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { REDIS, type Sessions, SessionsUnavailable } from '../../proxy/contract.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { cachedSessions, type LinkedSessions } from '../../proxy/sessions/cached.ts';
import { type RedisConnection, connectRedis } from '../../proxy/redis/connection.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { freePort, startRedis, type TestRedis } from '../house/redis.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

const ttlSeconds = 100;
const INSTALL = 180_000;
/** Milliseconds. */
const HEALED = { timeout: 5_000, interval: 20 };

let server: TestRedis;
const undo: (() => unknown)[] = [];
beforeEach(async () => {
  server = await startRedis();
}, INSTALL);
afterEach(async () => {
  for (const one of undo.splice(0)) await one();
  await server.close();
});

type Proxy = {
  readonly redis: RedisConnection;
  readonly store: LinkedSessions;
  readonly sessions: Sessions;
  readonly heard: string[];
  readonly links: boolean[];
};

/** A proxy's registry, connected unless `url` says otherwise. */
async function newProxy({ url = server.url, connected = true, idleSeconds = ttlSeconds } = {}): Promise<Proxy> {
  const heard: string[] = [];
  const links: boolean[] = [];
  const record = (event: RoutingEvent) => {
    if (event.type === 'registry') heard.push(event.state === 'down' ? `down: ${event.cause}` : 'up');
  };
  const redis = connectRedis({ url, record });
  undo.push(async () => redis.close());
  const store = redisSessions({ redis, ttlSeconds: idleSeconds });
  store.onLink((linked) => links.push(linked));
  const sessions = cachedSessions(store, { ttlSeconds: idleSeconds });
  undo.push(() => sessions.close());
  if (connected) await vi.waitUntil(() => links.length > 0, HEALED);
  return { redis, store, sessions, heard, links };
}

function newClient(): Redis {
  const client = new Redis(server.url);
  undo.push(() => client.disconnect());
  return client;
}

async function timed<T>(work: Promise<T>): Promise<{ readonly result: T | Error; readonly ms: number }> {
  const start = performance.now();
  const result = await work.catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));
  return { result, ms: performance.now() - start };
}

const everyCall = (store: Sessions) => {
  const one = newSession();
  return [store.find('x'), store.create(one), store.replace(one, changed(one)), store.end('x')];
};

/** All calls are refused, and none of them keeps its caller waiting. */
async function expectRefused(store: Sessions, within: number): Promise<void> {
  for (const { result, ms } of await Promise.all(everyCall(store).map((call) => timed<unknown>(call)))) {
    expect(result).toBeInstanceOf(SessionsUnavailable);
    expect(ms).toBeLessThan(within);
  }
  const { result, ms } = await timed(store.countByBackend());
  expect(result).toBeInstanceOf(Map);
  expect(ms).toBeLessThan(within);
}

describe('a Redis that hangs', () => {
  test('costs the first call less than a second, the next ones nothing, and heals by itself', async () => {
    const { store, heard } = await newProxy();
    const session = newSession();
    await store.create(session);
    server.pause();
    await expectRefused(store, 950);
    await expectRefused(store, 100);
    expect(heard).toEqual(['down: no answer in time']);
    server.resume();
    await vi.waitFor(async () => expect(await store.find(session.id)).toEqual(session), HEALED);
    expect(heard).toEqual(['down: no answer in time', 'up']);
  });

  test('heals within about a second also when its connections were given up', async () => {
    const { store, links } = await newProxy();
    server.pause();
    await expectRefused(store, 950);
    await vi.waitFor(() => expect(links).toEqual([true, false]), { timeout: 8_000 });
    server.resume();
    const since = performance.now();
    await vi.waitFor(() => store.end('x'), HEALED);
    await vi.waitFor(() => expect(links).toEqual([true, false, true]), HEALED);
    expect(performance.now() - since).toBeLessThan(2_000);
  });

  test('stops no session that is known', async () => {
    const { store, sessions, links } = await newProxy();
    const session = newSession();
    await sessions.create(session);
    server.pause();
    expect(await timed(sessions.find(session.id))).toMatchObject({ result: session });
    await expectRefused(store, 950);
    await vi.waitFor(() => expect(links).toEqual([true, false]), { timeout: 8_000 });
    expect(await sessions.find(session.id)).toEqual(session);
    await expect(sessions.find(session.id, { fresh: true })).rejects.toThrow(SessionsUnavailable);
    server.resume();
  });

  test('may have stored what it did not answer: a read shows it', async () => {
    const [one, two] = [await newProxy(), await newProxy()];
    const session = newSession();
    const next = migrated(session, 'b');
    await one.sessions.create(session);
    server.pause();
    await expect(one.sessions.replace(session, next)).rejects.toThrow(SessionsUnavailable);
    expect(await one.sessions.find(session.id)).toEqual(session);
    server.resume();
    await vi.waitFor(async () => expect(await two.sessions.find(session.id)).toEqual(next), HEALED);
    await vi.waitFor(async () => expect(await one.sessions.find(session.id)).toEqual(next), HEALED);
  });
});

describe('a Redis that is gone', () => {
  test('is waited for by the first calls, then not; sessions that are known go on; it heals when one is back', async () => {
    const { store, sessions, heard, links } = await newProxy();
    const session = newSession();
    await sessions.create(session);
    await server.kill9();
    expect(await sessions.find(session.id)).toEqual(session);
    await expectRefused(store, 950);
    await expectRefused(store, 100);
    expect(await sessions.find(session.id)).toEqual(session);
    expect(heard).toEqual(['down: ECONNREFUSED']);
    await server.start();
    await vi.waitFor(async () => expect(await store.create(session)).toBe('created'), HEALED);
    expect(heard).toEqual(['down: ECONNREFUSED', 'up']);
    await vi.waitFor(() => expect(links).toEqual([true, false, true]), HEALED);
    expect(await sessions.find(session.id)).toEqual(session);
  });

  test('and back at once is not noticed by a call', async () => {
    const { store, heard } = await newProxy();
    const client = newClient();
    const calls: Promise<unknown>[] = [];
    for (let round = 0; round < 3; round += 1) {
      await client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      const session = newSession();
      expect(await store.create(session)).toBe('created');
      calls.push(store.find(session.id));
    }
    await Promise.all(calls);
    expect(heard).toEqual([]);
  });

  test('and back, empty: what a proxy knows is put back, for all; what had ended stays so', async () => {
    const [one, other] = [await newProxy(), await newProxy()];
    const [session, ended] = [newSession(), newSession()];
    for (const each of [session, ended]) await one.sessions.create(each);
    await one.sessions.end(ended.id);
    await server.kill9();
    await server.start();
    // Who does not know it waits for those who may.
    await vi.waitFor(() => expect(other.links).toEqual([true, false, true]), HEALED);
    expect(await other.sessions.find(session.id)).toEqual(session);
    expect(await other.sessions.find(ended.id)).toBeUndefined();
    expect(await one.sessions.find(ended.id, { fresh: true })).toBeUndefined();
  });

  test('and has lost that a session ended: who has heard of it does not bring it back', async () => {
    const [one, other] = [await newProxy(), await newProxy()];
    const admin = newClient();
    const session = newSession();
    await one.sessions.create(session);
    expect(await other.sessions.find(session.id)).toEqual(session);
    const changes: string[] = [];
    other.sessions.onChange((id) => changes.push(id));
    await one.sessions.end(session.id);
    await vi.waitUntil(() => changes.length > 0, HEALED);
    await admin.flushall();
    expect(await other.sessions.find(session.id)).toBeUndefined();
    expect(await admin.exists(REDIS.session(createHash('sha256').update(session.id).digest('hex')))).toBe(0);
  });

  test('and back as it was a while ago: the later one of two copies counts', async () => {
    const [one, other] = [await newProxy(), await newProxy()];
    const admin = newClient();
    const session = newSession();
    const next = migrated(session, 'b');
    await one.sessions.create(session);
    await other.sessions.find(session.id);
    const [key = ''] = await admin.keys('mcp-affinity:session:*');
    const before = await admin.dumpBuffer(key);
    await one.sessions.replace(session, next);
    await admin.restore(key, 100_000, before, 'REPLACE');
    for (const { redis } of [one, other]) await redis.client.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await vi.waitFor(() => expect(one.links).toEqual([true, false, true]), HEALED);
    for (const { sessions } of [other, one]) {
      await vi.waitFor(async () => expect(await sessions.find(session.id)).toEqual(next), HEALED);
      await vi.waitFor(async () => expect(await sessions.find(session.id, { fresh: true })).toEqual(next), HEALED);
    }
  });

  test('a change of a session that it has lost puts it back first', async () => {
    const { sessions, redis } = await newProxy();
    const one = newSession();
    const two = changed(one);
    await sessions.create(one);
    await redis.client.del(REDIS.session(createHash('sha256').update(one.id).digest('hex')));
    expect(await sessions.replace(one, two)).toEqual(two);
    expect(await sessions.find(one.id, { fresh: true })).toEqual(two);
  });

  test('what ends while it is lost is not put back by another', async () => {
    const [one, other] = [await newProxy(), await newProxy()];
    const session = newSession();
    await one.sessions.create(session);
    await other.sessions.find(session.id);
    await one.redis.client.del(REDIS.session(createHash('sha256').update(session.id).digest('hex')));
    await one.sessions.end(session.id);
    expect(await other.sessions.find(session.id, { fresh: true })).toBeUndefined();
    expect(await one.sessions.find(session.id)).toBeUndefined();
  });

  test('an id may be given again once its session has ended', async () => {
    const { sessions } = await newProxy();
    const one = newSession();
    const again = newSession({ id: one.id });
    await sessions.create(one);
    await sessions.end(one.id);
    expect(await sessions.create(again)).toBe('created');
    expect(await sessions.find(one.id, { fresh: true })).toEqual(again);
    await sessions.end(one.id);
    expect(await sessions.find(one.id)).toBeUndefined();
  });

  test('and back: who is told to look again has an answer, however long it took', async () => {
    const { store, sessions, links } = await newProxy();
    const session = newSession();
    await sessions.create(session);
    const seen: unknown[] = [];
    sessions.onChange((id) => {
      sessions.find(id, { fresh: true }).then(
        (found) => seen.push(found),
        (error: unknown) => seen.push(error),
      );
    });
    await server.kill9();
    await expectRefused(store, 950);
    await server.start();
    await vi.waitFor(() => expect(links).toEqual([true, false, true]), HEALED);
    await vi.waitFor(() => expect(seen).not.toEqual([]), HEALED);
    expect(seen).toEqual(seen.map(() => session));
  });
});

describe('a start without Redis', () => {
  test('waits for it a moment, then refuses', async () => {
    const { store, heard } = await newProxy({ url: `redis://127.0.0.1:${await freePort()}`, connected: false });
    await expectRefused(store, 950);
    await expectRefused(store, 100);
    expect(heard).toEqual(['down: ECONNREFUSED']);
  });

  test('a call before the connection is there waits for it', async () => {
    const { store } = await newProxy({ connected: false });
    expect(await Promise.all([store.find('x'), store.create(newSession())])).toEqual([undefined, 'created']);
  });

  test('a wrong password is said', async () => {
    await newClient().config('SET', 'requirepass', 'right');
    const { store, heard } = await newProxy({ url: server.url.replace('//', '//:wrong@'), connected: false });
    await expectRefused(store, 950);
    expect(heard).toEqual(['down: WRONGPASS']);
    const right = await newProxy({ url: server.url.replace('//', '//:right@') });
    expect(await right.store.find('x')).toBeUndefined();
  });
});

describe('a failover', () => {
  test('a replica is not taken for the registry, and a call outlasts the change', async () => {
    const { store, heard } = await newProxy();
    const admin = newClient();
    const one = newSession();
    const two = migrated(one, 'b');
    await store.create(one);
    await admin.replicaof('127.0.0.1', 1);
    const replaced = store.replace(one, two);
    await vi.waitFor(async () => expect(await admin.info('errorstats')).toContain('READONLY'), HEALED);
    await admin.replicaof('NO', 'ONE');
    expect(await replaced).toEqual(two);
    expect(heard).toEqual([]);
  });

  test('that takes long is an outage', async () => {
    const { store, heard } = await newProxy();
    const admin = newClient();
    await admin.replicaof('127.0.0.1', 1);
    await expectRefused(store, 950);
    await expectRefused(store, 100);
    expect(heard).toEqual(['down: READONLY']);
    await admin.replicaof('NO', 'ONE');
    await vi.waitFor(() => store.end('x'), HEALED);
    expect(heard).toEqual(['down: READONLY', 'up']);
  });
});

test('a Redis that is full refuses new sessions only, and says so once', async () => {
  const { store, heard } = await newProxy();
  const admin = newClient();
  const session = newSession();
  await store.create(session);
  await admin.config('SET', 'maxmemory', '1');
  for (let round = 0; round < 2; round += 1) {
    const { result, ms } = await timed(store.create(newSession()));
    expect(result).toBeInstanceOf(SessionsUnavailable);
    expect(ms).toBeLessThan(300);
    expect(await store.find(session.id)).toEqual(session);
  }
  expect(heard).toEqual(['down: OOM']);
  await admin.config('SET', 'maxmemory', '0');
  expect(await store.create(newSession())).toBe('created');
  expect(heard).toEqual(['down: OOM', 'up']);
});

test('scripts that Redis has forgotten are sent again', async () => {
  const { store } = await newProxy();
  await store.create(newSession());
  await newClient().script('FLUSH');
  expect(await store.create(newSession())).toBe('created');
});

test('a record that cannot be read is no unknown session', async () => {
  const { store } = await newProxy();
  const admin = newClient();
  const session = newSession();
  await store.create(session);
  const [key = ''] = await admin.keys('mcp-affinity:session:*');
  await admin.hset(key, 'record', '{"epoch":"many"}');
  await expect(store.find(session.id)).rejects.toThrow(SessionsUnavailable);
});

test('nothing in Redis, and nothing that is published, contains the id of a session', async () => {
  const { store } = await newProxy();
  const admin = newClient();
  const published: string[] = [];
  const spy = newClient();
  await spy.psubscribe('*');
  spy.on('pmessage', (...message: string[]) => published.push(message.join(' ')));
  const one = newSession();
  await store.create(one);
  await store.find(one.id);
  await store.replace(one, migrated(one, 'b'));
  await vi.waitFor(() => expect(published).toHaveLength(1));
  const dump = await Promise.all((await admin.keys('*')).map(async (key) => [key, await contentOf(admin, key)]));
  expect(dump.length).toBeGreaterThan(2);
  expect(JSON.stringify([dump, published])).not.toContain(one.id);
});

async function contentOf(client: Redis, key: string): Promise<unknown> {
  const type = await client.type(key);
  if (type === 'string') return client.get(key);
  return type === 'hash' ? client.hgetall(key) : client.zrange(key, 0, '-1');
}

test('that a session has ended is remembered for an hour at most, however often it is asked for', async () => {
  const { redis, store } = await newProxy({ idleSeconds: 86_400 });
  const one = newSession();
  const two = changed(one);
  const key = REDIS.session(createHash('sha256').update(one.id).digest('hex'));
  await store.create(one);
  expect(await redis.client.pttl(key)).toBeGreaterThan(86_000_000);
  await store.end(one.id);
  for (const ask of [
    () => store.find(one.id),
    () => store.replace(one, two),
    () => store.restore(one),
    () => store.restore(two),
    () => store.end(one.id),
  ]) {
    expect(await ask()).toBeUndefined();
    expect(await redis.client.pttl(key)).toBeLessThanOrEqual(3_600_000);
    expect(await redis.client.hgetall(key)).toEqual({ ended: '1' });
  }
  await redis.client.pexpire(key, 1_000);
  await store.find(one.id);
  expect(await redis.client.pttl(key)).toBeLessThanOrEqual(1_000);
});

test('a session that is known costs no command', async () => {
  const { sessions } = await newProxy();
  const admin = newClient();
  const session = newSession();
  await sessions.create(session);
  const before = await scriptsRun(admin);
  for (let call = 0; call < 1_000; call += 1) await sessions.find(session.id);
  expect(await scriptsRun(admin)).toBe(before);
});

async function scriptsRun(client: Redis): Promise<number> {
  const stats = await client.info('commandstats');
  return [...stats.matchAll(/cmdstat_evals?h?a?:calls=(\d+)/g)].reduce((sum, [, calls]) => sum + Number(calls), 0);
}

test('after close, calls are refused at once', async () => {
  const { store, redis } = await newProxy();
  redis.close();
  await store.close();
  await expectRefused(store, 100);
  expect(await store.close()).toBeUndefined();
});
