/** Clients that are not ours, unmodified, through the proxy to three sample servers, whose homes are killed under them. */

import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type ForeignClient, mcpRemote, pythonClient, sdkV1, sdkV2 } from '../house/foreign/clients.ts';
import { v2Server, versionOf } from '../house/foreign/kinds.ts';
import { PYTHON_MS, type Python, findPython } from '../house/foreign/python.ts';
import { startForeign } from '../house/foreign/servers.ts';
import { startFront } from '../house/front.ts';
import { startRedis } from '../house/redis.ts';
import { newTable } from '../house/foreign/table.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { UNKNOWN } from '../house/talk.ts';
import { soon, until } from '../house/until.ts';

const run = promisify(execFile);
const CLIENT_MS = 90_000;
const INSPECTOR = '2.12.0';
/** How long an effect runs, in milliseconds: its home is killed meanwhile. */
const EFFECT_MS = 3000;
const table = newTable('Clients', 'client', [
  'affinity',
  'home drained',
  'home stopped',
  'home killed between calls',
  'during a safe call',
  'during another call',
  'had to start over',
]);
let python: Python;

beforeAll(async () => {
  python = await findPython();
}, PYTHON_MS);

afterAll(() => {
  process.stdout.write(`\n${table.text()}\n`);
});

type Guest = { readonly name: string; readonly version: string; connect: (url: string) => Promise<ForeignClient> };

const sdk = versionOf('@modelcontextprotocol/sdk');
const sdk2 = versionOf('@modelcontextprotocol/client');
const GUESTS: readonly Guest[] = [
  { name: 'SDK v1', version: sdk, connect: sdkV1 },
  { name: 'SDK v2, legacy', version: sdk2, connect: (url) => sdkV2(url, 'legacy') },
  { name: 'SDK v2, auto', version: sdk2, connect: (url) => sdkV2(url, 'auto') },
  { name: 'mcp-remote', version: versionOf('mcp-remote'), connect: mcpRemote },
];
const PYTHON_GUESTS = [
  { name: 'Python SDK, legacy', program: 'client_sdk.py', of: 'mcp', mode: 'legacy' },
  { name: 'Python SDK, auto', program: 'client_sdk.py', of: 'mcp', mode: 'auto' },
  { name: 'FastMCP, auto', program: 'client_fastmcp.py', of: 'fastmcp', mode: 'auto' },
] as const;

test.for(GUESTS)('$name', { timeout: CLIENT_MS }, async (guest) => {
  expect(await tell(guest)).toBe('the same session');
});

test.for(PYTHON_GUESTS)('$name', { timeout: CLIENT_MS }, async ({ name, program, of, mode }, { skip }) => {
  if (python.kind === 'none') {
    table.skip(name, python.why);
    return skip(python.why);
  }
  const { path } = python;
  const connect = (url: string) => pythonClient(path, program, url, mode);
  expect(await tell({ name, version: `${python[of]}.x`, connect })).toBe('the same session');
});

test('SDK v2, auto, with servers of both eras', { timeout: CLIENT_MS }, async () => {
  const row = table.row('SDK v2, auto, sessionless', sdk2);
  const servers = await startForeign(v2Server);
  const proxy = await startProxy(servers.origins, []);
  try {
    const client = await sdkV2(proxy.url, 'auto');
    expect(client.era).toBe('modern');
    const [killed, ...left] = servers.all;
    const where = async () => `http://127.0.0.1:${await client.call('where')}`;
    await row.check('affinity', async () => {
      const answered = new Set<string>();
      await until('each server has answered', async () => answered.add(await where()).size === servers.all.length);
      expect([...answered].toSorted()).toEqual(servers.origins.toSorted());
      return 'none needed';
    });
    await row.check('home killed between calls', async () => {
      await killed!.kill();
      for (let call = 0; call < 12; call += 1) expect(left.map(({ origin }) => origin)).toContain(await where());
    });
    await client.close();
  } finally {
    await proxy.stop();
    await servers.close();
  }
});

test('the Inspector', { timeout: CLIENT_MS }, async ({ skip }) => {
  const name = "Inspector's CLI";
  const inspector = await installInspector();
  if ('why' in inspector) {
    table.skip(name, inspector.why);
    return skip(inspector.why);
  }
  const row = table.row(name, INSPECTOR);
  await row.check('affinity', async () => {
    const servers = await startServers();
    const proxy = await startProxy(servers.origins, []);
    try {
      const asked = ['--cli', proxy.url, '--transport', 'http', '--method', 'tools/list'];
      const { stdout } = await run(inspector.bin, asked);
      const { tools } = z.object({ tools: z.array(z.object({ name: z.string() })) }).parse(JSON.parse(stdout));
      expect(tools.map((tool) => tool.name)).toContain('counter');
    } finally {
      await proxy.stop();
      await servers.close();
    }
  });
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});

