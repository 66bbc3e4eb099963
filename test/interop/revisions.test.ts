/** Every revision of MCP by hand, over a kill of the home: three with sessions, batches among them, and the one without. */

import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';
import { startProxy } from '../house/flow.ts';
import { v2Server, versionOf } from '../house/foreign/kinds.ts';
import { startForeign } from '../house/foreign/servers.ts';
import { newTable } from '../house/foreign/table.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { rawPost } from '../house/by-hand.ts';
import { until } from '../house/until.ts';

/** A call's answer: no error has this shape. */
const ANSWER = z.object({
  result: z.object({ isError: z.literal(false).optional(), structuredContent: z.object({ taskId: z.string() }) }),
});
const table = newTable('Revisions', 'revision', ['affinity', 'home killed']);
const DEMO = `SDK v1 ${versionOf('@modelcontextprotocol/sdk')}`;
const CALL = { id: 2, method: 'tools/call', params: { name: 'counter', arguments: {} } };

afterAll(() => {
  process.stdout.write(`\n${table.text()}\n`);
});

/** `named`: requests name the revision in a header, which they do from 2025-06-18 on. */
test.each([
  { revision: '2025-03-26', named: false },
  { revision: '2025-06-18', named: true },
  { revision: '2025-11-25', named: true },
])('$revision', async ({ revision, named }) => {
  const row = table.row(revision, DEMO);
  const servers = await startServers();
  const proxy = await startProxy(servers.origins, []);
  const { url } = proxy;
  try {
    const headers = await open(url, revision, named);
    const home = { id: '' };
    const count = async () => (await rawPost(url, CALL, headers)).message;
    await row.check('affinity', async () => {
      home.id = answeredBy(servers, await count());
      expect(await count()).toMatchObject({ id: 2, result: { structuredContent: { taskId: home.id, value: 2 } } });
    });
    await row.check('home killed', async () => {
      await servers.get(home.id).kill();
      const next = answeredBy(servers, await count());
      expect(next).not.toBe(home.id);
      expect(await count()).toMatchObject({ id: 2, result: { structuredContent: { taskId: next, value: 2 } } });
    });
    expect(proxy.events).not.toContainEqual(expect.objectContaining({ type: 'fault' }));
  } finally {
    await proxy.stop();
    await servers.close();
  }
});

test('2025-03-26, batches', async () => {
  const row = table.row('2025-03-26, batches', DEMO);
  const servers = await startServers();
  const proxy = await startProxy(servers.origins, []);
  try {
    const headers = await open(proxy.url, '2025-03-26', false);
    const batch = [
      { jsonrpc: '2.0', id: 'p', method: 'ping' },
      { jsonrpc: '2.0', method: 'notifications/roots/list_changed' },
      { jsonrpc: '2.0', ...CALL, id: 'c' },
    ];
    const home = { id: '' };
    await row.check('affinity', async () => {
      const answers = await postBatch(proxy.url, batch, headers);
      home.id = answeredBy(servers, answers.get('c'));
      expect([...answers.keys()].toSorted()).toEqual(['c', 'p']);
      expect(answeredBy(servers, (await postBatch(proxy.url, batch, headers)).get('c'))).toBe(home.id);
    });
    await row.check('home killed', async () => {
      await servers.get(home.id).kill();
      const answers = await postBatch(proxy.url, batch, headers);
      expect([...answers.keys()].toSorted()).toEqual(['c', 'p']);
      expect(answeredBy(servers, answers.get('c'))).not.toBe(home.id);
      expect(answers.get('p')).toMatchObject({ result: {} });
    });
  } finally {
    await proxy.stop();
    await servers.close();
  }
});

test('2026-07-28, without sessions', async () => {
  const row = table.row('2026-07-28, sessionless', `SDK v2 ${versionOf('@modelcontextprotocol/server')}`);
  const servers = await startForeign(v2Server);
  const proxy = await startProxy(servers.origins, []);
  const [killed, ...left] = servers.all;
  try {
    await row.check('affinity', async () => {
      const answered = new Set<string>();
      await until('each server has answered', async () => answered.add(await where(proxy.url)).size === 3);
      expect([...answered].toSorted()).toEqual(servers.origins.toSorted());
      return 'none needed';
    });
    await row.check('home killed', async () => {
      await killed!.kill();
      for (let call = 0; call < 12; call += 1) {
        expect(left.map(({ origin }) => origin)).toContain(await where(proxy.url));
      }
    });
    expect(proxy.events).not.toContainEqual(expect.objectContaining({ type: 'session' }));
  } finally {
    await proxy.stop();
    await servers.close();
  }
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});

/** The headers of the session's requests. */
async function open(url: string, revision: string, named: boolean): Promise<Record<string, string>> {
  const params = { protocolVersion: revision, capabilities: {}, clientInfo: { name: 'by-hand', version: '1' } };
  const { headers, message } = await rawPost(url, { id: 0, method: 'initialize', params });
  expect(message).toMatchObject({ result: { protocolVersion: revision } });
  const session = {
    'mcp-session-id': headers.get('mcp-session-id') ?? '',
    ...(named && { 'mcp-protocol-version': revision }),
  };
  await rawPost(url, { method: 'notifications/initialized' }, session);
  return session;
}

/** The server whose result it is. Throws for an error, and for one that was not started. */
function answeredBy(servers: TestServers, message: unknown): string {
  return servers.get(ANSWER.parse(message).result.structuredContent.taskId).id;
}

/** The answers by their ids, whether they come as an array, or one by one as events. */
async function postBatch(
  url: string,
  batch: readonly object[],
  headers: Record<string, string>,
): Promise<ReadonlyMap<string, unknown>> {
  const accept = 'application/json, text/event-stream';
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, ...headers },
    body: JSON.stringify(batch),
  });
  const text = await answer.text();
  const parts = text.startsWith('[') ? [text] : text.split('\n').flatMap((line) => /^data: (.+)/.exec(line)?.[1] ?? []);
  const messages: { id: string }[] = parts.flatMap((part) => JSON.parse(part));
  return new Map(messages.map((message) => [message.id, message]));
}

/** The server that answers a request without a session: its tool says its port. */
async function where(url: string): Promise<string> {
  const revision = '2026-07-28';
  const prefix = 'io.modelcontextprotocol';
  const meta = {
    [`${prefix}/protocolVersion`]: revision,
    [`${prefix}/clientInfo`]: { name: 'by-hand', version: '1' },
    [`${prefix}/clientCapabilities`]: {},
  };
  const call = { id: 1, method: 'tools/call', params: { name: 'where', arguments: {}, _meta: meta } };
  const headers = { 'mcp-protocol-version': revision, 'mcp-method': 'tools/call', 'mcp-name': 'where' };
  const { status, message } = await rawPost(url, call, headers);
  expect(status).toBe(200);
  return `http://127.0.0.1:${/"text":"(\d+)"/.exec(JSON.stringify(message))?.[1]}`;
}
