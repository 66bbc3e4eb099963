/** The library as a program uses it: what may stand before it, what may be handed in, how it ends. */

import { gzipSync } from 'node:zlib';
import express, { type Request, type RequestHandler } from 'express';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  type AffinityOptions,
  type Backends,
  type Middleware,
  type Sessions,
  createProxy,
  sessionAffinity,
} from '../../proxy/index.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { INITIALIZE } from '../house/edge.ts';
import { listen } from '../house/listen.ts';
import { startRedis } from '../house/redis.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { type Talk, startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const withFields =
  (fields: Readonly<Record<string, string>>): typeof fetch =>
  (url, init) => {
    const headers = new Headers(init?.headers);
    for (const [name, value] of Object.entries(fields)) headers.set(name, value);
    return fetch(url, { ...init, headers });
  };

const SILENT = { logger: { write() {} } };

let servers: TestServers;
beforeAll(async () => {
  servers = await startServers(['a', 'b']);
});
afterAll(() => servers.close());

type Front = {
  readonly affinity: Middleware;
  readonly url: string;
  readonly lines: () => Record<string, unknown>[];
  /** Resolves when a call with that key has begun at a server. */
  readonly begun: (key: string) => Promise<unknown>;
};

/** Two servers behind an app that only routes, with these in front of the middleware. */
async function front(options: Partial<AffinityOptions> = {}, before: readonly RequestHandler[] = []): Promise<Front> {
  const text: string[] = [];
  const logger = { write: (line: string) => void text.push(line) };
  const affinity = sessionAffinity({ backends: servers.origins, logger, ...options });
  onTestFinished(() => affinity.close());
  const app = express();
  for (const one of before) app.use(one);
  const { port } = await listen(app.use('/mcp', affinity));
  return {
    affinity,
    url: `http://127.0.0.1:${port}/mcp`,
    lines: () => text.map((line) => JSON.parse(line)),
    begun: (key) => until(`${key} runs`, () => servers.effects().some((effect) => effect.key === key)),
  };
}

async function talkTo(url: string): Promise<Talk> {
  const talk = await startTalk(url);
  onTestFinished(() => talk.close());
  return talk;
}

/** A POST of these bytes in the talk's session. */
async function post(talk: Talk, url: string, body: Buffer, more: Record<string, string> = {}) {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-session-id': talk.sessionId,
    ...more,
  };
  const answer = await fetch(url, { method: 'POST', headers, body: new Uint8Array(body) });
  return { status: answer.status, text: await answer.text() };
}
const PING = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'ping' }));

describe('a parser before the middleware', () => {
  test('has unpacked the body: it goes on as what it is', async () => {
    const { url } = await front({}, [express.json()]);
    const answer = await post(await talkTo(url), url, gzipSync(PING), { 'content-encoding': 'gzip' });
    expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('"id":7') });
  });

  test('has left an empty body where it read nothing, as older ones do: the bytes are read', async () => {
    const older: RequestHandler = (request, _response, next) => {
      request.body = {};
      next();
    };
    const { url } = await front({}, [older]);
    const talk = await talkTo(url);
    expect((await post(talk, url, PING)).status).toBe(200);
    expect((await talk.count()).slice(1)).toBe('1');
  });

  test('has made a Buffer or a string of it', async () => {
    for (const parser of [express.raw({ type: () => true }), express.text({ type: () => true })]) {
      const { url } = await front({}, [parser]);
      expect((await (await talkTo(url)).count()).slice(1)).toBe('1');
    }
  });

  test('has swallowed it: 500 and a line that says so, not a request that hangs', async () => {
    const { url, lines } = await front({ logLevel: 'error' }, [
      (request, _response, next) => void request.on('end', () => next()).resume(),
    ]);
    const answer = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
    expect(answer.status).toBe(500);
    expect(lines()).toMatchObject([
      { msg: 'fault', err: { message: 'the body was read before us, and request.body is not set' } },
    ]);
  });
});

