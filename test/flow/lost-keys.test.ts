/** Redis loses keys while its connections live: a session that any proxy knows goes on at all of them, and what ended stays so. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawCall, rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { soon, until } from '../house/until.ts';

const hashOf = (id: string) => createHash('sha256').update(id).digest('hex');
const keyOf = (id: string) => REDIS.session(hashOf(id));
/** Milliseconds in which a request is answered that others are asked about. */
const ASKED = 2_000;

describe.each([2, 3])('%i proxies', (count) => {
  let flow: Flow;
  let direct: Redis;
  let spy: Redis;
  /** All that was published. */
  const published: string[] = [];
  const ids: string[] = [];
  beforeAll(async () => {
    flow = await startFlow({ backends: ['a', 'b'], proxies: count });
    direct = new Redis(flow.redis().url);
    spy = direct.duplicate();
    await spy.psubscribe('mcp-affinity:*');
    spy.on('pmessage', (_pattern: string, channel: string, text: string) => published.push(`${channel} ${text}`));
    await until('all live', async () => (await direct.zcard(REDIS.peers)) === count);
  });
  afterAll(async () => {
    for (const client of [direct, spy]) client.disconnect();
    await flow.close();
  });

  const url = (at: number): string => flow.proxies[at % count]!.url;
  /** A session of which one proxy alone knows. */
  async function open(at = 0): Promise<string> {
    const { id } = await rawOpen(url(at));
    await rawPost(url(at), { method: 'notifications/initialized' }, { 'mcp-session-id': id });
    ids.push(id);
    return id;
  }
  /** Backend and number of a call, as in `a1`. */
  async function counted(id: string, at: number): Promise<string> {
    const [, value, task] = /counter=(\d+) taskId=(\w+)/.exec(await rawCall(url(at), id, 'counter')) ?? [];
    return `${task}${value}`;
  }
  /** One call after the other, each through the next proxy, beginning with one that has not opened it. */
  async function roundRobin(id: string, calls: number): Promise<readonly string[]> {
    const saw: string[] = [];
    for (let at = 1; at <= calls; at += 1) saw.push(await counted(id, at));
    return saw;
  }
  const statuses = (id: string) =>
    Promise.all(flow.proxies.map(async (proxy) => (await rawPing(proxy.url, id)).status));
  const everywhere = (status: number) => flow.proxies.map(() => status);
  const asked = (id: string) => published.filter((text) => text.includes(`who-knows`) && text.includes(hashOf(id)));

  /** Its home and number go on as if nothing had happened. */
  async function goesOn(id: string, calls = 2 * count): Promise<boolean> {
    const saw = await roundRobin(id, calls);
    const [first = ''] = saw;
    const home = first[0];
    expect(saw).toEqual(saw.map((_, at) => `${home}${1 + at}`));
    return (await direct.exists(keyOf(id))) === 1;
  }

  test('FLUSHALL: right after it, every session goes on at every proxy', async () => {
    const opened = [await open(0), await open(1), await open(count - 1)];
    await direct.flushall();
    for (const id of opened) expect(await goesOn(id)).toBe(true);
    expect(flow.migrations()).toEqual([]);
  });

  test('DEL of one key', async () => {
    const [lost, other] = [await open(), await open()];
    await direct.del(keyOf(lost));
    expect([await goesOn(lost), await goesOn(other)]).toEqual([true, true]);
    expect(asked(other)).toEqual([]);
  });

  test('many requests of one session at the same time, at all proxies: one home, each call once', async () => {
    const id = await open();
    await direct.flushall();
    const saw = await Promise.all(Array.from({ length: 30 }, (_, at) => counted(id, at)));
    const home = saw[0]?.[0];
    expect(saw.toSorted()).toEqual(Array.from({ length: 30 }, (_, at) => `${home}${at + 1}`).toSorted());
    // Those at one proxy share its question; one that was on its way to Redis meanwhile may ask again.
    expect(asked(id).length).toBeLessThanOrEqual(2 * (count - 1));
    expect(flow.migrations()).toEqual([]);
  });

  test('eviction (allkeys-lru)', async () => {
    const id = await open();
    await direct.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const used = /used_memory:(\d+)/.exec(await direct.info('memory'))?.[1];
    await direct.config('SET', 'maxmemory', String(Number(used) + 200_000));
    try {
      let filled = 0;
      await until('it is evicted', async () => {
        const filling = direct.pipeline();
        for (let at = 0; at < 200; at += 1) filling.set(`filler ${(filled += 1)}`, 'x'.repeat(1_000));
        await filling.exec();
        return (await direct.exists(keyOf(id))) === 0;
      });
      expect(await goesOn(id)).toBe(true);
    } finally {
      await direct.config('SET', 'maxmemory', '0');
    }
  });

  test('a DELETE of a session whose key is lost ends it, for good', async () => {
    const id = await open();
    await direct.flushall();
    expect(await rawStatus(url(1), 'DELETE', id)).toBe(200);
    expect(await statuses(id)).toEqual(everywhere(404));
    await direct.flushall();
    expect(await statuses(id)).toEqual(everywhere(404));
  });

  test.each([
    ['FLUSHALL', () => direct.flushall()],
    ['DEL', (key: string) => direct.del(key)],
    ['a restored dump', (key: string, dump: Buffer) => direct.restore(key, 100_000, dump, 'REPLACE')],
  ])('a session that has ended stays so, after %s', async (_name, lose) => {
    const id = await open();
    expect(await statuses(id)).toEqual(everywhere(200));
    const dump = await direct.dumpBuffer(keyOf(id));
    await rawStatus(url(count - 1), 'DELETE', id);
    await until('all have heard', () => published.some((text) => text.includes(`${hashOf(id)} ended`)));
    await lose(keyOf(id), dump);
    expect(await statuses(id)).toEqual(everywhere(404));
    expect(await statuses(id)).toEqual(everywhere(404));
  });

  test('an older copy of its record, and the proxies that know the later one: no second migration', async () => {
    const id = await open();
    expect(await statuses(id)).toEqual(everywhere(200));
    const dump = await direct.dumpBuffer(keyOf(id));
    const before = flow.migrations().length;
    await fetch(`${flow.proxies[0]!.opsUrl}/sessions/${hashOf(id)}/migrate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    await until('it has migrated', async () => (await rawPing(url(0), id), flow.migrations().length > before));
    await direct.restore(keyOf(id), 100_000, dump, 'REPLACE');
    expect(await goesOn(id)).toBe(true);
    expect(flow.migrations()).toHaveLength(before + 1);
  });

  test('a guessed id is 404, and asked about once a second at most', async () => {
    const start = performance.now();
    for (let round = 0; round < 5; round += 1) expect(await statuses('guessed')).toEqual(everywhere(404));
    const seconds = Math.ceil((performance.now() - start) / 1_000);
    expect(seconds).toBeLessThan(5);
    expect(asked('guessed').length).toBeLessThanOrEqual(count * seconds);
    expect(asked('guessed').length).toBeGreaterThan(0);
  });

  test('a proxy that does not answer: what another knows goes on; what nobody knows is 503 once, then 404', async () => {
    const id = await open();
    await direct.publish(REDIS.messages, JSON.stringify({ from: 'ghost', kind: 'joined' }));
    await until('it is known', () => published.some((text) => text.startsWith(REDIS.answers('ghost'))));
    await direct.flushall();
    expect(await goesOn(id)).toBe(true);
    const answer = await soon('an answer', rawPing(url(0), 'nobody'), ASKED);
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    await until('it is not found', async () => (await rawPing(url(0), 'nobody')).status === 404);
  });

  test('no message has held the id of a session', () => {
    expect(published.length).toBeGreaterThan(20);
    expect(ids.filter((id) => published.join('\n').includes(id))).toEqual([]);
  });
});

test('a proxy that is alone with its Redis asks nobody, and answers 404 at once', async () => {
  const flow = await startFlow({ backends: ['a'], redis: true, flags: ['--guess-rate', 'off'] });
  const direct = new Redis(flow.redis().url);
  onTestFinished(async () => {
    direct.disconnect();
    await flow.close();
  });
  await until('it lives', async () => (await direct.zcard(REDIS.peers)) === 1);
  const sent = async () => /cmdstat_publish:calls=(\d+)/.exec(await direct.info('commandstats'))?.[1];
  const before = await sent();
  const start = performance.now();
  const answers = await Promise.all(Array.from({ length: 100 }, (_, at) => rawPing(flow.url, `guessed-${at}`)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]));
  expect(performance.now() - start).toBeLessThan(ASKED);
  expect(await sent()).toBe(before);
});

test('an old dump in the place of all keys: the proxies that know later copies put them back, for those that do not', async () => {
  const flow = await startFlow({ backends: ['a', 'b'], proxies: 3 });
  const direct = new Redis(flow.redis().url);
  onTestFinished(async () => {
    direct.disconnect();
    await flow.close();
  });
  const [one, other] = flow.proxies.map(({ url }) => url);
  await until('all live', async () => (await direct.zcard(REDIS.peers)) === 3);
  const ids: string[] = [];
  for (let at = 0; at < 5; at += 1) ids.push((await rawOpen(one!)).id);
  const keys = await direct.keys('*');
  const dumps = await Promise.all(keys.map((key) => direct.dumpBuffer(key)));
  await flow.kill('a');
  const homes: string[] = [];
  for (const id of ids) homes.push(await rawCall(one!, id, 'counter'));
  expect(homes.every((text) => text.includes('taskId=b'))).toBe(true);
  await flow.revive();
  const later = (await rawOpen(one!)).id;
  const before = flow.migrations().length;
  const signs = async () => (await direct.zrange(REDIS.peers, 0, '-1', 'WITHSCORES')).filter((_, at) => at % 2 === 1);
  await until('the dump is older than a sign of life', async () => (await signs()).every((count) => Number(count) > 1));
  const restoring = direct.multi().flushall();
  for (const [at, key] of keys.entries()) restoring.restore(key, 100_000, dumps[at]!);
  await restoring.exec();
  const { host } = new URL(flow.backend('b').origin);
  for (const id of ids) await until('it is put back', async () => (await direct.hget(keyOf(id), 'home')) === host);
  for (const id of ids) expect(await rawCall(other!, id, 'counter')).toMatch(/^counter=\d+ taskId=b/);
  expect((await rawPing(flow.proxies[2]!.url, later)).status).toBe(200);
  expect(flow.migrations()).toHaveLength(before);
});
