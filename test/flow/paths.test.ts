/** MCP at another path than the proxy's: below it, beside it, or at one of several; no session is without affinity. */

import { createHash, randomUUID } from 'node:crypto';
import { type IncomingMessage, type RequestListener, request as httpRequest } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { openedAt } from '../../proxy/address.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { readRecord, writeRecord } from '../../proxy/sessions/record.ts';
import { rawOpen, rawPost } from '../house/by-hand.ts';
import { INITIALIZE } from '../house/edge.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { listen } from '../house/listen.ts';
import { askAt, dial, request, said } from '../house/raw.ts';
import { startRedis } from '../house/redis.ts';
import { newSession } from '../house/sessions.ts';
import { startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Mcp = {
  readonly handler: RequestListener;
  /** Method and target of each request. */
  readonly asked: readonly string[];
  /** Sessions that are open, by id: how often each was called. */
  readonly sessions: ReadonlyMap<string, number>;
};

/** A small MCP server, wherever it is mounted: it counts the calls of each session. */
function mcpServer(): Mcp {
  const asked: string[] = [];
  const sessions = new Map<string, number>();
  const answer = async (asking: IncomingMessage, response: Parameters<RequestListener>[1]): Promise<void> => {
    asked.push(`${asking.method} ${'originalUrl' in asking ? String(asking.originalUrl) : asking.url}`);
    const id = String(asking.headers['mcp-session-id'] ?? '');
    if (asking.method === 'DELETE') {
      response.writeHead(sessions.delete(id) ? 200 : 404).end();
      return;
    }
    const body: unknown = JSON.parse((await text(asking)) || '{}');
    const opens = JSON.stringify(body).includes('"initialize"');
    const own = opens ? randomUUID() : id;
    if (!opens && !sessions.has(own)) {
      response.writeHead(404).end();
      return;
    }
    // A proxy may ask whether the session is known.
    const counts = !opens && !JSON.stringify(body).includes('"ping"');
    const count = (sessions.get(own) ?? 0) + (counts ? 1 : 0);
    sessions.set(own, count);
    const result = opens
      ? { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'x', version: '1' } }
      : { count };
    response.writeHead(200, { 'content-type': 'application/json', ...(opens && { 'mcp-session-id': own }) });
    response.end(JSON.stringify({ jsonrpc: '2.0', id: Object(body).id ?? 0, result }));
  };
  return { handler: (asking, response) => void answer(asking, response), asked, sessions };
}

async function proxyOf(origins: readonly string[], flags: readonly string[] = []): Promise<TestProxy> {
  const made = await startProxy(origins, flags);
  undo.push(() => made.stop());
  return made;
}
async function site(mount: (mcp: Mcp) => RequestListener, flags: readonly string[] = []) {
  const mcp = mcpServer();
  const { port } = await listen(mount(mcp));
  const proxy = await proxyOf([`http://127.0.0.1:${port}`], flags);
  const { origin } = new URL(proxy.url);
  return { mcp, proxy, origin };
}
const warnings = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) => (event.type === 'wrong-path' ? [`${event.path} ${event.served}`] : []));

describe('a server that is mounted for all below its path', () => {
  const BELOW = [
    '/mcp/x',
    '/mcp/%2e',
    '/mcp%00',
    '/mcp%20',
    '/mcp.',
    '/mcp.json',
    '/%256dcp',
    '/mcp%c0%af',
    '/MCP/x',
    '/mcp;/x',
  ];

  test('gets nothing but what goes through the endpoint, and no body over its limit', async () => {
    const { mcp, proxy } = await site(({ handler }) => express().use('/mcp', handler), ['--max-body', '1000']);
    for (const path of BELOW) {
      for (const body of [INITIALIZE, { ...INITIALIZE, padding: 'x'.repeat(30_000) }]) {
        expect((await askAt(proxy.url, request(`POST ${path}`, [], body))).status).toBeOneOf([400, 404]);
      }
    }
    expect([mcp.asked, mcp.sessions.size]).toEqual([[], 0]);
    expect((await rawOpen(proxy.url)).status).toBe(200);
    expect((await rawOpen(`${proxy.url}/`)).status).toBe(200);
    expect(mcp.asked).toEqual(['POST /mcp', 'POST /mcp/']);
  });
});

