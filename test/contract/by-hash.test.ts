/** Sessions as operators see them, in memory and in Redis: what is shown, page by page, and who hears of an end. */

import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Sessions, SessionsUnavailable } from '../../proxy/contract.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { type SessionsByHash, readCursor } from '../../proxy/sessions/by-hash.ts';
import { cachedSessions } from '../../proxy/sessions/cached.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { migrated, newSession } from '../house/sessions.ts';
import { until } from '../house/until.ts';

type Registry = { readonly sessions: Sessions; readonly byHash: SessionsByHash };
type Made = Registry & { readonly other: Registry; readonly tick: () => void; readonly close: () => Promise<void> };

const hashOf = (id: string) => createHash('sha256').update(id).digest('hex');
const ttlSeconds = 100;

let server: TestRedis;
let direct: Redis;
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.url);
}, 180_000);
afterAll(async () => {
  direct.disconnect();
  await server.close();
});

async function inMemory(): Promise<Made> {
  let at = 0;
  const sessions = memorySessions({ ttlSeconds, now: () => at });
  const one = { sessions, byHash: sessions.byHash };
  return { ...one, other: one, tick: () => void (at += 1), close: () => sessions.close() };
}

async function inRedis(): Promise<Made> {
  await direct.flushall();
  let passed = 0;
  const now = () => 1_700_000_000_000 + passed;
  const undo: (() => Promise<void>)[] = [];
  const open = async (): Promise<Registry> => {
    const redis = connectRedis({ url: server.url, record() {} });
    const store = redisSessions({ redis, ttlSeconds, now });
    const sessions = cachedSessions(store, { ttlSeconds, now });
    undo.push(async () => (await sessions.close(), redis.close()));
    await new Promise<void>((resolve) => void store.onLink((linked) => linked && resolve()));
    return { sessions, byHash: store.byHash };
  };
  const [one, other] = await Promise.all([open(), open()]);
  const close = async () => {
    for (const end of undo) await end();
  };
  return { ...one, other, tick: () => void (passed += 1), close };
}