describe('middleware before it', () => {
  test('that takes a flat list of fields for pairs, as on-headers did before 1.1', async () => {
    const older: RequestHandler = (_request, response, next) => {
      const writeHead = response.writeHead.bind(response);
      Object.defineProperty(response, 'writeHead', {
        value(status: number, fields: readonly unknown[] = []) {
          for (const field of fields) {
            const [name, value] = Array.isArray(field) ? field : [String(field).charAt(0), String(field).charAt(1)];
            response.setHeader(String(name), String(value));
          }
          return writeHead(status);
        },
      });
      next();
    };
    const { url } = await front({}, [older]);
    const talk = await talkTo(url);
    expect(talk.sessionId).not.toBe('');
    expect((await talk.count()).slice(1)).toBe('1');
  });

  test('that ends a stream, as a limit of its age does: it ends at the home too', async () => {
    let stream: { end(): unknown } | undefined;
    const keep: RequestHandler = (request, response, next) => {
      if (request.method === 'GET') stream = response;
      next();
    };
    const { url, lines } = await front({ logLevel: 'debug' }, [keep]);
    await talkTo(url);
    const streams = () => lines().flatMap(({ msg, change }) => (msg === 'stream' ? [change] : []));
    await until('it listens', () => streams().includes('opened'));
    stream?.end();
    expect(await until('it has ended', () => streams().at(-1) === 'closed' && streams())).toEqual(['opened', 'closed']);
  });
});

test('the middleware writes its log lines as they come, and counts into the registry that it is given', async () => {
  const registry = new Registry();
  const { url, lines } = await front({ registry, logLevel: 'debug' });
  const talk = await talkTo(url);
  await talk.count();
  await until('the call is told', () => lines().filter(({ msg }) => msg === 'exchange').length >= 3);
  expect(lines().slice(0, 2)).toMatchObject([{ msg: 'configuration' }, { msg: 'session', change: 'opened' }]);
  const text = await registry.metrics();
  expect(text).toMatch(/^mcp_affinity_exchanges_total\{verb="post",outcome="answered",status="200"\} [1-9]/m);
  expect(text).toMatch(/^mcp_affinity_sessions\{state="ready"\} 1$/m);
});

test('backends of your own are checked like all others, and not closed', async () => {
  const own = await startServers(['a', 'b']);
  onTestFinished(() => own.close());
  const listed = (...ids: string[]) =>
    ids.map((id) => ({ id, origin: own.get(id).origin, draining: false, suspect: false }));
  let current = listed('a');
  let tell = () => {};
  let closed = false;
  const backends: Backends = {
    list: () => current,
    suspect() {},
    onChange: (f) => ((tell = f), () => {}),
    close: async () => void (closed = true),
  };
  const text: string[] = [];
  const logger = { write: (line: string) => void text.push(line) };
  const proxy = createProxy({ backends, port: 0, opsPort: 0, lameDuckSeconds: 0, healthPath: '/health', logger });
  const { port } = await proxy.listen();
  const talk = await startTalk(`http://127.0.0.1:${port}/mcp`);
  expect(await talk.task('ping')).toBe('a');
  current = listed('a', 'b');
  tell();
  own.get('a').pause();
  await until('a is found dead', () => text.some((line) => line.includes('"state":"dead"')));
  expect(await talk.task('ping')).toBe('b');
  await talk.close();
  await proxy.close();
  expect(closed).toBe(false);
});