describe('a wrong --path', () => {
  const WRONG = '404 -32000: Not found: this proxy serves MCP at /wrong (--path), and the request came to /mcp';

  test('an SDK client reads both paths, and the log warns once', async () => {
    const { mcp, proxy, origin } = await site(({ handler }) => handler, ['--path', '/wrong']);
    for (let turn = 0; turn < 3; turn += 1) {
      await expect(startTalk(`${origin}/mcp`)).rejects.toThrow(/serves MCP at \/wrong .* came to \/mcp/);
    }
    expect(mcp.sessions.size).toBe(0);
    expect(warnings(proxy.events)).toEqual(['/mcp /wrong']);
  });

  test.each([
    ['as it is', [JSON.stringify(INITIALIZE)]],
    ['in pieces', [...JSON.stringify(INITIALIZE).matchAll(/.{1,40}/g)].map(([piece]) => piece)],
    ['in a batch', [JSON.stringify([INITIALIZE])]],
    ['with much before it', [JSON.stringify({ padding: 'x'.repeat(10_000), ...INITIALIZE })]],
  ])('an initialize %s', async (_how, pieces) => {
    const { mcp, proxy, origin } = await site(({ handler }) => handler, ['--path', '/wrong']);
    for (const length of [undefined, Buffer.byteLength(pieces.join(''))]) {
      const headers = {
        'content-type': 'Application/JSON; charset=utf-8',
        ...(length !== undefined && { 'content-length': length }),
      };
      const sent = httpRequest(`${origin}/mcp?x=1`, { method: 'POST', headers });
      const answered = new Promise<IncomingMessage>((resolve, reject) =>
        sent.once('response', resolve).once('error', reject),
      );
      for (const piece of pieces) await new Promise((resolve) => sent.write(piece, resolve));
      sent.end();
      const answer = await answered;
      expect(said({ status: answer.statusCode ?? 0, head: '', body: await text(answer) })).toBe(WRONG);
    }
    expect([mcp.asked, warnings(proxy.events)]).toEqual([[], ['/mcp /wrong']]);
  });

  test('an answer that opens a session all the same is refused, and the session is ended', async () => {
    const { mcp, proxy } = await site(({ handler }) => handler, ['--path', '/wrong']);
    const body = { ...INITIALIZE, padding: 'x'.repeat(40_000) };
    expect(said(await askAt(proxy.url, request('POST /mcp', [], body)))).toBe(WRONG.replace('404', '502'));
    await until('it is ended', () => mcp.asked.length === 2 && mcp.sessions.size === 0);
    expect(mcp.asked).toEqual(['POST /mcp', 'DELETE /mcp']);
    expect(warnings(proxy.events)).toEqual(['/mcp /wrong']);
    expect(
      said(await askAt(proxy.url, request('POST /mcp', ['content-type: text/plain'], JSON.stringify(INITIALIZE)))),
    ).toBe(WRONG.replace('404', '502'));
  });

  test('a scanner fills no log, and long paths are cut', async () => {
    const { proxy } = await site(({ handler }) => handler);
    for (let n = 0; n < 15; n += 1) await askAt(proxy.url, request(`POST /path-${n}`, [], INITIALIZE));
    expect(warnings(proxy.events)).toHaveLength(10);
    const { body } = await askAt(proxy.url, request(`POST /${'x'.repeat(5000)}`, [], INITIALIZE));
    expect(body.length).toBeLessThan(500);
  });
});