async function tell({ name, version, connect }: Guest): Promise<'the same session' | 'another session'> {
  const row = table.row(name, version);
  const servers = await startServers(undefined, { DRAIN_SECONDS: '5' });
  const redis = await startRedis();
  const flags = ['--redis', redis.url];
  const proxies = [await startProxy(servers.origins, flags), await startProxy(servers.origins, flags)];
  const front = await startFront(proxies.map(({ url }) => url));
  let client: ForeignClient | undefined;
  try {
    client = await soon(`${name} to connect`, connect(front.url), 30_000);
    const guest = client;
    const id = guest.sessionId?.();
    // mcp-remote opens one to try the server, and one to use.
    const connected = sessionsOpened(proxies);
    const before = { home: '' };
    await row.check('affinity', async () => {
      const [first, ...others] = [await count(guest), await count(guest), await count(guest)];
      before.home = first.task;
      expect([first.value, ...others.map(({ task, value }) => (task === first.task ? value : task))]).toEqual([
        1, 2, 3,
      ]);
    });
    await row.check('home drained', () => drain(guest, servers, proxies));
    await row.check('home stopped', () => stop(guest, servers, proxies));
    await row.check('home killed between calls', async () => {
      before.home = (await count(guest)).task;
      await servers.get(before.home).kill();
      const [after, next] = [await count(guest), await count(guest)];
      expect(after).not.toMatchObject({ task: before.home });
      expect([after.value, next]).toEqual([1, { task: after.task, value: 2 }]);
      await servers.get(before.home).restart();
    });
    await row.check('during a safe call', () => killDuring(guest, servers, 'safe_effect', 'runs again'));
    await row.check('during another call', () => killDuring(guest, servers, 'effect', 'is told'));
    await row.check('had to start over', async () => {
      expect(sessionsOpened(proxies)).toBe(connected);
      return 'never';
    });
    return guest.sessionId?.() === id ? 'the same session' : 'another session';
  } finally {
    await client?.close();
    await front.close();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await redis.close();
    await servers.close();
  }
}

/** The same by SIGTERM: the home hands the session over before it ends. */
async function stop(client: ForeignClient, servers: TestServers, proxies: readonly TestProxy[]): Promise<void> {
  const { task: home } = await count(client);
  const ended = servers.get(home).stop();
  const first = await until('another server answers', async () => {
    const said = await count(client);
    return said.task !== home && said;
  });
  expect([first.value, await count(client)]).toEqual([1, { task: first.task, value: 2 }]);
  expect(await ended).toBe(0);
  await servers.get(home).restart();
  const unplanned = proxies.flatMap(({ events }) =>
    events.filter((event) => event.type === 'migration' && event.reason !== 'drain'),
  );
  expect(unplanned).toEqual([]);
}

/** Calls go on, none fails, and the session leaves its home while that still serves it. */
async function drain(client: ForeignClient, servers: TestServers, proxies: readonly TestProxy[]): Promise<void> {
  const { task: home } = await count(client);
  const { host } = new URL(servers.get(home).origin);
  const order = async (method: string) => {
    const headers = { 'content-type': 'application/json' };
    const { status } = await fetch(`${proxies[0]!.opsUrl}/backends/${host}/drain`, { method, headers });
    expect(status).toBe(202);
  };
  await order('POST');
  const first = await until('another server answers', async () => {
    const said = await count(client);
    return said.task !== home && said;
  });
  expect([first.value, await count(client)]).toEqual([1, { task: first.task, value: 2 }]);
  await order('DELETE');
  const reasons = proxies.flatMap(({ events }) =>
    events.flatMap((event) => (event.type === 'migration' ? [`${event.reason} ${event.outcome}`] : [])),
  );
  expect(new Set(reasons)).toEqual(new Set(['drain migrated']));
}

/** A safe call is answered by another server; of any other the client is told that nobody knows. The next one goes on. */
async function killDuring(
  client: ForeignClient,
  servers: TestServers,
  tool: 'safe_effect' | 'effect',
  wanted: 'runs again' | 'is told',
): Promise<string> {
  const runs = () => servers.effects().filter(({ key }) => key === tool);
  const said = client.call(tool, { key: tool, ms: EFFECT_MS }).catch((error: Error) => error.message);
  const [first] = await until(`${tool} has begun`, () => runs().length > 0 && runs());
  const home = first!.taskId;
  await servers.get(home).kill();
  const heard = await soon('the call to end', said, 15_000);
  const last = runs().at(-1)?.taskId ?? '';
  if (wanted === 'runs again') {
    expect(runs()).toHaveLength(2);
    expect(taskOf(heard)).toBe(last);
    expect(last).not.toBe(home);
  } else {
    expect(heard).toContain(UNKNOWN);
    expect(runs()).toHaveLength(1);
  }
  expect((await count(client)).task).not.toBe(home);
  await servers.get(home).restart();
  return wanted;
}

async function count(client: ForeignClient): Promise<{ readonly task: string; readonly value: number }> {
  const text = await client.call('counter');
  const value = /counter=(\d+)/.exec(text)?.[1];
  if (value === undefined) throw new Error(`Expected a count, got ${text}`);
  return { task: taskOf(text), value: Number(value) };
}

/** Throws for what no server has said. */
function taskOf(text: string): string {
  const task = /taskId=(\w+)/.exec(text)?.[1];
  if (task === undefined) throw new Error(`Expected a task, got ${text}`);
  return task;
}

function sessionsOpened(proxies: readonly TestProxy[]): number {
  const events = proxies.flatMap((proxy) => proxy.events);
  return events.filter((event) => event.type === 'session' && event.change === 'opened').length;
}

/** Kept beside the tests' other things, not among our packages: it brings a hundred of its own. */
async function installInspector(): Promise<{ readonly bin: string } | { readonly why: string }> {
  const folder = join(tmpdir(), `mcp-affinity-inspector-${INSPECTOR}`);
  const bin = join(folder, 'node_modules', '.bin', 'mcp-inspector');
  try {
    await run('npm', [
      'install',
      '--prefix',
      folder,
      '--no-audit',
      '--no-fund',
      `@modelcontextprotocol/inspector@${INSPECTOR}`,
    ]);
    return { bin };
  } catch (error) {
    const said = error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error);
    return { why: `npm install @modelcontextprotocol/inspector@${INSPECTOR} failed: ${said}` };
  }
}
