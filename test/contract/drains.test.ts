/** Drain marks: what both stores promise, how they lie over a discovery, and that they reach every proxy. */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type Marks, drainableBackends, memoryMarks } from '../../proxy/backends/drains.ts';
import type { Finding } from '../../proxy/backends/checks.ts';
import { checkedBackends } from '../../proxy/backends/health.ts';
import { redisMarks } from '../../proxy/backends/shared-marks.ts';
import { staticBackends } from '../../proxy/backends/static.ts';
import { type Backend, type Backends, REDIS } from '../../proxy/contract.ts';
import { newListeners } from '../../proxy/listeners.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

let server: TestRedis;
beforeAll(async () => {
  server = await startRedis();
});
afterAll(() => server.close());

function overRedis(now?: () => number): Marks {
  const redis = connectRedis({ url: server.url, record: () => {} });
  const marks = redisMarks(redis, REDIS.drains, now && { now });
  onTestFinished(() => {
    marks.close();
    redis.close();
  });
  return marks;
}

describe.each([
  ['memory', memoryMarks],
  ['redis', () => overRedis()],
])('marks in %s', (name, make) => {
  test('are set and cleared, each as often as one likes', async () => {
    const marks = make();
    const heard: string[][] = [];
    marks.onChange(() => heard.push([...marks.list()].toSorted()));
    await marks.set(`${name} a`);
    await marks.set(`${name} b`);
    await marks.clear(`${name} a`);
    await marks.clear(`${name} a`);
    expect([...marks.list()]).toEqual([`${name} b`]);
    expect(heard.at(-1)).toEqual([`${name} b`]);
    await marks.clear(`${name} b`);
    expect([...marks.list()]).toEqual([]);
  });
});

test('a mark reaches the other proxies, one that starts later too, and so does its end', async () => {
  const [one, other] = [overRedis(), overRedis()];
  await one.set('task');
  await until('the other proxy knows', () => other.list().has('task'));
  const late = overRedis();
  await until('a later proxy knows', () => late.list().has('task'));
  await other.clear('task');
  await until('the first proxy knows', () => !one.list().has('task'));
  expect([...one.list()]).toEqual([]);
});

test('a mark that nobody undid ends after a week', async () => {
  await overRedis().set('old task');
  const week = 7 * 86_400_000;
  const later = overRedis(() => Date.now() + week + 60_000);
  await later.set('new task');
  const marks = overRedis(() => Date.now() + week - 60_000);
  await until('marks are known', () => marks.list().has('new task'));
  await until('marks are known', () => later.list().has('new task'));
  expect([marks.list().has('old task'), later.list().has('old task')]).toEqual([true, false]);
});

test('while Redis cannot be reached, what was known holds, and setting says so', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const connection = connectRedis({ url: redis.url, record: () => {} });
  const marks = redisMarks(connection, REDIS.drains);
  onTestFinished(() => {
    marks.close();
    connection.close();
  });
  await marks.set('task');
  await redis.close();
  await expect(marks.set('another')).rejects.toThrow('registry');
  expect([...marks.list()]).toEqual(['task']);
});

describe('over a discovery', () => {
  const drainingOf = (backends: Backends) => backends.list().flatMap(({ id, draining }) => (draining ? [id] : []));

  test('a marked backend drains until it is unmarked', async () => {
    const backends = drainableBackends(staticBackends(['http://a:1', 'http://b:1']), memoryMarks());
    const heard: string[][] = [];
    backends.onChange(() => heard.push(drainingOf(backends)));
    expect(await backends.drain('a:1')).toBe('marked');
    expect(await backends.drain('z:1')).toBe('unknown');
    backends.suspect('b:1', new Error('refused'));
    expect(backends.list()).toMatchObject([
      { id: 'a:1', draining: true, suspect: false },
      { id: 'b:1', draining: false, suspect: true },
    ]);
    expect(await backends.undrain('a:1')).toBe('unmarked');
    expect(await backends.undrain('z:1')).toBe('unknown');
    expect(heard).toEqual([['a:1'], ['a:1'], []]);
  });

  test('a mark goes with its backend: the next one at its address does not drain', async () => {
    const found = discovery(['a:1', 'b:1']);
    const marks = memoryMarks();
    const backends = drainableBackends(found, marks);
    await backends.drain('a:1');
    found.now(['b:1']);
    expect([...marks.list()]).toEqual([]);
    found.now(['a:1', 'b:1']);
    expect(drainingOf(backends)).toEqual([]);
  });

  test('a mark stays while the checks of one proxy leave its backend out, and goes when discovery does', async () => {
    const found = discovery(['a:1', 'b:1']);
    let wayTo: Record<string, Finding> = {};
    const checks = checkedBackends(found, {
      everyMs: 10,
      check: async (origin) => wayTo[origin] ?? { kind: 'well' },
    });
    onTestFinished(() => checks.close());
    const shared = memoryMarks();
    const backends = drainableBackends(checks, shared, { members: found });
    const elsewhere = drainableBackends(staticBackends(['http://a:1', 'http://b:1']), shared);
    await backends.drain('a:1');
    wayTo = { 'http://a:1': { kind: 'silent', cause: 'no answer' } };
    await until('a is dead here', () => backends.list().length === 1);
    expect(drainingOf(elsewhere)).toEqual(['a:1']);
    wayTo = {};
    await until('a is back', () => backends.list().length === 2);
    expect(drainingOf(backends)).toEqual(['a:1']);

    wayTo = { 'http://a:1': { kind: 'silent', cause: 'no answer' } };
    await until('a is dead again', () => backends.list().length === 1);
    found.now(['b:1']);
    found.now(['a:1', 'b:1']);
    expect([drainingOf(backends), drainingOf(elsewhere)]).toEqual([[], []]);
  });

  test('a mark on a backend that this proxy has not found yet stays', async () => {
    const marks = memoryMarks();
    await marks.set('a:1');
    const found = discovery([]);
    const backends = drainableBackends(found, marks);
    found.now(['b:1']);
    found.now(['a:1', 'b:1']);
    expect(drainingOf(backends)).toEqual(['a:1']);
  });
});

/** A discovery that finds what it is told. */
function discovery(ids: readonly string[]): Backends & { readonly now: (ids: readonly string[]) => void } {
  const listeners = newListeners<void>();
  const make = (id: string): Backend => ({ id, origin: `http://${id}`, draining: false, suspect: false });
  let list = ids.map(make);
  return {
    list: () => list,
    suspect() {},
    onChange: listeners.add,
    async close() {},
    now(next) {
      list = next.map(make);
      listeners.tell();
    },
  };
}