describe('JSON that is no initialize passes whole', () => {
  const echo: RequestListener = (asking, response) => {
    const { 'content-length': length, 'transfer-encoding': coding } = asking.headers;
    const told = (body: Buffer) => JSON.stringify({ sha: sha(body), bytes: body.length, length, coding });
    void buffer(asking).then((body) => response.end(told(body)));
  };
  const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

  test.each([
    ['nothing', 0],
    ['little', 10],
    ['up to what is looked at', 16_380],
    ['a little more', 16_390],
    ['more than is buffered', 100_000],
    ['much', 20_000_000],
  ])('%s', async (_how, size) => {
    const { port } = await listen(echo);
    const { origin } = new URL((await proxyOf([`http://127.0.0.1:${port}`])).url);
    const body = Buffer.from(size === 0 ? '' : JSON.stringify('x'.repeat(size - 2)));
    const types = ['application/json', 'text/plain'];
    for (const type of types) {
      const whole = await fetch(`${origin}/x`, { method: 'POST', headers: { 'content-type': type }, body });
      expect(await whole.json()).toMatchObject({ sha: sha(body), bytes: size, length: String(size) });
      const sent = httpRequest(`${origin}/x`, { method: 'POST', headers: { 'content-type': type } });
      const answered = new Promise<IncomingMessage>((resolve, reject) =>
        sent.once('response', resolve).once('error', reject),
      );
      sent.write(body.subarray(0, size / 2));
      sent.end(body.subarray(size / 2));
      expect(JSON.parse(await text(await answered))).toMatchObject({ sha: sha(body), bytes: size, coding: 'chunked' });
    }
  });

  test('it begins to arrive before it is whole', async () => {
    const arrived: string[] = [];
    const { port } = await listen((asking, response) => {
      asking.setEncoding('utf8').on('data', (piece: string) => arrived.push(piece));
      asking.once('end', () => response.end('done'));
    });
    const { url } = await proxyOf([`http://127.0.0.1:${port}`]);
    const sent = httpRequest(new URL('/x', url), { method: 'POST', headers: { 'content-type': 'application/json' } });
    const answered = new Promise<IncomingMessage>((resolve, reject) =>
      sent.once('response', resolve).once('error', reject),
    );
    sent.write('{"a":');
    await until('a part is there', () => arrived.join('') === '{"a":');
    sent.end('1}');
    expect(await text(await answered)).toBe('done');
    expect(arrived.join('')).toBe('{"a":1}');
  });

  test('a client that leaves meanwhile leaves nothing behind', async () => {
    const { mcp, proxy } = await site(({ handler }) => handler);
    const client = await dial(Number(new URL(proxy.url).port));
    client.send(request('POST /x', ['Content-Length: 100'], '{"a":'));
    client.leave();
    const counted = await until('it is counted', () => proxy.events.find(({ type }) => type === 'exchange'));
    expect(counted).toMatchObject({ status: 499, outcome: 'abandoned' });
    expect(mcp.asked).toEqual([]);
  });
});

describe('several endpoints', () => {
  test.each([
    ['/mcp', '/mcp', true],
    ['/mcp', '/b', false],
    ['/mcp', undefined, true],
    [undefined, '/b', true],
    [undefined, undefined, true],
  ])('at %s, a session of %s is known: %s', (path, of, known) => {
    const session = newSession(of === undefined ? {} : { path: of });
    expect(openedAt(path, readRecord('id', writeRecord(session))) !== undefined).toBe(known);
  });

  const call = (id: string) => ({ id: 1, method: 'tools/call', params: { name: id } });
  async function count(url: string, id: string): Promise<unknown> {
    const { status, message } = await rawPost(url, call('count'), { 'mcp-session-id': id });
    return status === 200 ? Object(message).result.count : status;
  }

  test.each([
    ['flags', ['--path', '/mcp', '--path', '/b/mcp']],
    ['in memory and in Redis', ['--path', '/mcp', '--path', '/b/mcp/']],
  ])('each has affinity, and sessions of its own: %s', async (how, paths) => {
    const servers = [mcpServer(), mcpServer(), mcpServer()];
    const origins: string[] = [];
    for (const { handler } of servers) origins.push(`http://127.0.0.1:${(await listen(handler)).port}`);
    const redis = how === 'flags' ? undefined : await startRedis();
    if (redis !== undefined) undo.push(() => redis.close());
    const flags = [...paths, '--guess-rate', 'off', ...(redis === undefined ? [] : ['--redis', redis.url])];
    const { origin } = new URL((await proxyOf(origins, flags)).url);
    const other = redis === undefined ? origin : new URL((await proxyOf(origins, flags)).url).origin;
    const opened = await Promise.all(
      Array.from({ length: 10 }, async (_, at) => {
        const path = at % 2 === 0 ? '/mcp' : '/b/mcp';
        return { path, id: (await rawOpen(`${origin}${path}`)).id };
      }),
    );
    for (const { path, id } of opened) {
      const wrong = path === '/mcp' ? '/b/mcp' : '/mcp';
      expect([await count(`${origin}${path}`, id), await count(`${other}${path}/`, id)]).toEqual([1, 2]);
      expect([await count(`${origin}${wrong}`, id), await count(`${other}${wrong}`, id)]).toEqual([404, 404]);
      const ended = await fetch(`${other}${wrong}`, { method: 'DELETE', headers: { 'mcp-session-id': id } });
      expect(ended.status).toBe(404);
      expect(await count(`${other}${path}`, id)).toBe(3);
    }
    expect(servers.map(({ sessions }) => sessions.size).reduce((sum, size) => sum + size)).toBe(10);
    const { status } = await fetch(`${origin}/c/mcp`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(INITIALIZE),
    });
    expect(status).toBe(404);
  });
});
