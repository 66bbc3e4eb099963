/** Whatever is opened at a backend is closed: in the end a backend holds what clients hold. */

import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, startPlain } from '../house/plain.ts';
import { startRedis } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly a: Plain; readonly b: Plain; readonly proxy: TestProxy };

/** Sessions are opened at a, as b holds more in the beginning: `at` of a session that is at b already. */
async function begin(flags: readonly string[] = []): Promise<Scene> {
  const [a, b] = await Promise.all([startPlain('a'), startPlain('b')]);
  undo.push(
    () => a.close(),
    () => b.close(),
  );
  const proxy = await startProxy([a.origin, b.origin], flags);
  undo.push(() => proxy.stop());
  return { a, b, proxy };
}

type Way = (asked: Asked) => void;
const event = (message: object): string => `data: ${JSON.stringify({ jsonrpc: '2.0', ...message })}\n\n`;
const resultOf = ({ id }: Asked) => ({
  id,
  result: {
    protocolVersion: '2025-11-25',
    capabilities: { tools: {} },
    serverInfo: { name: 'plain', version: '1' },
  },
});
const answerWith: Way = (asked) => sayJson(asked.response, 200, resultOf(asked));
const streamWith: Way = (asked) => {
  asked.response.writeHead(200, { 'content-type': 'text/event-stream' });
  asked.response.end(event(resultOf(asked)));
};
const failOpening = (one: Plain, way: Way): void => {
  one.after = (asked) => asked.what === 'initialize' && (way(asked), true);
};
const times = ({ asked }: Plain, what: string): number => asked.filter((one) => one === what).length;
const held = ({ a, b }: Pick<Scene, 'a' | 'b'>): number => a.sessions.size + b.sessions.size;

/** How a backend fails `initialize` though it has opened a session and its head has named it. */
const FAILED: readonly (readonly [string, Way])[] = [
  [
    'a JSON answer that is cut',
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 999 });
      response.write('{"jsonrpc":"2.0"', () => response.socket?.destroy());
    },
  ],
  [
    'a head alone',
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 999 }).flushHeaders();
      setImmediate(() => response.socket?.end());
    },
  ],
  [
    'an event that is cut',
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"jsonrpc":"2.0",', () => response.socket?.destroy());
    },
  ],
  [
    'a stream without an answer',
    ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).end(),
  ],
  [
    'a stream of which something else came first',
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(event({ method: 'notifications/message', params: {} }), () => response.socket?.destroy());
    },
  ],
  ['503', ({ response }) => response.writeHead(503, { 'content-type': 'text/plain' }).end('no')],
  ['429 without a body', ({ response }) => response.writeHead(429).end()],
  ['-32603', ({ response, id }) => sayJson(response, 200, { id, error: { code: -32_603, message: 'x' } })],
  [
    '-32000 in an event',
    ({ response, id }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(event({ id, error: { code: -32_000, message: 'x' } }));
    },
  ],
  [
    'silence after the head',
    ({ response }) => response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders(),
  ],
  [
    'silence after the head of a stream',
    ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders(),
  ],
  [
    'an encoding that nobody asked for, cut',
    ({ response }) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'br', 'content-length': 99 });
      response.write('x', () => response.socket?.destroy());
    },
  ],
  ['400', ({ response, id }) => sayJson(response, 400, { id, error: { code: -32_600, message: 'x' } })],
  ['-32602', ({ response, id }) => sayJson(response, 200, { id, error: { code: -32_602, message: 'x' } })],
  ['no JSON-RPC', ({ response }) => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>Hello</p>')],
];

describe('initialize has opened a session, and then fails by', () => {
  test.each(FAILED)('%s', async (_what, way) => {
    const scene = await begin(['--answer-seconds', '1']);
    const { a, b, proxy } = scene;
    for (const one of [a, b]) failOpening(one, way);
    await rawOpen(proxy.url).catch(() => undefined);
    expect(times(a, 'initialize') + times(b, 'initialize')).toBeGreaterThan(0);
    await until('nothing is left behind', () => held(scene) === 0);
    b.after = () => false;
    for (let at = 0; at < 3; at += 1) await rawOpen(proxy.url).catch(() => undefined);
    await until('only what clients hold is left', () => a.sessions.size === 0);
  });
});

/** Sends an `initialize` and leaves when `leave` is called; resolves when it has left. */
function leaver(url: string) {
  const leaving = new AbortController();
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };
  const answer = fetch(url, {
    method: 'POST',
    signal: leaving.signal,
    headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params }),
  });
  answer.catch(() => {});
  return async (): Promise<void> => {
    leaving.abort();
    await answer.catch(() => undefined);
  };
}

/** What came before it at this proxy has been seen. */
async function settled({ opsUrl }: TestProxy): Promise<void> {
  for (let at = 0; at < 3; at += 1) await fetch(`${opsUrl}/healthz`);
}

