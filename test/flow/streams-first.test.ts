/** The first exchange that a new home runs can reach the client over its listening stream. */

import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { type Reached, startReached } from '../house/reached.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const PROGRAM = fileURLToPath(new URL('../house/foreign/asking-server.ts', import.meta.url));
const start = (port: number) => ({ command: process.execPath, args: [PROGRAM], env: { PORT: String(port) } });

let servers: ForeignServers;
let redis: TestRedis;
beforeAll(async () => {
  [servers, redis] = await Promise.all([startForeign(start, ['a', 'b']), startRedis()]);
});
afterAll(async () => {
  await Promise.all([servers.close(), redis.close()]);
});

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly proxies: readonly TestProxy[]; readonly clients: readonly Reached[] };

/** All clients listen at the last proxy and call at the first. */
async function begin(proxies: number, clients: number, flags: readonly string[], origins = servers.origins) {
  const shared = proxies > 1 ? [`--redis=${redis.url}`] : [];
  const all: TestProxy[] = [];
  while (all.length < proxies) all.push(await startProxy(origins, [...shared, ...flags]));
  undo.push(() => Promise.all(all.map((proxy) => proxy.stop())));
  const begun = await Promise.all(Array.from({ length: clients }, () => startReached(all[0]!.url, all.at(-1)!.url)));
  undo.push(() => Promise.all(begun.map((client) => client.close())));
  return { proxies: all, clients: begun };
}

async function reachAll({ clients }: Scene): Promise<ReadonlySet<string>> {
  return new Set(await Promise.all(clients.map((client) => client.reach())));
}

async function order(scene: Scene, method: string, path: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const { status } = await fetch(scene.proxies[0]!.opsUrl + path, { method, headers });
  expect(status).toBe(202);
}

async function counts(origin: string): Promise<unknown> {
  return (await fetch(`${origin}/counts`)).json();
}

const migrated = ({ proxies }: Scene) =>
  proxies.flatMap(({ events }) => events).filter((event) => event.type === 'migration' && event.outcome === 'migrated');
const late = ({ proxies }: Scene) =>
  proxies.flatMap(({ events }) => events).filter((event) => event.type === 'stream' && event.change === 'late');

describe.each([1, 2])('with %i proxies: each of 100 first calls reaches its client', (proxies) => {
  test('after kill -9', async () => {
    const scene = await begin(proxies, 25, []);
    await reachAll(scene);
    for (let round = 0; round < 5; round += 1) {
      const victim = servers.all[round % 2]!;
      await victim.kill();
      const homes = await reachAll(scene);
      expect(homes.has(victim.origin)).toBe(false);
      await victim.restart();
      await until('it is listed as well', () => fetch(`${scene.proxies[0]!.opsUrl}/healthz`).then(({ ok }) => ok));
    }
    expect(late(scene)).toEqual([]);
  });
});
