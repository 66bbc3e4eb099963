/** The sample server as a process, spoken to by the real SDK client: tools, sessions, state, and how it ends. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema,
  ElicitRequestSchema,
  type ElicitResult,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { startRedis } from '../house/redis.ts';
import { startServers, type TestServers } from '../house/servers.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of undo.splice(0).toReversed()) await close();
});

async function start(ids: string[] = ['a'], env: Record<string, string> = {}): Promise<TestServers> {
  const servers = await startServers(ids, env);
  undo.push(() => servers.close());
  return servers;
}

type Answer = { readonly text: string; readonly facts: unknown; readonly failed: boolean };

/** An unmodified SDK client, what it heard from the server, and its calls made short. */
async function connect(origin: string, headers: Record<string, string> = {}) {
  const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: { form: {} } } });
  const heard: { readonly logs: unknown[]; readonly updates: string[] } = { logs: [], updates: [] };
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    heard.logs.push([params.level, params.data]);
  });
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => {
    heard.updates.push(params.uri);
  });
  const transport = new StreamableHTTPClientTransport(new URL('/mcp', origin), { requestInit: { headers } });
  await client.connect(transport);
  undo.push(() => client.close());
  const call = async (name: string, args: Record<string, unknown> = {}): Promise<Answer> => {
    const result = await client.callTool({ name, arguments: args });
    const { content } = CallToolResultSchema.parse(result);
    const text = content.map((part) => (part.type === 'text' ? part.text : part.type)).join(' ');
    return { text, facts: result.structuredContent, failed: result.isError === true };
  };
  return { client, transport, heard, call };
}

const INITIALIZE = {
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } },
};
const PING = { jsonrpc: '2.0', id: 2, method: 'ping' };
const MCP_HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

function post(origin: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return fetch(`${origin}/mcp`, { method: 'POST', headers: { ...MCP_HEADERS, ...headers }, body: text });
}

async function health(origin: string): Promise<unknown> {
  return (await fetch(`${origin}/health`)).json();
}

describe('the tools', () => {
  test('say by their hints which of them may be run again', async () => {
    const { client } = await connect((await start()).get('a').origin);
    const { tools } = await client.listTools();
    const hinted = (hint: 'readOnlyHint' | 'idempotentHint') =>
      tools.filter(({ annotations }) => annotations?.[hint]).map(({ name }) => name);
    expect(hinted('readOnlyHint')).toEqual(['ping', 'get_session_value', 'get_session_state']);
    expect(hinted('idempotentHint')).toEqual(['set_session_value', 'safe_effect', 'safe_load']);
    const rest = ['counter', 'slow', 'confirm', 'log', 'touch_resource', 'effect'];
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(rest));
  });

  test('ping names the task, its version and the time it took', async () => {
    const { call } = await connect((await start(['a'], { VERSION: '2.1' })).get('a').origin);
    const { text, facts } = await call('ping');
    expect(text).toMatch(/^pong! taskId=a v=2\.1 d=\d+\.\d+$/);
    expect(facts).toEqual({ taskId: 'a', version: '2.1' });
  });

  test('counter counts for each session by itself', async () => {
    const { origin } = (await start()).get('a');
    const [one, other] = [await connect(origin), await connect(origin)];
    const texts = [];
    for (const { call } of [one, one, other, one]) texts.push((await call('counter')).text);
    expect(texts).toEqual(['counter=1 taskId=a', 'counter=2 taskId=a', 'counter=1 taskId=a', 'counter=3 taskId=a']);
  });

  test('slow reports its progress', async () => {
    const { client } = await connect((await start()).get('a').origin);
    const steps: number[] = [];
    const params = { name: 'slow', arguments: { ms: 30, steps: 3 } };
    const result = await client.callTool(params, undefined, {
      onprogress: ({ progress }) => void steps.push(progress),
    });
    expect(result.structuredContent).toEqual({ ms: 30, steps: 3, taskId: 'a' });
    expect(steps).toEqual([1, 2, 3]);
  });

  test.each<[string, ElicitResult]>([
    ['yes', { action: 'accept', content: { yes: true } }],
    ['no', { action: 'accept', content: { yes: false } }],
    ['decline', { action: 'decline' }],
  ])('confirm asks the user, who says %s', async (said, reply) => {
    const { client, call } = await connect((await start()).get('a').origin);
    client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
      expect(params.message).toBe('Really?');
      return reply;
    });
    expect((await call('confirm', { question: 'Really?' })).facts).toEqual({ said, taskId: 'a' });
  });

  test("log sends what the session's level lets through", async () => {
    const { client, call, heard } = await connect((await start()).get('a').origin);
    await client.setLoggingLevel('warning');
    await call('log', { level: 'info', text: 'too low' });
    // The listening stream opens after connect has resolved; what is said before that is lost.
    await vi.waitFor(async () => {
      await call('log', { level: 'error', text: 'high' });
      expect(heard.logs.length).toBeGreaterThan(0);
    });
    expect(heard.logs.every((log) => JSON.stringify(log).startsWith('["error",{"text":"high"'))).toBe(true);
  });

  test('touch_resource tells who subscribed, and nobody else', async () => {
    const { origin } = (await start()).get('a');
    const [one, other] = [await connect(origin), await connect(origin)];
    await one.client.subscribeResource({ uri: 'demo://clock' });
    await vi.waitFor(async () => {
      await other.call('touch_resource');
      expect(one.heard.updates).toContain('demo://clock');
    });
    await one.client.unsubscribeResource({ uri: 'demo://clock' });
    const before = one.heard.updates.length;
    await one.call('touch_resource');
    expect([one.heard.updates.length, other.heard.updates]).toEqual([before, []]);
    const { contents } = await one.client.readResource({ uri: 'demo://clock' });
    expect(JSON.stringify(contents)).toContain(String.raw`\"taskId\":\"a\"`);
  });

  test('the clock changes by itself', async () => {
    const { client, heard } = await connect((await start(['a'], { CLOCK_MS: '20' })).get('a').origin);
    await client.subscribeResource({ uri: 'demo://clock' });
    await vi.waitFor(() => expect(heard.updates.length).toBeGreaterThan(1));
  });

  test('effects are counted, those of a server killed in the middle of them included', async () => {
    const servers = await start();
    const { call } = await connect(servers.get('a').origin);
    await call('effect', { key: 'first' });
    call('effect', { key: 'second', ms: 60_000 }).catch(() => {});
    await vi.waitFor(() => expect(servers.effects()).toHaveLength(2));
    await servers.get('a').kill();
    expect(servers.effects().map(({ key, taskId }) => `${taskId} ${key}`)).toEqual(['a first', 'a second']);
  });
});