describe('the client has left before', () => {
  test.each([
    ['a JSON answer', answerWith],
    ['an answer in a stream', streamWith],
    ...FAILED.filter(([what]) => !what.startsWith('silence')),
  ] satisfies readonly (readonly [string, Way])[])('%s', async (_what, way) => {
    const scene = await begin();
    const { a, b, proxy } = scene;
    const waiting: (() => void)[] = [];
    for (const one of [a, b]) failOpening(one, (asked) => waiting.push(() => way(asked)));
    const leave = leaver(proxy.url);
    await until('it is being opened', () => waiting.length > 0);
    await leave();
    await settled(proxy);
    for (const one of waiting) one();
    await until('nothing is left behind', () => held(scene) === 0);
    expect(times(a, 'initialize') + times(b, 'initialize')).toBe(1);
  });

  test('the end of a stream that has answered: the session is the client’s', async () => {
    const scene = await begin();
    const { a, b, proxy } = scene;
    const waiting: (() => void)[] = [];
    for (const one of [a, b]) {
      failOpening(one, (asked) => {
        asked.response.writeHead(200, { 'content-type': 'text/event-stream' });
        asked.response.write(event(resultOf(asked)));
        waiting.push(() => asked.response.end());
      });
    }
    const leaving = new AbortController();
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };
    const answer = await fetch(proxy.url, {
      method: 'POST',
      signal: leaving.signal,
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 0, method: 'initialize', params }),
    });
    await answer.body?.getReader().read();
    leaving.abort();
    await settled(proxy);
    for (const one of waiting) one();
    const id = answer.headers.get('mcp-session-id') ?? '';
    const call = { id: 2, method: 'tools/call', params: { name: 'count' } };
    expect(await rawPost(proxy.url, call, { 'mcp-session-id': id })).toMatchObject({ status: 200 });
    expect(held(scene)).toBe(1);
  });

  test('the answer to its DELETE: the session has ended', async () => {
    const scene = await begin();
    const { a, b, proxy } = scene;
    const { id } = await rawOpen(proxy.url);
    const waiting: (() => void)[] = [];
    for (const one of [a, b]) {
      one.after = ({ what, session, response }) => {
        if (what !== 'DELETE') return false;
        waiting.push(() => {
          one.sessions.delete(session);
          response.writeHead(200).end();
        });
        return true;
      };
    }
    const leaving = new AbortController();
    const ending = rawStatus(proxy.url, 'DELETE', id, leaving.signal).catch(() => 0);
    await until('it is being ended', () => waiting.length > 0);
    leaving.abort();
    await ending;
    await settled(proxy);
    for (const one of waiting) one();
    await until('it has ended', () =>
      proxy.events.some((one) => one.type === 'session' && one.change === 'ended') ? true : undefined,
    );
    const ping = await rawPost(proxy.url, { id: 1, method: 'ping' }, { 'mcp-session-id': id });
    expect([ping.status, held(scene), proxy.events.filter(({ type }) => type === 'migration')]).toEqual([404, 0, []]);
  });
});

describe('a migration that comes to nothing, as the new home', () => {
  const told = (way: Way) => (one: Plain) => {
    one.before = (asked) => asked.what === 'notifications/initialized' && (way(asked), true);
  };
  const initialize = (result: object) => (one: Plain) =>
    failOpening(one, (asked) =>
      sayJson(asked.response, 200, { id: asked.id, result: { ...resultOf(asked).result, ...result } }),
    );

  test.each([
    ['answers notifications/initialized with 500', told(({ response }) => response.writeHead(500).end())],
    ['answers notifications/initialized with 404', told(({ response }) => response.writeHead(404).end())],
    ['breaks off at notifications/initialized', told(({ response }) => response.socket?.destroy())],
    ['speaks another version', initialize({ protocolVersion: '2025-03-26' })],
    ['lacks a capability', initialize({ capabilities: {} })],
    ...FAILED.filter(([what]) => !what.startsWith('silence')).map(
      ([what, way]) => [`fails initialize by ${what}`, (one: Plain) => failOpening(one, way)] as const,
    ),
  ] satisfies readonly (readonly [string, (one: Plain) => void])[])('%s', async (_what, spoil) => {
    const scene = await begin(['--hold-seconds', '0']);
    const { a, b, proxy } = scene;
    const { id } = await rawOpen(proxy.url);
    await rawPost(proxy.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
    const [home, other] = id.startsWith('a') ? [a, b] : [b, a];
    spoil(other);
    await home.close();
    const { status } = await rawPost(proxy.url, { id: 1, method: 'ping' }, { 'mcp-session-id': id });
    expect(status).not.toBe(200);
    expect(times(other, 'initialize')).toBeGreaterThan(0);
    await until('nothing is left behind', () => other.sessions.size === 0);
  });
});

describe('the registry', () => {
  test('cannot store a session: it is closed, and is not there when the registry is back', async () => {
    const redis = await startRedis();
    undo.push(() => redis.close());
    const scene = await begin(['--redis', redis.url]);
    const { a, b, proxy } = scene;
    const waiting: (() => void)[] = [];
    for (const one of [a, b]) failOpening(one, (asked) => waiting.push(() => answerWith(asked)));
    const opening = Array.from({ length: 5 }, () => rawOpen(proxy.url));
    await until('they are being opened', () => waiting.length === 5);
    redis.pause();
    for (const one of waiting) one();
    const statuses = (await soon('the answers', Promise.all(opening))).map(({ status }) => status);
    expect(statuses).toEqual([503, 503, 503, 503, 503]);
    redis.resume();
    await until('nothing is left behind', () => held(scene) === 0);
    const direct = new Redis(redis.url);
    undo.push(async () => direct.disconnect());
    await until('the registry has none', async () => {
      const keys = await direct.keys(`${REDIS.session('')}*`);
      const ended = await Promise.all(keys.map((key) => direct.hexists(key, 'ended')));
      const counted = await Promise.all((await direct.keys(`${REDIS.held('')}*`)).map((key) => direct.zcard(key)));
      return [...ended.map((one) => one === 1), ...counted.map((one) => one === 0)].every(Boolean);
    });
  });
});
