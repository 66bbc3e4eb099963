/** Servers, clients and what stands between them, as their users have reported them in public. */

import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { once } from 'node:events';
import compression from 'compression';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { sessionAffinity } from '../../proxy/index.ts';
import { POSTED, rawOpen, rawPing, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { dial, request } from '../house/raw.ts';
import { startRedis } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const COMMENT = ': keep-alive\n';
const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

async function startPlains(...names: readonly string[]): Promise<readonly Plain[]> {
  const all = await Promise.all(names.map(startPlain));
  for (const one of all) undo.push(() => one.close());
  return all;
}

async function startProxies(homes: readonly Plain[], count = 1, flags: readonly string[] = []) {
  const shared: string[] = [];
  if (count > 1) {
    const redis = await startRedis();
    undo.push(() => redis.close());
    shared.push('--redis', redis.url);
  }
  const origins = homes.map(({ origin }) => origin);
  const proxies: TestProxy[] = [];
  while (proxies.length < count) proxies.push(await startProxy(origins, [...shared, ...flags]));
  undo.push(() => Promise.all(proxies.map((proxy) => proxy.stop())));
  return proxies;
}

/** A session that has been used. */
async function openAt(url: string): Promise<string> {
  const { id } = await rawOpen(url);
  await rawPost(url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
  return id;
}

const homeOf = (homes: readonly Plain[], id: string): Plain => homes.find(({ sessions }) => sessions.has(id))!;

async function listenAt(url: string, id: string) {
  const { port } = new URL(url);
  const client = await dial(Number(port));
  client.send(request('GET /mcp', ['Accept: text/event-stream', `Mcp-Session-Id: ${id}`]));
  await client.saw('200 OK');
  undo.push(async () => client.leave());
  return client;
}

describe('a listening stream', () => {
  test('has its first byte at once, and nobody between is to gather it', async () => {
    const homes = await startPlains('a');
    const [proxy] = await startProxies(homes);
    const client = await listenAt(proxy!.url, await openAt(proxy!.url));
    const text = await client.saw(COMMENT);
    expect(text).toMatch(/\r\nx-accel-buffering: no\r\n/i);
    // No blank line ends it: that would be an event.
    expect(text.endsWith(`${COMMENT}\r\n`)).toBe(true);
  });

  test('gets no comment where none is wanted, and keeps what its server says of buffering', async () => {
    const [home] = await startPlains('a');
    home!.before = (asked) => {
      if (asked.what === 'GET') asked.response.setHeader('X-Accel-Buffering', 'yes');
      return false;
    };
    const [proxy] = await startProxies([home!], 1, ['--comment-seconds', 'off']);
    const client = await listenAt(proxy!.url, await openAt(proxy!.url));
    await until('it has begun', () => home!.streams.length === 1);
    home!.streams[0]!.response.write('data: {"jsonrpc":"2.0","method":"x"}\n\n');
    const text = await client.saw('"x"}');
    expect([text.includes(COMMENT), /x-accel-buffering: (\w+)/i.exec(text)?.[1]]).toEqual([false, 'yes']);
  });

  test('that begins with a byte order mark is read by clients, whatever the proxy says before', async () => {
    const [home] = await startPlains('a');
    const [proxy] = await startProxies([home!]);
    const client = await listenAt(proxy!.url, await openAt(proxy!.url));
    await client.saw(COMMENT);
    home!.streams[0]!.response.write('\uFEFFdata: {"jsonrpc":"2.0","method":"x"}\n\n');
    expect(await client.saw('"x"}')).toContain('\ndata: {"jsonrpc":"2.0","method":"x"}');
  });

  test('behind compression() has each event at once', async () => {
    const [home] = await startPlains('a');
    const affinity = sessionAffinity({ backends: [home!.origin], logger: { write() {} } });
    undo.push(() => affinity.close());
    const app = express();
    app.use(compression({ filter: () => true }));
    app.use('/mcp', affinity);
    const server = createServer(app).listen(0, '127.0.0.1');
    await once(server, 'listening');
    undo.push(async () => void (server.closeAllConnections(), server.close()));
    const address = server.address();
    const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/mcp`;
    const id = await openAt(url);
    const leave = new AbortController();
    undo.push(async () => leave.abort());
    const headers = { accept: 'text/event-stream', 'accept-encoding': 'gzip', 'mcp-session-id': id };
    const answer = await fetch(url, { headers, signal: leave.signal });
    expect(answer.headers.get('content-encoding')).toBe('gzip');
    let text = '';
    void (async () => {
      for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) text += part;
    })().catch(() => {});
    await until('the comment is read', () => text.includes(COMMENT));
    home!.streams[0]!.response.write('data: {"jsonrpc":"2.0","method":"x"}\n\n');
    await until('the event is read', () => text.includes('"x"}'));
  });
});

describe('a second listening stream', () => {
  /** One that takes a single stream of a session, and says so of others as long as `full` is true. */
  async function begin(status: number) {
    const [home] = await startPlains('a');
    const state = { full: false, refused: 0 };
    home!.before = (asked) => {
      if (asked.what !== 'GET' || !state.full) return false;
      state.refused += 1;
      sayText(asked.response, status, 'Session already has a stream', 'text/plain');
      return true;
    };
    const [proxy] = await startProxies([home!]);
    const id = await openAt(proxy!.url);
    return { home: home!, state, proxy: proxy!, id, client: await listenAt(proxy!.url, id) };
  }

  test.each([400, 409, 429, 503])('that its home answers with %i for a while: the client stays', async (status) => {
    const { home, state, client } = await begin(status);
    await until('it listens', () => home.streams.length === 1);
    state.full = true;
    home.streams[0]!.response.socket?.destroy();
    await until('it was refused twice', () => state.refused >= 2);
    state.full = false;
    await until('it listens again', () => home.streams.length === 2);
    home.streams[1]!.response.write('data: {"jsonrpc":"2.0","method":"heard"}\n\n');
    await client.saw('"heard"');
    expect(home.asked.filter((what) => what === 'initialize')).toHaveLength(1);
  });

  test('that a new home refuses, and that dies meanwhile: the third has it', async () => {
    const homes = await startPlains('a', 'b', 'c');
    const [proxy] = await startProxies(homes);
    const id = await openAt(proxy!.url);
    const client = await listenAt(proxy!.url, id);
    const home = homeOf(homes, id);
    await until('it listens', () => home.streams.length === 1);
    let refusals = 0;
    let refusing: Plain | undefined;
    for (const one of homes) {
      one.before = ({ what, response }) => {
        if (what !== 'GET' || (refusing !== undefined && refusing !== one)) return false;
        refusing = one;
        refusals += 1;
        sayText(response, 409, 'Conflict', 'text/plain');
        return true;
      };
    }
    await home.close();
    await until('a new home has refused it', () => refusals >= 3);
    await refusing!.close();
    const last = homes.find((one) => one !== home && one !== refusing)!;
    await until('it listens at the last', () => last.streams.length === 1);
    last.streams[0]!.response.write('data: {"jsonrpc":"2.0","method":"heard"}\n\n');
    expect(await client.saw('"heard"')).not.toContain('409');
  });

  test('of the client itself: it is told', async () => {
    const { home, state, proxy, id } = await begin(400);
    await until('it listens', () => home.streams.length === 1);
    state.full = true;
    const answer = await fetch(proxy.url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
    expect([answer.status, await answer.text()]).toEqual([400, 'Session already has a stream']);
  });
});

describe('a call whose stream stays open after its answer', () => {
  const answerAndStay = ({ what, id, response }: Asked): boolean => {
    if (what !== 'count') return false;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    return response.write(`data: {"jsonrpc":"2.0","id":${id},"result":{"content":[]}}\n\n`);
  };

  test.each([1, 2])('keeps its session from nothing: the home can be drained, %i proxies', async (count) => {
    const homes = await startPlains('a', 'b');
    for (const home of homes) home.after = answerAndStay;
    const proxies = await startProxies(homes, count);
    const [first, last] = [proxies[0]!, proxies.at(-1)!];
    const id = await openAt(first.url);
    const home = homeOf(homes, id);
    const leave = new AbortController();
    undo.push(async () => leave.abort());
    const call = await fetch(first.url, {
      method: 'POST',
      headers: { ...POSTED, 'mcp-session-id': id },
      body: JSON.stringify({ jsonrpc: '2.0', id: 5, method: 'tools/call', params: { name: 'count' } }),
      signal: leave.signal,
    });
    const { value } = await call.body!.getReader().read();
    expect(Buffer.from(value).toString()).toContain('"id":5');
    const headers = { 'content-type': 'application/json' };
    const drained = new URL(home.origin).host;
    expect((await fetch(`${first.opsUrl}/backends/${drained}/drain`, { method: 'POST', headers })).status).toBe(202);
    await until('it has left', async () => (await rawPing(last.url, id)).status === 200 && !home.sessions.has(id));
  });
});

describe('a body', () => {
  test('that begins with a byte order mark reaches its server as it is', async () => {
    const [home] = await startPlains('a');
    const lengths: (string | undefined)[] = [];
    home!.after = ({ what, request: asked }) => {
      if (what === 'ping') lengths.push(asked.headers['content-length']);
      return false;
    };
    const [proxy] = await startProxies([home!]);
    const id = await openAt(proxy!.url);
    const body = '\uFEFF{"jsonrpc":"2.0","id":9,"method":"ping"}';
    const answer = await fetch(proxy!.url, {
      method: 'POST',
      headers: { ...POSTED, 'mcp-session-id': id },
      body: Buffer.from(body),
    });
    expect([answer.status, lengths]).toEqual([200, [String(Buffer.byteLength(body))]]);
  });

  test('that is cut is not taken for whole over HTTP/1.0', async () => {
    const [home] = await startPlains('a');
    home!.before = ({ what, response }) => {
      if (what !== 'count') return false;
      response.writeHead(200, { 'content-type': 'application/json' });
      // Longer than what is held whole.
      response.write(`{"jsonrpc":"2.0","id":2,"result":{"text":"${'x'.repeat(2 * 1024 * 1024)}`, () =>
        response.destroy(),
      );
      return true;
    };
    const [proxy] = await startProxies([home!]);
    const id = await openAt(proxy!.url);
    const call = { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'count' } };
    const socket = connect(Number(new URL(proxy!.url).port), '127.0.0.1');
    const fields = [
      'Content-Type: application/json',
      'Accept: application/json, text/event-stream',
      `Mcp-Session-Id: ${id}`,
    ];
    socket.write(request('POST /mcp', fields, call).replace('HTTP/1.1', 'HTTP/1.0'));
    socket.resume();
    const [error] = await soon('the connection to end', Promise.race([once(socket, 'error'), once(socket, 'end')]));
    expect(error).toMatchObject({ code: 'ECONNRESET' });
  });
});

describe('a call whose outcome is unknown', () => {
  const UNKNOWN = {
    code: -32_000,
    message: 'The server was lost while it worked on this request: the outcome is unknown',
  };

  test.each([1, 2])('is answered, as a call, with 200, %i proxies', async (count) => {
    const homes = await startPlains('a', 'b');
    for (const home of homes) {
      home.after = ({ what, response }) => what === 'count' && (response.socket?.destroy(), true);
    }
    const proxies = await startProxies(homes, count);
    const id = await openAt(proxies[0]!.url);
    const call = { id: 7, method: 'tools/call', params: { name: 'count' } };
    const { status, headers, message } = await rawPost(proxies.at(-1)!.url, call, { 'mcp-session-id': id });
    expect([status, headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(message).toEqual({ jsonrpc: '2.0', id: 7, error: UNKNOWN });
    expect(homes.flatMap(({ ran }) => ran).filter((what) => what === 'count')).toHaveLength(1);
  });

  test('is 502 where nobody waits for an answer', async () => {
    const [home] = await startPlains('a');
    home!.before = ({ what, response }) => what === 'notifications/x' && (response.socket?.destroy(), true);
    const [proxy] = await startProxies([home!], 1, ['--replay', 'never']);
    const id = await openAt(proxy!.url);
    const { status } = await rawPost(proxy!.url, { method: 'notifications/x' }, { 'mcp-session-id': id });
    expect(status).toBe(502);
  });
});

test('a new home that starts a process for each session may take longer than 10 s', { timeout: 40_000 }, async () => {
  const homes = await startPlains('a', 'b');
  const [proxy] = await startProxies(homes);
  const id = await openAt(proxy!.url);
  const home = homeOf(homes, id);
  const other = homes.find((one) => one !== home)!;
  const waiting: (() => void)[] = [];
  other.before = (asked) => {
    if (asked.what !== 'initialize' || waiting.length > 0) return false;
    const opened = randomUUID();
    other.sessions.set(opened, 0);
    waiting.push(() => {
      asked.response.setHeader('mcp-session-id', opened);
      const result = {
        protocolVersion: '2025-11-25',
        capabilities: { tools: {} },
        serverInfo: { name: 'plain', version: '1' },
      };
      sayJson(asked.response, 200, { id: asked.id, result });
    });
    setTimeout(waiting[0]!, 10_500);
    return true;
  };
  await home.close();
  const call = { id: 7, method: 'tools/call', params: { name: 'read' } };
  const { status } = await rawPost(proxy!.url, call, { 'mcp-session-id': id });
  expect([status, other.ran, other.asked.filter((what) => what === 'initialize')]).toEqual([
    200,
    ['notifications/initialized', 'read'],
    ['initialize'],
  ]);
});