describe('tool state', () => {
  test('fails honestly before the first write', async () => {
    const { call } = await connect((await start()).get('a').origin);
    const never = { text: 'Nothing was ever set in this session.', facts: undefined, failed: true };
    expect(await call('get_session_value', { key: 'x' })).toEqual(never);
    expect(await call('get_session_state')).toEqual(never);
    await call('set_session_value', { key: 'x', value: '1' });
    const notThat = await call('get_session_value', { key: 'y' });
    expect(notThat).toEqual({ ...never, text: '"y" was never set in this session.' });
  });

  test("follows the client's session to another task", async () => {
    const servers = await start(['a', 'b']);
    const atA = await connect(servers.get('a').origin);
    const atB = await connect(servers.get('b').origin, { 'mcp-affinity-session': atA.transport.sessionId ?? '' });
    await atA.call('set_session_value', { key: 'x', value: '1' });
    await atB.call('set_session_value', { key: 'y', value: 'two words' });
    expect((await atB.call('get_session_value', { key: 'x' })).facts).toEqual({ key: 'x', value: '1', taskId: 'b' });
    expect((await atA.call('get_session_state')).facts).toEqual({ values: { x: '1', y: 'two words' }, taskId: 'a' });
  });

  test('is shared over Redis, and says so when that is gone', async () => {
    const redis = await startRedis();
    undo.push(() => redis.close());
    const servers = await start(['a', 'b'], { REDIS_URL: redis.url });
    expect(await health(servers.get('a').origin)).toMatchObject({ session_store: 'redis' });
    const atA = await connect(servers.get('a').origin);
    const atB = await connect(servers.get('b').origin, { 'mcp-affinity-session': atA.transport.sessionId ?? '' });
    await atA.call('set_session_value', { key: 'x', value: '1' });
    expect((await atB.call('get_session_value', { key: 'x' })).facts).toEqual({ key: 'x', value: '1', taskId: 'b' });
    await redis.close();
    const lost = await atB.call('get_session_value', { key: 'x' });
    expect(lost).toEqual({ text: 'The state store cannot be reached.', facts: undefined, failed: true });
    expect((await atB.call('ping')).failed).toBe(false);
  });

  test('is of one session alone', async () => {
    const { origin } = (await start()).get('a');
    await (await connect(origin)).call('set_session_value', { key: 'x', value: '1' });
    expect(await (await connect(origin)).call('get_session_state')).toMatchObject({ failed: true });
  });
});