test('a backend of your own at no origin is left out, and said once; one of a class is as good as any', async () => {
  const own = await startServers(['a']);
  onTestFinished(() => own.close());
  const at = (id: string, origin: string) => ({ id, origin, draining: false, suspect: false });
  class Task {
    draining = false;
    suspect = false;
    readonly #origin: string;
    constructor(origin: string) {
      this.#origin = origin;
    }
    get id() {
      return 'a';
    }
    get origin() {
      return this.#origin;
    }
  }
  const backends: Backends = {
    list: () => [at('b', '10.0.0.7:3000'), new Task(`${own.get('a').origin}/`)],
    suspect() {
      throw new Error('not there yet');
    },
    onChange: () => () => {},
    close: async () => {},
  };
  const text: string[] = [];
  const proxy = createProxy({
    backends,
    port: 0,
    opsPort: 0,
    lameDuckSeconds: 0,
    holdSeconds: 0,
    logger: { write: (line) => void text.push(line) },
  });
  const { port } = await proxy.listen();
  onTestFinished(() => proxy.close());
  const talk = await talkTo(`http://127.0.0.1:${port}/mcp`);
  expect(await talk.task('ping')).toBe('a');
  await own.get('a').kill();
  await expect(talk.task('ping')).rejects.toThrow('Service unavailable');
  const lines = text.map((line): { err?: { message: string } } => JSON.parse(line));
  const messages = lines.flatMap(({ err }) => err?.message ?? []);
  expect(messages.filter((message) => message.startsWith('backends: expected an id, and an origin'))).toHaveLength(1);
  expect(messages).toContain('not there yet');
});

test('a registry of your own that throws, or says null, costs no more than the exchange that needs it', async () => {
  const inner = memorySessions({ ttlSeconds: 60 });
  let broken = false;
  let room = 1;
  let changed = (_id: string): void => {};
  const whole = () => {
    if (broken) throw new TypeError('a bug of somebody else');
  };
  const sessions: Sessions = {
    ...inner,
    async find(id) {
      whole();
      const found = await inner.find(id);
      // As stores do that are not written in TypeScript.
      return found ?? JSON.parse('null');
    },
    async countByBackend() {
      whole();
      return inner.countByBackend();
    },
    room() {
      whole();
      return room;
    },
    onChange: (f) => ((changed = f), () => {}),
  };
  const { url } = await front({ sessions });
  const talk = await talkTo(url);
  const unknown = await post(talk, url, PING, { 'mcp-session-id': 'nobody' });
  expect([unknown.status, unknown.text]).toEqual([404, expect.stringContaining('Session not found')]);
  broken = true;
  changed(talk.sessionId);
  expect((await post(talk, url, PING)).status).toBe(503);
  const open = async () => {
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
    const opened = await fetch(url, { method: 'POST', headers, body: JSON.stringify(INITIALIZE) });
    await opened.text();
    return opened.status;
  };
  expect(await open()).toBe(200);
  broken = false;
  room = 0;
  expect(await open()).toBe(503);
  expect((await talk.count()).slice(1)).toBe('1');
});

describe('owners told apart in your own way', () => {
  const userOf = (request: Request): string | undefined => {
    const user = request.get('x-user');
    if (user === 'odd') throw new Error('no such user');
    return user;
  };
  const as = (talk: Talk, url: string, user: string) => post(talk, url, PING, { 'x-user': user });

  test('somebody else gets what an unknown session gets', async () => {
    const { url } = await front({ owner: userOf });
    const talk = await startTalk(url, { fetch: withFields({ 'x-user': 'alice' }) });
    onTestFinished(() => talk.close());
    expect(await as(talk, url, 'alice')).toMatchObject({ status: 200 });
    for (const user of ['mallory', '']) expect(await as(talk, url, user)).toMatchObject({ status: 404 });
  });

  test('what it throws is a fault, and lets nobody in', async () => {
    const { url, lines } = await front({ owner: userOf, logLevel: 'error' });
    const answer = await as(await talkTo(url), url, 'odd');
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('no such user');
    expect(lines()).toMatchObject([{ msg: 'fault', err: { message: 'no such user' } }]);
  });

  test('what is no function is refused', () => {
    const options = { backends: ['http://127.0.0.1:1'] };
    Reflect.set(options, 'owner', 'alice');
    expect(() => createProxy(options)).toThrow('owner: expected a function of the request');
  });
});

