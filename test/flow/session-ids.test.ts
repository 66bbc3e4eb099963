/** Session ids as long as a server likes, and those that no client could send back. */

import { randomBytes } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { createLog } from '../../proxy/telemetry/log.ts';
import { rawOpen, rawPing, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Home, startHome } from '../house/homes.ts';
import { startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const idOf = (length: number): string => randomBytes(length).toString('base64url').slice(0, length);

async function homes(count: number): Promise<readonly Home[]> {
  const started = await Promise.all(Array.from({ length: count }, () => startHome()));
  for (const one of started) onTestFinished(() => one.close());
  return started;
}
async function proxyOf(all: readonly Home[], ...flags: readonly string[]): Promise<TestProxy> {
  const origins = all.map(({ origin }) => origin);
  const proxy = await startProxy(origins, flags);
  onTestFinished(() => proxy.stop());
  return proxy;
}

test.each([
  [257, 1],
  [600, 2],
  [3000, 2],
  [15_000, 1],
  [15_000, 2],
])('%i characters, before and after a migration, at %i proxies', async (length, count) => {
  const all = await homes(2);
  for (const one of all) one.issues = () => idOf(length);
  const redis = count > 1 ? await startRedis() : undefined;
  if (redis !== undefined) onTestFinished(() => redis.close());
  const flags = redis === undefined ? [] : ['--redis', redis.url];
  const [first, last = first] = [await proxyOf(all, ...flags), ...(count > 1 ? [await proxyOf(all, ...flags)] : [])];

  const { status, id } = await rawOpen(first.url);
  expect([status, id.length]).toEqual([200, length]);
  const home = all.find(({ sessions }) => sessions.size > 0);
  const other = all.find(({ sessions }) => sessions.size === 0);
  const served = async ({ url }: TestProxy, by = home) => {
    expect((await rawPing(url, id)).message).toMatchObject({ result: { home: by?.id } });
    const leave = new AbortController();
    expect(await rawStatus(url, 'GET', id, leave.signal)).toBe(200);
    leave.abort();
  };
  await served(first);
  await served(last);
  await home?.close();
  await served(last, other);
  await served(first, other);
  expect(await rawStatus(last.url, 'DELETE', id)).toBe(200);
  expect(other?.sessions.size).toBe(0);
  expect(await rawStatus(first.url, 'DELETE', id)).toBe(404);
});

test.each<[string, string | string[], number]>([
  ['with a space', 'a b', 1],
  ['that is not ASCII', 'caf\u00E9', 1],
  ['that is empty', '', 0],
  ['of two kinds', ['one', 'two'], 2],
  // Nor can its server read it.
  ['longer than a client could send', idOf(60_000), 0],
])('an id %s fails initialize, and its session is ended', async (_what, issued, deletes) => {
  const [home] = await homes(1);
  home!.issues = () => issued;
  const ended: string[] = [];
  const { url, events } = await proxyOf([home!]);
  const before = [issued].flat();
  expect(await rawOpen(url)).toMatchObject({
    status: 502,
    id: '',
    message: { error: { message: 'The server issued a session id that cannot be used' } },
  });
  await until(
    'its session is gone',
    () => before.filter((one) => home!.sessions.has(one)).length === before.length - deletes,
  );
  const said = events.filter(({ type }) => type === 'unusable-id');
  createLog({ level: 'warn', listens: false, destination: { write: (line) => void ended.push(line) } }).record(
    said[0]!,
  );
  expect(ended).toEqual([expect.stringContaining(`"level":"warn"`)]);
  expect(said).toEqual([
    { type: 'unusable-id', backend: home!.id, cause: expect.stringMatching(/^the (answer|session id) /) },
  ]);
});

test('an id that is said twice is one', async () => {
  const [home] = await homes(1);
  home!.issues = () => ['same', 'same'];
  const { url } = await proxyOf([home!]);
  expect(await rawOpen(url)).toMatchObject({ status: 200, id: 'same' });
  expect((await rawPing(url, 'same')).status).toBe(200);
});

test('a backend that issues one at a migration gets no session, and keeps none', async () => {
  const all = await homes(2);
  const { url, events } = await proxyOf(all, '--hold-seconds', '0');
  const { id } = await rawOpen(url);
  const home = all.find(({ sessions }) => sessions.size > 0);
  const other = all.find((one) => one !== home)!;
  other.issues = () => 'a b';
  await home?.close();
  expect((await rawPing(url, id)).status).toBe(503);
  expect(events.flatMap((one) => (one.type === 'migration' ? [one.outcome] : []))).toEqual(['failed']);
  await until('no orphan is left', () => other.sessions.size === 0);
  other.issues = () => 'usable';
  expect((await rawPing(url, id)).message).toMatchObject({ result: { home: other.id } });
  expect([...other.sessions]).toEqual(['usable']);
});
