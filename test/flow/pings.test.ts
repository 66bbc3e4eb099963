/** A ping before a call that must not run twice: what it proves, what it must not do, and how seldom it is sent. */

import { afterEach, describe, expect, test, vi } from 'vitest';
import { rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly all: readonly Plain[]; readonly proxy: TestProxy };

async function begin(names: readonly string[] = ['a']): Promise<Scene> {
  const all = await Promise.all(names.map(startPlain));
  undo.push(...all.map((one) => () => one.close()));
  const proxy = await startProxy(
    all.map(({ origin }) => origin),
    [],
  );
  undo.push(() => proxy.stop());
  return { all, proxy };
}

async function open({ proxy }: Scene) {
  const { id } = await rawOpen(proxy.url);
  const post = (message: object) => rawPost(proxy.url, message, { 'mcp-session-id': id });
  await post({ method: 'notifications/initialized' });
  const call = (name: string) => post({ id: 2, method: 'tools/call', params: { name } });
  return { id, call, count: async () => textOf((await call('count')).message) };
}

function textOf(message: unknown): string {
  return /"text":"(?<text>[^"]*)"/.exec(JSON.stringify(message))?.groups?.['text'] ?? JSON.stringify(message);
}

/** The backends close all connections and keep their sessions: the proxy cannot know that they were not restarted. */
async function disconnect({ all, proxy }: Scene): Promise<void> {
  for (const one of all) {
    const kept = [...one.sessions];
    await one.restart();
    for (const [id, counted] of kept) one.sessions.set(id, counted);
  }
  await fetch(`${proxy.opsUrl}/healthz`);
}

const migrations = ({ proxy }: Scene) =>
  proxy.events.flatMap((event) => (event.type === 'migration' ? [`${event.reason} ${event.outcome}`] : []));
const times = ({ all }: Scene, what: string) => all.flatMap(({ asked }) => asked).filter((one) => one === what).length;

describe('a home that drains, and marks its answers', () => {
  const drains =
    (since: { readonly begun: boolean }) =>
    ({ request, response, known }: Asked): boolean => {
      if (!since.begun || !known || request.headers['mcp-affinity-stay'] !== undefined) return false;
      response.setHeader('mcp-affinity-mark', 'draining');
      sayJson(response, 421, { id: null, error: { code: -32_000, message: 'This backend is draining' } });
      return true;
    };

  test('keeps its sessions where no other backend is left', async () => {
    const scene = await begin();
    const { count } = await open(scene);
    const since = { begun: false };
    scene.all[0]!.before = drains(since);
    const counted = [await count()];
    since.begun = true;
    for (let at = 0; at < 2; at += 1) {
      await disconnect(scene);
      counted.push(await count());
    }
    expect([counted, migrations(scene), times(scene, 'initialize')]).toEqual([['a1', 'a2', 'a3'], [], 1]);
  });

  test('loses its sessions to another backend because it drains, not because it has forgotten them', async () => {
    const scene = await begin(['a', 'b']);
    const { count } = await open(scene);
    const home = scene.all.find(({ sessions }) => sessions.size > 0);
    await disconnect(scene);
    home!.before = drains({ begun: true });
    await count();
    expect(migrations(scene)).toEqual(['drain migrated']);
  });
});

describe('a home that has dropped a session, and says so in words of its own', () => {
  test('is asked although its client calls all the time', async () => {
    // What is said within a second of an answer that confirmed the session need not be doubted.
    let now = Date.now();
    vi.spyOn(Date, 'now').mockImplementation(() => now);
    undo.push(async () => vi.restoreAllMocks());
    const scene = await begin();
    const [a] = scene.all;
    a!.unknown = ({ response }) =>
      sayJson(response, 200, { id: null, error: { code: -32_600, message: 'Invalid Request' } });
    const { call } = await open(scene);
    await call('count');
    a!.sessions.clear();
    for (let at = 0; at < 3; at += 1) {
      now += 600;
      await call('read');
    }
    expect(migrations(scene)).toEqual(['lost migrated']);
  });

  test('is asked before the next call that must not run twice', async () => {
    const scene = await begin();
    const [a] = scene.all;
    const { call, count } = await open(scene);
    await count();
    a!.after = ({ what, session, response }) =>
      what === 'log out' && (a!.sessions.delete(session), sayText(response, 502, 'Good bye'), true);
    await call('log out');
    expect(await count()).toBe('a1');
    expect(times(scene, 'log out')).toBe(1);
  });
});