describe('the end', () => {
  test('of the middleware: what runs is finished, the stream ends, what comes later is refused', async () => {
    const { affinity, url, begun } = await front();
    const talk = await talkTo(url);
    const call = talk.task('effect', { key: 'k', ms: 700 });
    await begun('k');
    await affinity.close();
    expect(await call).toMatch(/^[ab]$/);
    expect(await post(talk, url, PING)).toEqual({
      status: 503,
      text: '{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"Service unavailable: the proxy is stopping, try again"}}',
    });
    await affinity.close();
  });

  test('of the middleware: drainSeconds is all that is given', async () => {
    const { affinity, url, begun } = await front({ drainSeconds: 0 });
    const talk = await talkTo(url);
    const call = talk.call('safe_effect', { key: 'late', ms: 60_000 }).catch((error: Error) => error.message);
    await begun('late');
    await affinity.close();
    expect(await call).toContain('The proxy stopped before the answer came: the outcome is unknown');
  });

  test('of a proxy: it is not ready and serves on, and closes its listener after that', async () => {
    const { port, server } = await listen((_request, response) => void response.end('{}'));
    onTestFinished(() => void server.close());
    const proxy = createProxy({
      backends: [`http://127.0.0.1:${port}`],
      port: 0,
      opsPort: 0,
      lameDuckSeconds: 0.5,
      ...SILENT,
    });
    const at = await proxy.listen();
    const closing = proxy.close();
    expect((await fetch(`http://127.0.0.1:${at.opsPort}/readyz`)).status).toBe(503);
    const answer = await fetch(`http://127.0.0.1:${at.port}/page`);
    expect([answer.status, answer.headers.get('connection')]).toEqual([200, 'close']);
    await closing;
    await expect(fetch(`http://127.0.0.1:${at.port}/page`)).rejects.toThrow('fetch failed');
  });

  test('of a proxy that could not listen, and of one that never did', async () => {
    const { port, server } = await listen(() => {});
    const proxy = createProxy({ backends: ['http://127.0.0.1:1'], port, opsPort: 0, lameDuckSeconds: 0, ...SILENT });
    await expect(proxy.listen()).rejects.toThrow(`--port ${port} on 127.0.0.1 cannot be listened on (EADDRINUSE)`);
    await new Promise((resolve) => server.close(resolve));
    expect((await proxy.listen()).port).toBe(port);
    await proxy.close();
    const unused = createProxy({ backends: ['http://127.0.0.1:1'], ...SILENT });
    await unused.close();
    await expect(unused.listen()).rejects.toThrow('This proxy is closed');
  });
});

test('with a registry of your own and Redis beside it, no session leaves its home under a call at another proxy', async () => {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const sessions = memorySessions({ ttlSeconds: 60 });
  const start = async () => {
    const proxy = createProxy({
      backends: servers.origins,
      sessions,
      redis: redis.url,
      port: 0,
      opsPort: 0,
      lameDuckSeconds: 0,
      ...SILENT,
    });
    onTestFinished(() => proxy.close());
    return proxy.listen();
  };
  const [one, other] = [await start(), await start()];
  const talk = await talkTo(`http://127.0.0.1:${one.port}/mcp`);
  const home = await talk.task('ping');
  const call = talk.task('effect', { key: 'shared', ms: 5000 });
  await until('it runs', () => servers.effects().some(({ key }) => key === 'shared'));
  const { host } = new URL(servers.get(home).origin);
  const drain = (method: string) =>
    fetch(`http://127.0.0.1:${other.opsPort}/backends/${host}/drain`, {
      method,
      headers: { 'content-type': 'application/json' },
    });
  expect((await drain('POST')).status).toBe(202);
  expect(await call).toBe(home);
  expect(
    await until('the session has left', async () => {
      const task = await talk.task('ping');
      return task !== home && task;
    }),
  ).not.toBe(home);
  expect((await drain('DELETE')).status).toBe(202);
});
