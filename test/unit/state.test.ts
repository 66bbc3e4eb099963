/** Tool state, the same rules for every store, over a real Redis too. */

import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { fileState } from '../../server/demo/state-files.ts';
import { memoryState, redisState, type SessionState } from '../../server/state.ts';
import { startRedis } from '../house/redis.ts';

const DAY = 86_400;
const HALF_A_DAY = DAY / 2;
/** A session's place in each store: never its id, which is a secret. */
const hash = (session: string) => createHash('sha256').update(session).digest('hex');

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step();
});

type Kept = {
  readonly state: SessionState;
  /** Another task's view of the same store. */
  readonly other: SessionState;
  /** Lets the seconds go by for a session. */
  readonly pass: (session: string, seconds: number) => Promise<void>;
};

const stores: Record<string, () => Promise<Kept>> = {
  async memory() {
    let now = 0;
    const state = memoryState({ now: () => now });
    const pass = async (_session: string, seconds: number) => {
      now += seconds * 1000;
    };
    return { state, other: state, pass };
  },
  async files() {
    const folder = temporaryFolder();
    const pass = async (session: string, seconds: number) => {
      const then = Date.now() / 1000 - seconds;
      utimesSync(join(folder, hash(session)), then, then);
    };
    return { state: fileState(folder), other: fileState(folder), pass };
  },
  async redis() {
    const redis = await connected();
    const pass = async (session: string, seconds: number) => {
      const key = `mcp-affinity:state:${hash(session)}`;
      await redis.expire(key, (await redis.ttl(key)) - seconds);
    };
    return { state: redisState(redis), other: redisState(redis), pass };
  },
};

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-state-'));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A client of the one Redis of this file, emptied. */
async function connected(): Promise<Redis> {
  const redis = new Redis(server.url);
  undo.push(() => redis.disconnect());
  await redis.flushall();
  return redis;
}

let server: Awaited<ReturnType<typeof startRedis>>;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.close());

describe.each(Object.entries(stores))('state in %s', (_name, open) => {
  test('does not know a session before its first write', async () => {
    const { state } = await open();
    expect([await state.get('s', 'x'), await state.all('s')]).toEqual([{ kind: 'no-session' }, { kind: 'no-session' }]);
    expect(await state.get('s', 'x')).toEqual({ kind: 'no-session' });
  });

  test('gives back what was set, the last of each key', async () => {
    const { state, other } = await open();
    await state.set('s', 'x', '1');
    await other.set('s', 'y', '2');
    await state.set('s', 'x', '3');
    expect(await other.get('s', 'x')).toEqual({ kind: 'value', value: '3' });
    expect(await state.get('s', 'z')).toEqual({ kind: 'no-value' });
    const values = new Map([
      ['x', '3'],
      ['y', '2'],
    ]);
    expect(await state.all('s')).toEqual({ kind: 'values', values });
  });

  test('keeps sessions apart', async () => {
    const { state } = await open();
    await state.set('s', 'x', '1');
    expect(await state.get('t', 'x')).toEqual({ kind: 'no-session' });
    await state.set('t', 'x', '2');
    expect(await state.get('s', 'x')).toEqual({ kind: 'value', value: '1' });
  });

  test('takes any text as a name and as a value', async () => {
    const { state } = await open();
    const texts = ['', ' ', '__proto__', '../../etc/passwd', 'a\nb\u0000c', 'käse 🧀', '"\\'];
    for (const text of texts) await state.set(`s${text}`, `k${text}`, text);
    for (const text of texts) expect(await state.get(`s${text}`, `k${text}`)).toEqual({ kind: 'value', value: text });
    await state.set('t', '__proto__', 'x');
    expect(await state.all('t')).toEqual({ kind: 'values', values: new Map([['__proto__', 'x']]) });
  });

  test('what it gave away does not change with it', async () => {
    const { state } = await open();
    await state.set('s', 'x', '1');
    const before = await state.all('s');
    await state.set('s', 'x', '2');
    expect(before).toEqual({ kind: 'values', values: new Map([['x', '1']]) });
  });

  test('writers of different keys never undo each other', async () => {
    const { state, other } = await open();
    const keys = Array.from({ length: 50 }, (_, index) => String(index));
    await Promise.all(keys.map((key) => (Number(key) % 2 ? state : other).set('s', key, key)));
    expect(await state.all('s')).toMatchObject({ values: new Map(keys.map((key) => [key, key])) });
  });

  test('is over after a day of silence', async () => {
    const { state, pass } = await open();
    await state.set('s', 'x', '1');
    await pass('s', DAY);
    expect(await state.get('s', 'x')).toEqual({ kind: 'no-session' });
    await state.set('s', 'y', '2');
    expect(await state.all('s')).toEqual({ kind: 'values', values: new Map([['y', '2']]) });
  });

  test.each<[string, (state: SessionState) => Promise<unknown>]>([
    ['set', (state) => state.set('s', 'y', '2')],
    ['get', (state) => state.get('s', 'x')],
    ['get in vain', (state) => state.get('s', 'nothing')],
    ['all', (state) => state.all('s')],
  ])('lives on by %s', async (_use, use) => {
    const { state, pass } = await open();
    await state.set('s', 'x', '1');
    for (let times = 0; times < 3; times += 1) {
      await pass('s', HALF_A_DAY + 60);
      await use(state);
    }
    expect(await state.get('s', 'x')).toEqual({ kind: 'value', value: '1' });
  });
});

test('a write is never without its end of life in Redis', async () => {
  const redis = await connected();
  await redisState(redis, { ttlSeconds: 60 }).set('s', 'x', '1');
  expect(await redis.ttl(`mcp-affinity:state:${hash('s')}`)).toBeGreaterThan(0);
  expect(await redis.keys('*')).toHaveLength(1);
});

test.each([0, -5, Number.NaN, 0.5, 1e9, Infinity])('ttlSeconds: %d is no life', (ttlSeconds) => {
  const fault = new RangeError(`ttlSeconds: expected whole seconds from 1 to 31622400, got ${ttlSeconds}`);
  const untouched = { eval: () => expect.unreachable('a command') };
  expect(() => memoryState({ ttlSeconds })).toThrow(fault);
  expect(() => redisState(untouched, { ttlSeconds })).toThrow(fault);
});

test('an unreachable Redis is an error, and no answer', async () => {
  const state = redisState({ eval: () => Promise.reject(new Error('refused')) });
  await expect(state.get('s', 'x')).rejects.toThrow('refused');
  await expect(redisState({ eval: () => Promise.resolve('OK') }).all('s')).rejects.toThrow('no list');
});

test('memory lets go of what is over', async () => {
  let now = 0;
  const reads: string[] = [];
  const state = memoryState({ ttlSeconds: 1, now: () => now });
  for (const session of ['a', 'b', 'c']) {
    await state.set(session, 'x', session);
    now += 400;
  }
  for (const session of ['a', 'b', 'c']) reads.push((await state.get(session, 'x')).kind);
  expect(reads).toEqual(['no-session', 'value', 'value']);
});

test('files leave no draft behind, and pass over one that a killed task left', async () => {
  const folder = temporaryFolder();
  const state = fileState(folder);
  await state.set('s', 'x', '1');
  await state.set('s', 'x', '2');
  expect(readdirSync(join(folder, hash('s')))).toEqual([hash('x')]);
  writeFileSync(join(folder, hash('s'), '.draft'), '["x","hal');
  expect(await state.all('s')).toEqual({ kind: 'values', values: new Map([['x', '2']]) });
});