describe('a server that does not end its streams', () => {
  const answerWithoutEnd = ({ response, id }: Asked, result: object) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`);
    return true;
  };

  test('answers a ping all the same', async () => {
    const scene = await begin();
    const { call } = await open(scene);
    scene.all[0]!.before = (asked) => asked.what === 'ping' && answerWithoutEnd(asked, {});
    await disconnect(scene);
    const start = performance.now();
    expect((await call('count')).status).toBe(200);
    expect(performance.now() - start).toBeLessThan(3000);
    expect(times(scene, 'ping')).toBe(1);
  });

  test('can become the new home', async () => {
    const scene = await begin();
    const { count } = await open(scene);
    await scene.all[0]!.restart();
    const result = {
      protocolVersion: '2025-11-25',
      capabilities: { tools: {} },
      serverInfo: { name: 'x', version: '1' },
    };
    scene.all[0]!.after = (asked) => asked.what === 'initialize' && answerWithoutEnd(asked, result);
    expect(await count()).toBe('a1');
    expect(migrations(scene)).toEqual(['lost migrated']);
  });
});

describe('a server that does not know the method `ping`', () => {
  test.each<readonly [string, Plain['before']]>([
    ['404 in words of its own', ({ response }) => (sayText(response, 404, 'Unknown method', 'text/plain'), true)],
    [
      '400 in words of its own',
      ({ response }) => (sayText(response, 400, '{"error":"ping?"}', 'application/json'), true),
    ],
    [
      '200 with an error of its own',
      ({ response, id }) => (sayJson(response, 200, { id, error: { code: -32_000, message: 'Unsupported' } }), true),
    ],
    [
      '404 and -32601',
      ({ response, id }) => (sayJson(response, 404, { id, error: { code: -32_601, message: 'No such method' } }), true),
    ],
  ])('keeps its sessions, and loses those that it has dropped: %s', async (_what, say) => {
    const scene = await begin();
    const [a] = scene.all;
    a!.before = (asked) => asked.what === 'ping' && say(asked);
    const { count } = await open(scene);
    const counted: string[] = [];
    for (let at = 0; at < 3; at += 1) {
      await disconnect(scene);
      counted.push(await count());
    }
    expect([counted, migrations(scene)]).toEqual([['a1', 'a2', 'a3'], []]);
    // Its pings are not sent for nothing again.
    expect(times(scene, 'ping')).toBeLessThanOrEqual(3);
  });

  test('has its lost sessions healed', async () => {
    const scene = await begin();
    const [a] = scene.all;
    a!.before = ({ what, response }) => what === 'ping' && (sayText(response, 404, 'Unknown method'), true);
    const { call, count } = await open(scene);
    await disconnect(scene);
    await count();
    await a!.restart();
    await call('read');
    expect([await count(), migrations(scene)]).toEqual(['a1', ['lost migrated']]);
  });
});

describe('a server that lets pings wait', () => {
  test('keeps one call waiting for a moment, and no other', async () => {
    const scene = await begin();
    scene.all[0]!.before = ({ what }) => what === 'ping';
    const { count } = await open(scene);
    const start = performance.now();
    const counted: string[] = [];
    for (let at = 0; at < 3; at += 1) {
      await disconnect(scene);
      counted.push(await count());
    }
    expect([counted, migrations(scene)]).toEqual([['a1', 'a2', 'a3'], []]);
    // The one whose connection broke is sent again.
    expect(times(scene, 'ping')).toBeLessThanOrEqual(2);
    expect(performance.now() - start).toBeLessThan(4000);
  });
});

describe('a server that ends each connection with its answer', () => {
  const endsConnections: Plain['before'] = ({ response }) => {
    response.setHeader('connection', 'close');
    return false;
  };

  test('is asked once before each call that must not run twice, for it may have been restarted', async () => {
    const scene = await begin();
    const [a] = scene.all;
    a!.before = endsConnections;
    const { count } = await open(scene);
    expect([await count(), await count(), times(scene, 'ping')]).toEqual(['a1', 'a2', 2]);
    await a!.restart();
    expect([await count(), migrations(scene)]).toEqual(['a1', ['lost migrated']]);
  });
});

test('a call follows the id that its home has given the session with the answer to the ping', async () => {
  const scene = await begin();
  const [a] = scene.all;
  const { count } = await open(scene);
  let given = 0;
  a!.after = ({ session, response }) => {
    const next = `r-${(given += 1)}`;
    a!.sessions.set(next, a!.sessions.get(session) ?? 0);
    a!.sessions.delete(session);
    response.setHeader('mcp-session-id', next);
    return false;
  };
  const counted: string[] = [];
  for (let at = 0; at < 3; at += 1) {
    await disconnect(scene);
    counted.push(await count());
  }
  expect([counted, migrations(scene)]).toEqual([['a1', 'a2', 'a3'], []]);
  expect(times(scene, 'ping')).toBeGreaterThan(0);
});

describe('no ping is sent for nothing', () => {
  const calls = async (scene: Scene, status: number | undefined, around: (id: string) => Promise<unknown>) => {
    scene.all[0]!.before = ({ what, response }) =>
      status !== undefined && what === 'GET' && (sayText(response, status, 'no'), true);
    const { id, call } = await open(scene);
    for (let at = 0; at < 3; at += 1) {
      await around(id);
      await call('count');
    }
    return times(scene, 'ping');
  };

  test.each([405, 400, 501])('where the server has no listening stream and says so by %s', async (status) => {
    const scene = await begin();
    expect(await calls(scene, status, (id) => rawStatus(scene.proxy.url, 'GET', id))).toBe(0);
  });

  test('beyond the one that a 404 to the first GET is worth', async () => {
    const scene = await begin();
    expect(await calls(scene, 404, (id) => rawStatus(scene.proxy.url, 'GET', id))).toBe(1);
  });

  test('where a client leaves its listening stream, and calls', async () => {
    const scene = await begin();
    const leave = async (id: string) => {
      const leaving = new AbortController();
      await rawStatus(scene.proxy.url, 'GET', id, leaving.signal);
      const left = scene.proxy.events.length;
      leaving.abort();
      await until('the stream is over', () => scene.proxy.events.slice(left).some(({ type }) => type === 'stream'));
    };
    expect(await calls(scene, undefined, leave)).toBe(0);
  });
});