describe.each([
  ['memory', inMemory],
  ['redis', inRedis],
])('%s', (_name, make) => {
  let made: Made;
  beforeEach(async () => {
    made = await make();
  });
  afterEach(() => made.close());

  /** Homes a and b by turns; each a millisecond after the one before, or all in one. */
  async function create(count: number, spread = true): Promise<readonly string[]> {
    const ids: string[] = [];
    for (let at = 0; at < count; at += 1) {
      const id = `id-${at}`;
      await made.sessions.create(newSession({ id, home: { id: at % 2 ? 'b' : 'a', origin: 'http://x' } }));
      ids.push(id);
      if (spread) made.tick();
    }
    return ids;
  }
  async function pages(limit: number, backend?: string, between: () => Promise<void> = async () => {}) {
    const found: string[][] = [];
    let cursor: string | undefined;
    do {
      const after = cursor === undefined ? undefined : readCursor(cursor);
      const page = await made.other.byHash.page({ backend, limit, after });
      expect(page.sessions.length).toBeLessThanOrEqual(limit);
      found.push(page.sessions.map(({ hash }) => hash));
      cursor = page.next;
      await between();
    } while (cursor !== undefined);
    return found;
  }
  /** What is beside a session is written without anybody waiting for it. */
  const counted = (count: number) =>
    until('all are counted', async () => {
      const found = await made.other.byHash.page({ backend: undefined, limit: 1_000, after: undefined });
      return found.sessions.length === count;
    });

  test('is found, without either of its ids', async () => {
    const session = newSession({ id: 'secret-of-client', backendSessionId: 'secret-of-home' });
    await made.sessions.create(session);
    const { id, backendSessionId: _, ...rest } = session;
    const found = await made.other.byHash.find(hashOf(id));
    expect(found).toEqual({ ...rest, hash: hashOf(id) });
    expect(JSON.stringify(found)).not.toContain('secret');
  });

  test('nobody is nobody', async () => {
    expect(await made.byHash.find(hashOf('nobody'))).toBeUndefined();
    expect(await made.byHash.end(hashOf('nobody'))).toBeUndefined();
    expect(await made.byHash.page({ backend: 'a', limit: 5, after: undefined })).toEqual({
      sessions: [],
      next: undefined,
    });
  });

  test.each([
    [1, true],
    [3, true],
    [1, false],
    [2, false],
    [7, false],
    [100, false],
  ])('come page by page, %i at once, each once (apart in time: %s)', async (limit, spread) => {
    const ids = await create(9, spread);
    await counted(9);
    const all = await pages(limit);
    expect(all.flat().toSorted()).toEqual(ids.map(hashOf).toSorted());
    expect((await pages(limit, 'b')).flat().toSorted()).toEqual(
      ['id-1', 'id-3', 'id-5', 'id-7'].map(hashOf).toSorted(),
    );
    expect((await pages(limit, 'nobody')).flat()).toEqual([]);
  });

  test('none is left out though others are renewed, end and migrate between two pages', async () => {
    const ids = await create(12);
    await counted(12);
    let at = 0;
    const found = await pages(2, undefined, async () => {
      at += 1;
      made.tick();
      await made.sessions.find(`id-${at}`, { fresh: true });
      if (at === 3) await made.sessions.end('id-11');
    });
    expect(new Set(found.flat())).toEqual(new Set(ids.filter((id) => id !== 'id-11').map(hashOf)));
  });

  test('one that has migrated is at its new home', async () => {
    const one = newSession({ id: 'one', home: { id: 'a', origin: 'http://x' } });
    await made.sessions.create(one);
    await made.sessions.replace(one, migrated(one, 'b'));
    await until('it is there', async () => (await pages(5, 'b')).flat().length === 1);
    expect((await pages(5, 'a')).flat()).toEqual([]);
    expect((await pages(5)).flat()).toEqual([hashOf('one')]);
    expect(await made.byHash.find(hashOf('one'))).toMatchObject({ epoch: 1, home: { id: 'b' } });
  });

  test('an end is heard by all, and the ids are known where it was served', async () => {
    const id = randomUUID();
    const session = newSession({ id });
    await made.sessions.create(session);
    const heard: string[] = [];
    made.sessions.onChange((one) => heard.push(one));
    const ended = await made.byHash.end(hashOf(id));
    expect(ended).toMatchObject({ seen: { hash: hashOf(id) }, session });
    await until('it is heard', () => heard.length > 0);
    expect(heard).toEqual([id]);
    expect(await made.sessions.find(id)).toBeUndefined();
    expect(await made.byHash.end(hashOf(id))).toBeUndefined();
  });
});

test('redis: an end by a proxy that never served it', async () => {
  const made = await inRedis();
  await made.sessions.create(newSession({ id: 'one' }));
  expect(await made.other.byHash.end(hashOf('one'))).toMatchObject({ session: undefined, seen: { epoch: 0 } });
  await until('it is heard', async () => (await made.sessions.find('one')) === undefined);
  await made.close();
});

test('redis: a record that cannot be read is passed over, and can be ended', async () => {
  const made = await inRedis();
  const session = newSession({ id: 'one', home: { id: 'a', origin: 'http://x' } });
  await made.sessions.create(session);
  await until('it is counted', async () => {
    const page = await made.byHash.page({ backend: 'a', limit: 5, after: undefined });
    return page.sessions.length === 1;
  });
  await direct.hset(`mcp-affinity:session:${hashOf('one')}`, 'record', '{"of":"tomorrow"}');
  expect(await made.byHash.find(hashOf('one'))).toBeUndefined();
  expect(await made.byHash.page({ backend: 'a', limit: 5, after: undefined })).toEqual({
    sessions: [],
    next: undefined,
  });
  expect(await made.byHash.end(hashOf('one'))).toBeUndefined();
  await made.close();
});

test('redis: away is SessionsUnavailable', async () => {
  const redis = connectRedis({ url: 'redis://127.0.0.1:9', record() {}, deadlineMs: 50 });
  const store = redisSessions({ redis, ttlSeconds });
  const hash = hashOf('one');
  const asked = [
    () => store.byHash.find(hash),
    () => store.byHash.end(hash),
    () => store.byHash.page({ backend: undefined, limit: 5, after: undefined }),
  ];
  for (const ask of asked) await expect(ask()).rejects.toThrow(SessionsUnavailable);
  await store.close();
  redis.close();
});

test.each(['', 'x', 'bnVsbA', Buffer.from('{"backend":1}').toString('base64url'), '%%%'])(
  'the cursor %j is none',
  (text) => {
    expect(readCursor(text)).toBeUndefined();
  },
);
