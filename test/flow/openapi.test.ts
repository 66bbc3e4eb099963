/** docs/openapi.yaml against running proxies, both ways: all that is answered is documented, all that is documented is seen. */

import { createHash } from 'node:crypto';
import { type IncomingMessage, request } from 'node:http';
import { Gauge, Registry } from 'prom-client';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { parseConfig } from '../../proxy/config.ts';
import { createProxy } from '../../proxy/index.ts';
import { createOperations } from '../../proxy/operations.ts';
import { buildHouse } from '../../proxy/rooms.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { createStatus } from '../../proxy/status/status.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';
import { type Flow, startFlow, startProxy } from '../house/flow.ts';
import { type OpenApi, readOpenApi } from '../house/openapi.ts';
import { until } from '../house/until.ts';

const NOBODY = 'f'.repeat(64);
const JSON_TYPE = { 'content-type': 'application/json' };
let api: OpenApi;
let flow: Flow;
const seen = new Set<string>();

beforeAll(async () => {
  api = await readOpenApi();
  flow = await startFlow({ backends: ['a', 'b'], redis: true });
}, 180_000);
afterAll(() => flow.close());

/** Asks, and holds the answer against the file. */
async function ask(
  operation: string,
  path: string,
  { at = flow.proxies[0]!.opsUrl, headers = {} }: { at?: string; headers?: Record<string, string> } = {},
): Promise<{ readonly status: number; readonly json: unknown }> {
  const method = operation.split(' ')[0] ?? '';
  const response = await fetch(at + path, { method, headers: { ...(method === 'POST' && JSON_TYPE), ...headers } });
  const type = response.headers.get('content-type') ?? '';
  const body = type === 'text/event-stream' ? await firstEvent(response) : await response.text();
  expect(api.fault(operation, { status: response.status, type, body })).toBeUndefined();
  seen.add(`${operation} ${response.status}`);
  return { status: response.status, json: type.startsWith('application/json') ? JSON.parse(body) : undefined };
}
/** Events go on for ever: this leaves after the first. */
async function firstEvent({ body }: Response): Promise<string> {
  let text = '';
  for await (const piece of (body ?? new ReadableStream<Uint8Array>()).pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes('\n\n')) break;
  }
  return text;
}
const status = async (...asked: Parameters<typeof ask>) => (await ask(...asked)).status;

/** A path of each operation that leads to somebody, or to nobody. */
function pathOf(operation: string, names: { readonly id: string; readonly hash: string }): string {
  return (operation.split(' ')[1] ?? '').replace('{id}', names.id).replace('{hash}', names.hash);
}

test('every route of the ops port is in the file, and no other', async () => {
  const parsed = parseConfig(['--backend', 'http://127.0.0.1:9'], {});
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join());
  const telemetry = createTelemetry({ level: 'error', destination: { write() {} } });
  const house = buildHouse(parsed.config, telemetry);
  onTestFinished(() => house.close());
  const page = createStatus({ registry: 'memory', discovery: 'static', version: '1', now: Date.now });
  const app = createOperations(parsed.config, house, telemetry, [page.router], () => true);
  expect(routesOf(app.router).toSorted()).toEqual(api.operations.toSorted());
});

const LAYER = z.object({
  route: z.object({ path: z.string(), methods: z.record(z.string(), z.boolean()) }).optional(),
  handle: z.unknown(),
});

function routesOf(router: unknown): readonly string[] {
  if (typeof router !== 'function' || !('stack' in router)) return [];
  return z
    .array(LAYER)
    .parse(router.stack)
    .flatMap(({ route, handle }) => {
      if (route === undefined) return routesOf(handle);
      const path = route.path.replaceAll(/:(\w+)/g, '{$1}');
      return Object.keys(route.methods).map((method) => `${method.toUpperCase()} ${path}`);
    });
}

test('what a running proxy answers', async () => {
  const talk = await flow.talk();
  const home = await talk.task('ping');
  const id = new URL(flow.backend(home).origin).host;
  const hash = createHash('sha256').update(talk.sessionId).digest('hex');
  await until('it is counted', async () => {
    const { json } = await ask('GET /backends', '/backends');
    return JSON.stringify(json).includes('"sessions":1');
  });
  expect((await ask('GET /sessions/{hash}', `/sessions/${hash}`)).json).toMatchObject({
    session: hash,
    home: id,
    epoch: 0,
    client: { name: 'test', version: '1' },
    initialized: true,
  });
  const listed = await ask('GET /sessions', `/sessions?backend=${id}&limit=1`);
  expect(listed.json).toMatchObject({ sessions: [{ session: hash }], next: null });
  expect(JSON.stringify(listed.json)).not.toContain(talk.sessionId);

  const all = api.operations.filter((operation) => operation !== 'DELETE /sessions/{hash}');
  for (const operation of all) {
    const got = await status(operation, pathOf(operation, { id, hash }));
    expect([operation, got]).toEqual([operation, operation.startsWith('GET') ? 200 : 202]);
  }
  for (const operation of all.filter((one) => one.includes('{'))) {
    expect(await status(operation, pathOf(operation, { id: 'nobody', hash: NOBODY }))).toBe(404);
    expect(await status(operation, pathOf(operation, { id: '%ff', hash: 'x' }))).toBe(400);
  }
  for (const operation of all.filter((one) => one.startsWith('POST'))) {
    const headers = { 'content-type': 'text/plain' };
    expect(await status(operation, pathOf(operation, { id, hash }), { headers })).toBe(415);
  }
  for (const wrong of [
    'limit=0',
    'limit=1001',
    'limit=x',
    'limit=1&limit=2',
    'backend=',
    'backend=a&backend=b',
    'cursor=x',
  ]) {
    expect([wrong, await status('GET /sessions', `/sessions?${wrong}`)]).toEqual([wrong, 400]);
  }
  const gone = await ask('DELETE /sessions/{hash}', `/sessions/${hash}`);
  expect(gone).toEqual({ status: 200, json: { session: hash, ended: true, home: 'told' } });
  await until('its home has forgotten it', async () => (await flow.sessionsAt(home)) === 0);
  expect(await talk.client.ping().catch((thrown: unknown) => thrown)).toMatchObject({ code: 404 });
  expect(await status('DELETE /sessions/{hash}', `/sessions/${hash}`)).toBe(404);
  expect(await status('DELETE /sessions/{hash}', '/sessions/x')).toBe(400);
});

