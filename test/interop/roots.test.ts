/** A file server that learns its client's roots as each session begins: it has them whatever home the session gets. */

import { createHash } from 'node:crypto';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { versionOf } from '../house/foreign/kinds.ts';
import { type ForeignServer, type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { newTable } from '../house/foreign/table.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const GATEWAY = fileURLToPath(import.meta.resolve('supergateway/dist/index.js'));
const FILES = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-filesystem/dist/index.js'));
const SESSION = z.object({ home: z.string() });
const STATES = z.object({ backends: z.array(z.object({ state: z.string() })) });
const SCENE_MS = 120_000;

const table = newTable("The client's roots", 'proxies', [
  'kill -9 of the home',
  'restart in place',
  'home drained',
  'ordered to migrate',
  '--chaos-migrate',
]);
let folder: string;
/** What the server is started with, and what its client lets it have. */
let [given, wanted] = ['', ''];
let redis: TestRedis;
beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'roots-')));
  [given, wanted] = [await mkdtemp(join(folder, 'given-')), await mkdtemp(join(folder, 'wanted-'))];
  redis = await startRedis();
});
afterAll(async () => {
  process.stdout.write(`\n${table.text()}\n`);
  await redis.close();
  await rm(folder, { recursive: true });
});

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

function startFiles(ids: readonly string[]): Promise<ForeignServers> {
  const stdio = `${process.execPath} ${FILES} ${given}`;
  const flags = ['--stdio', stdio, '--outputTransport', 'streamableHttp', '--stateful', '--logLevel', 'none'];
  return startForeign(
    (port) => ({ command: process.execPath, args: [GATEWAY, ...flags, '--port', `${port}`], env: {} }),
    ids,
  );
}

/** The client listens at the last proxy and calls at the first. */
async function begin(count: number, ids: readonly string[], flags: readonly string[] = []) {
  const servers = await startFiles(ids);
  undo.push(() => servers.close());
  const proxies: TestProxy[] = [];
  while (proxies.length < count) proxies.push(await startProxy(servers.origins, [`--redis=${redis.url}`, ...flags]));
  undo.push(() => Promise.all(proxies.map((proxy) => proxy.stop())));
  const client = new Client({ name: 'with roots', version: '1' }, { capabilities: { roots: { listChanged: true } } });
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: pathToFileURL(wanted).href }] }));
  const transport = new StreamableHTTPClientTransport(new URL(proxies[0]!.url), {
    fetch: (url, init) => fetch(init?.method === 'GET' ? proxies.at(-1)!.url : url, init),
  });
  await client.connect(transport);
  undo.push(() => client.close());
  const has = async (): Promise<string> => {
    const called = await client.callTool({ name: 'list_allowed_directories', arguments: {} });
    const [part] = CallToolResultSchema.parse(called).content;
    return part?.type === 'text' ? part.text : '';
  };
  const opened = () => proxies.some(({ events }) => events.some((one) => one.type === 'stream'));
  await until('it listens', opened);
  // The server asked for them when nobody listened yet.
  await client.sendRootsListChanged();
  await until('the server has the roots', async () => (await has()).includes(wanted));
  const ops = proxies[0]!.opsUrl;
  const session = `/sessions/${createHash('sha256')
    .update(transport.sessionId ?? '')
    .digest('hex')}`;
  return {
    servers,
    ops,
    session,
    /** Its answer has the client's roots, and nothing else. */
    async call(): Promise<void> {
      expect(await has()).toBe(`Allowed directories:\n${wanted}`);
    },
    async home(): Promise<ForeignServer> {
      return servers.at(SESSION.parse(await (await fetch(ops + session)).json()).home);
    },
    migrations: () =>
      proxies.flatMap(({ events }) => events.filter((one) => one.type === 'migration' && one.outcome === 'migrated'))
        .length,
  };
}

type Scene = Awaited<ReturnType<typeof begin>>;

async function order(scene: Scene, path: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  expect((await fetch(scene.ops + path, { method: 'POST', headers })).status).toBe(202);
}

/** Calls until the session has migrated, and once more. */
async function callUntilMoved(scene: Scene): Promise<void> {
  const before = scene.migrations();
  await until('it has migrated', async () => {
    await scene.call();
    return scene.migrations() > before;
  });
  await scene.call();
}

test.each([
  ['one', 1],
  ['two', 2],
] as const)('%s of them', { timeout: SCENE_MS }, async (name, count) => {
  const version = `server-filesystem ${versionOf('@modelcontextprotocol/server-filesystem')}, supergateway ${versionOf('supergateway')}`;
  const row = table.row(name, version);
  await row.check('kill -9 of the home', async () => {
    const scene = await begin(count, ['a', 'b']);
    for (let round = 1; round <= 4; round += 1) {
      const home = await scene.home();
      await home.kill();
      await scene.call();
      expect(scene.migrations()).toBe(round);
      await home.restart();
      await until('all are ready', async () => {
        const { backends } = STATES.parse(await (await fetch(`${scene.ops}/backends`)).json());
        return backends.every(({ state }) => state === 'ready');
      });
    }
  });
  await row.check('restart in place', async () => {
    const scene = await begin(count, ['a']);
    for (let round = 1; round <= 2; round += 1) {
      await scene.servers.all[0]!.restart();
      await scene.call();
      expect(scene.migrations()).toBe(round);
    }
  });
  await row.check('home drained', async () => {
    const scene = await begin(count, ['a', 'b']);
    await order(scene, `/backends/${new URL((await scene.home()).origin).host}/drain`);
    await callUntilMoved(scene);
  });
  await row.check('ordered to migrate', async () => {
    const scene = await begin(count, ['a', 'b']);
    for (let round = 0; round < 2; round += 1) {
      await order(scene, `${scene.session}/migrate`);
      await callUntilMoved(scene);
    }
  });
  await row.check('--chaos-migrate', async () => {
    const scene = await begin(count, ['a', 'b'], ['--chaos-migrate=on']);
    const before = scene.migrations();
    for (let call = 0; call < 20; call += 1) await scene.call();
    expect(scene.migrations() - before).toBe(20);
  });
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});
