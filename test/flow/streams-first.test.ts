/** The first exchange that a new home runs can reach the client over its listening stream. */

import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { type Reached, startReached } from '../house/reached.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const PROGRAM = fileURLToPath(new URL('../house/foreign/asking-server.ts', import.meta.url));
const start = (port: number) => ({ command: process.execPath, args: [PROGRAM], env: { PORT: String(port) } });
const LISTED = z.object({ backends: z.array(z.object({ state: z.string() })) });
const COUNTS = z.object({ listening: z.number(), sessions: z.number() });

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

/** Each server reaches its client, or this rejects. */
async function reachAll({ clients }: Scene): Promise<ReadonlySet<string>> {
  return new Set(await Promise.all(clients.map((client) => client.reach())));
}

async function order({ proxies }: Scene, method: string, path: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const { status } = await fetch(proxies[0]!.opsUrl + path, { method, headers });
  expect(status).toBe(202);
}

async function readyEverywhere({ proxies }: Scene): Promise<void> {
  for (const { opsUrl } of proxies) {
    await until('all backends are ready', async () => {
      const { backends } = LISTED.parse(await (await fetch(`${opsUrl}/backends`)).json());
      return backends.every(({ state }) => state === 'ready');
    });
  }
}

function eventsOf<T extends RoutingEvent['type']>({ proxies }: Scene, type: T): Extract<RoutingEvent, { type: T }>[] {
  const isOf = (event: RoutingEvent): event is Extract<RoutingEvent, { type: T }> => event.type === type;
  return proxies.flatMap(({ events }) => events.filter(isOf));
}

const migrated = (scene: Scene) => eventsOf(scene, 'migration').filter(({ outcome }) => outcome === 'migrated').length;
const streams = (scene: Scene, change: string) =>
  eventsOf(scene, 'stream').filter((event) => event.change === change).length;

async function counts(): Promise<{ readonly listening: number; readonly sessions: number }> {
  const all = await Promise.all(
    servers.origins.map(async (origin) => COUNTS.parse(await (await fetch(`${origin}/counts`)).json())),
  );
  const sum = (of: 'listening' | 'sessions') => all.reduce((so, one) => so + one[of], 0);
  return { listening: sum('listening'), sessions: sum('sessions') };
}

/** One stream and one session for each client, and none once they are gone. */
async function expectNothingLeft(scene: Scene): Promise<void> {
  const { length } = scene.clients;
  await until('each client is attached once', async () => (await counts()).listening === length);
  await until('no session is left behind', async () => (await counts()).sessions === length);
  await Promise.all(scene.clients.map((client) => client.close()));
  await until('nothing is left behind', async () => {
    const { listening, sessions } = await counts();
    return listening + sessions === 0;
  });
  await until('all streams are closed', () => streams(scene, 'closed') === streams(scene, 'opened'));
  expect([streams(scene, 'opened'), streams(scene, 'late'), eventsOf(scene, 'fault')]).toEqual([length, 0, []]);
}

describe.each([1, 2])('with %i proxies, each of a hundred first calls reaches its client', (proxies) => {
  test('after kill -9', async () => {
    const scene = await begin(proxies, 32, []);
    await reachAll(scene);
    for (let round = 0; round < 4; round += 1) {
      const victim = servers.all[round % 2]!;
      await victim.kill();
      expect(await reachAll(scene)).not.toContain(victim.origin);
      await victim.restart();
      await readyEverywhere(scene);
    }
    expect(migrated(scene)).toBeGreaterThanOrEqual(100);
    await expectNothingLeft(scene);
  });

  // A session that is forgotten three times within a minute is ended.
  test.each(['fifty', 'fifty more'])('after a restart in place: %s', async () => {
    const scene = await begin(proxies, 25, [], servers.origins.slice(0, 1));
    await reachAll(scene);
    for (let round = 0; round < 2; round += 1) {
      await servers.all[0]!.restart();
      await reachAll(scene);
    }
    expect(migrated(scene)).toBe(50);
    await expectNothingLeft(scene);
  });

  test('around a drain mark', async () => {
    const scene = await begin(proxies, 50, []);
    for (const drained of [servers.origins[0]!, servers.origins[1]!, servers.origins[0]!]) {
      const { host } = new URL(drained);
      await order(scene, 'POST', `/backends/${host}/drain`);
      await until('all have left', async () => !(await reachAll(scene)).has(drained));
      await order(scene, 'DELETE', `/backends/${host}/drain`);
      await readyEverywhere(scene);
    }
    expect(migrated(scene)).toBeGreaterThanOrEqual(100);
    await expectNothingLeft(scene);
  });

  test('around an order to migrate', async () => {
    const scene = await begin(proxies, 50, []);
    for (let round = 1; round <= 2; round += 1) {
      await Promise.all(scene.clients.map((client) => order(scene, 'POST', `/sessions/${client.hash()}/migrate`)));
      await until('all have moved', async () => (await reachAll(scene)) && migrated(scene) >= round * 50);
    }
    await reachAll(scene);
    expect(migrated(scene)).toBe(100);
    await expectNothingLeft(scene);
  });

  test('under --chaos-migrate', async () => {
    const scene = await begin(proxies, 25, ['--chaos-migrate=on']);
    for (let round = 0; round < 5; round += 1) await reachAll(scene);
    expect(migrated(scene)).toBeGreaterThanOrEqual(100);
    await expectNothingLeft(scene);
  });
});