test('what one with a token answers whoever does not show it, and one on loopback to a name that is not', async () => {
  const closed = await startProxy(flow.servers.origins, ['--ops-token', 'correct-horse-battery']);
  onTestFinished(() => closed.stop());
  const paths = api.operations.map((operation) => [operation, pathOf(operation, { id: 'a', hash: NOBODY })] as const);
  const isHealth = (path: string) => path === '/healthz' || path === '/readyz';
  for (const [operation, path] of paths) {
    expect(await status(operation, path, { at: closed.opsUrl })).toBe(isHealth(path) ? 200 : 401);
  }
  for (const [operation, path] of paths.filter(([, one]) => !isHealth(one))) {
    expect(await statusAs('evil.example', operation, path)).toBe(403);
  }
  const headers = { authorization: 'Bearer wrong' };
  for (let at = 0; at < 10; at += 1) await status('GET /metrics', '/metrics', { at: closed.opsUrl, headers });
  for (const [operation, path] of paths.filter(([, one]) => !isHealth(one))) {
    expect(await status(operation, path, { at: closed.opsUrl, headers })).toBe(429);
  }
});

/** `fetch` does not let go of the Host that it makes. */
async function statusAs(host: string, operation: string, path: string): Promise<number | undefined> {
  const method = operation.split(' ')[0] ?? '';
  const { port } = new URL(flow.proxies[0]!.opsUrl);
  const headers = { host, ...(method === 'POST' && JSON_TYPE) };
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ port, path, method, headers }, resolve).once('error', reject).end();
  });
  const chunks: string[] = await answer.setEncoding('utf8').toArray();
  const said = { status: answer.statusCode ?? 0, type: answer.headers['content-type'] ?? '', body: chunks.join('') };
  expect(api.fault(operation, said)).toBeUndefined();
  seen.add(`${operation} ${answer.statusCode}`);
  return answer.statusCode;
}

test('what one answers whose registry is its owner’s, which stops, or whose metrics fail', async () => {
  const registry = new Registry();
  void new Gauge({
    name: 'broken',
    help: 'x',
    registers: [registry],
    collect: () => Promise.reject(new Error('secret')),
  });
  const sessions = memorySessions({ ttlSeconds: 60 });
  const backends = { list: () => [], suspect() {}, onChange: () => () => {}, async close() {} };
  const proxy = createProxy({
    backends,
    sessions,
    registry,
    port: 0,
    opsPort: 0,
    lameDuckSeconds: 0,
    logger: { write() {} },
  });
  const { opsPort } = await proxy.listen();
  onTestFinished(() => proxy.close());
  const at = `http://127.0.0.1:${opsPort}`;
  expect(await status('GET /sessions', '/sessions', { at })).toBe(501);
  expect(await status('GET /sessions/{hash}', `/sessions/${NOBODY}`, { at })).toBe(501);
  expect(await status('DELETE /sessions/{hash}', `/sessions/${NOBODY}`, { at })).toBe(501);
  expect(await status('GET /metrics', '/metrics', { at })).toBe(500);
  expect(await status('GET /readyz', '/readyz', { at })).toBe(503);
});

test('what too many are told that watch', async () => {
  const at = flow.proxies[0]!.opsUrl;
  const leave = new AbortController();
  await Promise.all(Array.from({ length: 32 }, () => fetch(`${at}/events`, { signal: leave.signal })));
  expect(await status('GET /events', '/events')).toBe(503);
  leave.abort();
});

test('what one answers whose registry cannot be reached; and then all that is documented was seen', async () => {
  await flow.redis().close();
  const id = new URL(flow.backend('a').origin).host;
  for (const answer of api.answers) {
    const [operation, code] = [answer.slice(0, answer.lastIndexOf(' ')), answer.slice(answer.lastIndexOf(' ') + 1)];
    if (code !== '503' || ['GET /readyz', 'GET /events'].includes(operation)) continue;
    expect([operation, await status(operation, pathOf(operation, { id, hash: NOBODY }))]).toEqual([operation, 503]);
  }
  expect(await status('GET /backends', '/backends')).toBe(200);
  expect(api.answers.filter((answer) => !seen.has(answer))).toEqual([]);
});
