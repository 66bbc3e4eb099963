/** Servers that are not ours, three of each behind the proxy, with an unmodified client: affinity, kill -9, restart in place. */

import { randomUUID } from 'node:crypto';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ResourceListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Kind, PYTHON_KINDS, nodeKinds, pythonKinds } from '../house/foreign/kinds.ts';
import { PYTHON_MS, type Python, findPython } from '../house/foreign/python.ts';
import { type ForeignServer, type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { type Row, newTable } from '../house/foreign/table.ts';
import { rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { until } from '../house/until.ts';

const KIND_MS = 120_000;
const table = newTable('Servers', 'server', [
  'unknown session: POST, GET, DELETE',
  'affinity',
  'kill -9 of the home',
  'listening stream after it',
  'restart in place',
  'DELETE',
]);
let python: Python;

beforeAll(async () => {
  python = await findPython();
}, PYTHON_MS);

afterAll(() => {
  process.stdout.write(`\n${table.text()}\n`);
});

test.for(nodeKinds())('$name', { timeout: KIND_MS }, async (kind) => {
  expect(await tell(kind)).toBe('the same session');
});

test.for(PYTHON_KINDS)('%s', { timeout: KIND_MS }, async (name, { skip }) => {
  if (python.kind === 'none') {
    table.skip(name, python.why);
    return skip(python.why);
  }
  const kind = pythonKinds(python).find((one) => one.name === name);
  expect(await tell(kind!)).toBe('the same session');
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});

/** Everything that one story needs, closed at its end. */
type Stage = {
  readonly kind: Kind;
  readonly servers: ForeignServers;
  readonly proxy: TestProxy;
  readonly client: Client;
  /** The client's session, which never changes. */
  readonly id: string;
  /** How often the client was told of a change of resources. */
  readonly heard: { changes: number };
};

async function tell(kind: Kind): Promise<'the same session' | 'another session'> {
  const row = table.row(kind.name, kind.version);
  const servers = await startForeign((port) => kind.start(port));
  // Three Python servers on a busy machine take long to start again.
  const proxy = await startProxy(servers.origins, ['--hold-seconds', '60']);
  const heard = { changes: 0 };
  const client = new Client({ name: 'unmodified', version: '1' });
  client.setNotificationHandler(ResourceListChangedNotificationSchema, () => void (heard.changes += 1));
  const transport = new StreamableHTTPClientTransport(new URL(proxy.url));
  try {
    await client.connect(transport);
    const stage = { kind, servers, proxy, client, id: transport.sessionId ?? '', heard };
    await row.check('unknown session: POST, GET, DELETE', () => unknownSession(servers));
    await row.check('affinity', () => affinity(stage));
    await killOfHome(stage, row);
    await row.check('restart in place', () => restartInPlace(stage));
    await row.check('DELETE', () => end(stage));
    // The client's, and the one without a stream.
    expect(opened(proxy)).toBe(2);
    return transport.sessionId === stage.id ? 'the same session' : 'another session';
  } finally {
    await client.close();
    await proxy.stop();
    await servers.close();
  }
}

async function unknownSession({ all: [server] }: ForeignServers): Promise<string> {
  const url = `${server!.origin}/mcp`;
  const id = randomUUID();
  const { status } = await rawPing(url, id);
  return [status, await rawStatus(url, 'GET', id), await rawStatus(url, 'DELETE', id)].join(', ');
}

/** One of the three knows the session, and serves each call. */
async function affinity({ kind, client, servers, id, proxy }: Stage): Promise<void> {
  for (let call = 0; call < 6; call += 1) await kind.ask(client);
  const known = await Promise.all(servers.all.map((server) => knows(server, id)));
  expect(known.filter(Boolean)).toHaveLength(1);
  expect(migrations(proxy)).toBe(0);
}

async function killOfHome(stage: Stage, row: Row): Promise<void> {
  const { kind, client, servers, proxy, heard } = stage;
  const home = await homeOf(stage);
  const streaming = (await rawStatus(`${home.origin}/mcp`, 'GET', randomUUID())) !== 405;
  if (streaming) await until('the client listens', () => streams(proxy, 'opened') > 0);
  const heardBefore = heard.changes;
  await row.check('kill -9 of the home', async () => {
    await home.kill();
    for (let call = 0; call < 4; call += 1) await kind.ask(client);
    expect(migrations(proxy)).toBe(1);
    expect(servers.at(lastBackend(proxy)).id).not.toBe(home.id);
  });
  await row.check('listening stream after it', async () => {
    if (!streaming) return 'none: 405';
    await until('the stream is attached to the new home', () => streams(proxy, 'reattached') > 0);
    // This one speaks of itself, every five seconds.
    if (kind.request.method !== 'resources/read') return undefined;
    await until('the client hears from the new home', () => heard.changes > heardBefore, 20_000);
    return undefined;
  });
  await home.restart();
}

/** All of them forget everything. A second session has no stream: it is the call that learns of it. */
async function restartInPlace({ kind, client, servers, proxy }: Stage): Promise<void> {
  const { id } = await rawOpen(proxy.url);
  await rawPost(proxy.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
  const before = migrations(proxy, id);
  await Promise.all(servers.all.map((server) => server.kill()));
  await Promise.all(servers.all.map((server) => server.restart()));
  const answer = await rawPost(proxy.url, { id: 'again', ...kind.request }, { 'mcp-session-id': id });
  expect(answer.status).toBe(200);
  expect(answer.message).toMatchObject({ id: 'again', result: expect.anything() });
  expect(answer.message).not.toMatchObject({ result: { isError: true } });
  expect(migrations(proxy, id)).toBe(before + 1);
  for (let call = 0; call < 4; call += 1) await kind.ask(client);
}

/** What the server says to it. A server without a handler for it keeps the session: with the proxy as directly. */
async function end({ proxy, servers: { all }, id }: Stage): Promise<string> {
  const url = `${all[0]!.origin}/mcp`;
  const direct = await rawOpen(url);
  await rawStatus(url, 'DELETE', direct.id);
  const goesOn = (await rawPing(url, direct.id)).status === 200;
  const status = await rawStatus(proxy.url, 'DELETE', id);
  expect((await rawPing(proxy.url, id)).status).toBe(goesOn ? 200 : 404);
  return String(status);
}

/** Asked without the proxy. */
async function knows(server: ForeignServer, id: string): Promise<boolean> {
  const { status, message } = await rawPing(`${server.origin}/mcp`, id);
  return status === 200 && typeof message === 'object' && message !== null && 'result' in message;
}

async function homeOf({ servers, id }: Stage): Promise<ForeignServer> {
  for (const server of servers.all) if (await knows(server, id)) return server;
  throw new Error('No server knows the session');
}

function migrations({ events }: TestProxy, id?: string): number {
  return events.filter(
    (event) => event.type === 'migration' && event.outcome === 'migrated' && (id === undefined || event.session === id),
  ).length;
}

function opened({ events }: TestProxy): number {
  return events.filter((event) => event.type === 'session' && event.change === 'opened').length;
}

function streams({ events }: TestProxy, change: 'opened' | 'reattached'): number {
  return events.filter((event) => event.type === 'stream' && event.change === change).length;
}

function lastBackend({ events }: TestProxy): string {
  const last = events.findLast((event) => event.type === 'exchange' && event.verb === 'post');
  return last?.type === 'exchange' ? (last.backend ?? '') : '';
}