describe('a session', () => {
  test('that is unknown is answered 404, whatever the method', async () => {
    const { origin } = (await start()).get('a');
    const headers = { ...MCP_HEADERS, 'mcp-session-id': 'unknown' };
    const answers = [
      await post(origin, PING, headers),
      await fetch(`${origin}/mcp`, { headers }),
      await fetch(`${origin}/mcp`, { method: 'DELETE', headers }),
    ];
    for (const answer of answers) {
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({ error: { code: -32001, message: 'Session not found' } });
    }
  });

  test('ends by DELETE, and with its task', async () => {
    const servers = await start();
    const a = servers.get('a');
    const first = await connect(a.origin);
    expect(await health(a.origin)).toMatchObject({ active_sessions: 1 });
    await first.transport.terminateSession();
    expect(await health(a.origin)).toMatchObject({ active_sessions: 0 });
    const second = await connect(a.origin);
    await a.restart();
    expect((await post(a.origin, PING, { 'mcp-session-id': second.transport.sessionId ?? '' })).status).toBe(404);
  });

  test('that is idle too long ends', async () => {
    const { origin } = (await start(['a'], { SESSION_TTL_SECONDS: '1' })).get('a');
    const opened = await post(origin, INITIALIZE);
    await opened.text();
    const listening = await connect(origin);
    const gone = () => expect(health(origin)).resolves.toMatchObject({ active_sessions: 1 });
    await vi.waitFor(gone, { timeout: 5000, interval: 50 });
    expect((await listening.call('ping')).failed).toBe(false);
    const stale = await post(origin, PING, { 'mcp-session-id': opened.headers.get('mcp-session-id') ?? '' });
    expect(stale.status).toBe(404);
  });
});

describe('the endpoint', () => {
  test('refuses what is no request of a session', async () => {
    const { origin } = (await start()).get('a');
    expect((await post(origin, PING)).status).toBe(400);
    expect((await fetch(`${origin}/mcp`, { headers: MCP_HEADERS })).status).toBe(400);
    expect((await fetch(`${origin}/mcp`, { method: 'PUT' })).status).toBe(405);
    const malformed = await post(origin, '{"jsonrpc"');
    expect([malformed.status, await malformed.json()]).toMatchObject([400, { error: { code: -32700 } }]);
    expect((await post(origin, { ...PING, params: { text: 'x'.repeat(5_000_000) } })).status).toBe(413);
    expect((await post(origin, INITIALIZE, { accept: 'application/json' })).status).toBe(406);
    expect(await health(origin)).toMatchObject({ active_sessions: 0 });
  });

  test('without sessions serves each request by itself', async () => {
    const { origin } = (await start(['a'], { MCP_STATELESS_HTTP: 'true' })).get('a');
    const { call, transport } = await connect(origin);
    expect(transport.sessionId).toBeUndefined();
    expect([(await call('counter')).facts, (await call('counter')).facts]).toEqual([
      { value: 1, taskId: 'a' },
      { value: 1, taskId: 'a' },
    ]);
    expect(await call('get_session_state')).toMatchObject({ failed: true });
    expect((await fetch(`${origin}/mcp`, { headers: MCP_HEADERS })).status).toBe(405);
  });

  test('tells its health', async () => {
    const { origin } = (await start(['a'], { VERSION: '7' })).get('a');
    const rest = { taskId: 'a', version: '7', active_sessions: 0, session_store: 'files' };
    expect(await health(origin)).toEqual({ status: 'healthy', ...rest });
  });
});

describe('the process', () => {
  test('finishes what runs at SIGTERM, and exits with 0', async () => {
    const a = (await start()).get('a');
    const { call, client } = await connect(a.origin);
    let begun = () => {};
    const running = new Promise<void>((resolve) => {
      begun = resolve;
    });
    const params = { name: 'slow', arguments: { ms: 400, steps: 4 } };
    const slow = client.callTool(params, undefined, { onprogress: () => begun() });
    await running;
    const stopped = a.stop();
    expect((await slow).structuredContent).toMatchObject({ ms: 400 });
    expect(await stopped).toBe(0);
    await expect(call('ping')).rejects.toThrow('fetch failed');
    expect(a.stderr).toBe('');
  });

  test('names every fault of its environment and exits with 2', () => {
    const program = fileURLToPath(new URL('../../server/demo/main.ts', import.meta.url));
    const env = { PORT: '70000', MCP_STATELESS_HTTP: 'maybe', REDIS_URL: 'http://user:secret@host', CLOCK_MS: '-1' };
    const { status, stderr } = spawnSync(process.execPath, [program], { env, encoding: 'utf8' });
    expect(status).toBe(2);
    for (const name of Object.keys(env)) expect(stderr).toContain(`${name}: expected`);
    expect(stderr).not.toContain('secret');
  });
});
