/** A migration needs evidence that the home has lost the session; an exchange causes one at most; nothing runs twice. */

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterEach, describe, expect, test } from 'vitest';
import { rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly all: readonly Plain[]; readonly proxy: TestProxy };

async function begin(names: readonly string[] = ['a'], flags: readonly string[] = []): Promise<Scene> {
  const all = await Promise.all(names.map(startPlain));
  undo.push(...all.map((one) => () => one.close()));
  const proxy = await startProxy(
    all.map(({ origin }) => origin),
    flags,
  );
  undo.push(() => proxy.stop());
  return { all, proxy };
}

/** A raw client that has opened, initialized and listed the tools. */
async function open({ proxy }: Scene) {
  const { id } = await rawOpen(proxy.url);
  const session = { 'mcp-session-id': id };
  const post = (message: object) => rawPost(proxy.url, message, session);
  await post({ method: 'notifications/initialized' });
  await post({ id: 1, method: 'tools/list' });
  return { id, post, call: (name: string) => post({ id: 2, method: 'tools/call', params: { name } }) };
}

const migrations = ({ proxy }: Scene) => proxy.events.filter(({ type }) => type === 'migration').length;
const times = ({ all }: Scene, what: string) => all.flatMap(({ asked }) => asked).filter((one) => one === what).length;
const notFound = ({ response }: Asked) => sayText(response, 404, 'Cannot GET /mcp');

describe('a server that has no listening stream', () => {
  test.each([
    ['404 in HTML', notFound],
    [
      '404 in JSON',
      ({ response }: Asked) => sayJson(response, 404, { id: null, error: { code: -32_000, message: 'x' } }),
    ],
    ['404 that says "Session not found"', ({ response }: Asked) => sayText(response, 404, 'Session not found')],
    ['405', ({ response }: Asked) => sayText(response, 405, 'Method Not Allowed')],
    ['400', ({ response }: Asked) => sayText(response, 400, 'Bad Request')],
    ['501', ({ response }: Asked) => sayText(response, 501, 'Not Implemented')],
  ])('keeps its sessions, as it does directly: GET answered %s', async (_what, say) => {
    const scene = await begin(['a', 'b']);
    for (const one of scene.all) one.before = (asked) => asked.what === 'GET' && (say(asked), true);
    const client = new Client({ name: 'test', version: '1' });
    const transport = new StreamableHTTPClientTransport(new URL(scene.proxy.url));
    undo.push(() => client.close());
    await client.connect(transport).catch(() => {});
    await until('it was asked for the stream', () => times(scene, 'GET') > 0);
    const counted: string[] = [];
    for (let at = 0; at < 3; at += 1) {
      const { content } = CallToolResultSchema.parse(await client.callTool({ name: 'count' }));
      counted.push(content[0]?.type === 'text' ? content[0].text : '');
    }
    const [home] = counted[0] ?? '';
    expect(counted).toEqual([1, 2, 3].map((number) => `${home}${number}`));
    expect([times(scene, 'initialize'), migrations(scene)]).toEqual([1, 0]);
  });

  test('its 404 is doubted once', async () => {
    const scene = await begin();
    scene.all[0]!.before = (asked) => asked.what === 'GET' && (notFound(asked), true);
    const { id } = await open(scene);
    const statuses = [await rawStatus(scene.proxy.url, 'GET', id), await rawStatus(scene.proxy.url, 'GET', id)];
    expect(statuses).toEqual([404, 404]);
    expect([times(scene, 'GET'), times(scene, 'ping'), times(scene, 'initialize')]).toEqual([2, 1, 1]);
  });
});

const SAID: readonly (readonly [string, (asked: Asked) => void])[] = [
  [
    '404 in JSON',
    ({ response }) => response.writeHead(404, { 'content-type': 'application/json' }).end('{"detail":"x"}'),
  ],
  ['404 of an ingress', ({ response }) => sayText(response, 404, '<html>404 page not found</html>')],
  ['404 without a body', ({ response }) => response.writeHead(404).end()],
  [
    '404 "Session not found"',
    ({ response, id }) => sayJson(response, 404, { id, error: { code: -32_001, message: 'Session not found' } }),
  ],
  [
    '400 in the words of an unknown session',
    ({ response, id }) =>
      sayJson(response, 400, { id, error: { code: -32_000, message: 'Bad Request: No valid session ID provided' } }),
  ],
  [
    '200 with such an error',
    ({ response, id }) => sayJson(response, 200, { id, error: { code: -32_000, message: 'Unknown session' } }),
  ],
  ['410', ({ response }) => sayText(response, 410, 'Gone')],
  ['401 that names the session', ({ response }) => sayText(response, 401, 'Unauthorized: Session not found')],
  ['500', ({ response }) => sayText(response, 500, 'Internal error')],
  ['503 that names the session', ({ response }) => sayText(response, 503, 'MCP session is unknown on this instance')],
  [
    'an event with such an error',
    ({ response, id }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(
        `data: ${JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32_004, message: 'Unknown session' } })}\n\n`,
      );
    },
  ],
];

describe('a tool that answers with', () => {
  test.each(SAID)('%s has run once, and its answer is the client’s', async (_what, say) => {
    const scene = await begin(['a', 'b']);
    for (const one of scene.all) one.after = (asked) => asked.what === 'count' && (say(asked), true);
    const { call } = await open(scene);
    const seen = await call('count');
    expect([seen.status, times(scene, 'count'), times(scene, 'initialize'), migrations(scene)]).toEqual([
      seen.status,
      1,
      1,
      0,
    ]);
    expect(JSON.stringify(seen.message ?? '')).not.toContain('the outcome is unknown');
  });

  test.each(SAID)('%s, having ended its own session, has run once', async (_what, say) => {
    const scene = await begin(['a', 'b']);
    for (const one of scene.all) {
      one.after = (asked) => asked.what === 'log out' && (one.sessions.delete(asked.session), say(asked), true);
    }
    const { call } = await open(scene);
    await call('log out');
    expect([times(scene, 'log out'), times(scene, 'initialize') <= 2]).toEqual([1, true]);
  });
});

describe('a home that was restarted says', () => {
  test.each([
    ...SAID.filter(([what]) => what !== '500'),
    [
      '200 with -32600 and no id',
      ({ response }: Asked) =>
        sayJson(response, 200, { id: null, error: { code: -32_600, message: 'Invalid Request' } }),
    ],
    [
      '400 in words of its own',
      ({ response, id }: Asked) =>
        sayJson(response, 400, { id, error: { code: -32_000, message: 'Unbekannte Sitzung' } }),
    ],
    [
      '400 and the id',
      ({ response, id, session }: Asked) =>
        sayJson(response, 400, { id, error: { code: -32_000, message: `Kennung ${session}?` } }),
    ],
    ['"Could not find session" by 400', ({ response }: Asked) => sayText(response, 400, 'Could not find session')],
    [
      'an event that is no message',
      ({ response }: Asked) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).end('data: {"error":"Session not found"}\n\n');
      },
    ],
  ] satisfies readonly (readonly [string, (asked: Asked) => void])[])('%s: the session goes on', async (_what, say) => {
    const scene = await begin();
    const [a] = scene.all;
    a!.unknown = say;
    const { call, id } = await open(scene);
    await a!.restart();
    await fetch(`${scene.proxy.opsUrl}/healthz`);
    expect(await call('read')).toMatchObject({ status: 200, message: { result: expect.anything() } });
    await a!.restart();
    await fetch(`${scene.proxy.opsUrl}/healthz`);
    expect(await call('count')).toMatchObject({ status: 200, message: { result: { content: [{ text: 'a1' }] } } });
    expect(a!.ran.filter((one) => one === 'count')).toHaveLength(1);
    expect([migrations(scene), a!.sessions.size]).toEqual([2, 1]);
    expect(await rawStatus(scene.proxy.url, 'DELETE', id)).toBe(200);
    expect(a!.sessions.size).toBe(0);
  });
});

describe('a backend that does not keep its own sessions', () => {
  test('20 clients cause at most three initializes each, and are told to start over', async () => {
    const scene = await begin();
    const [a] = scene.all;
    a!.after = ({ what, session }) => what === 'initialize' && !a!.sessions.delete(session);
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const { id } = await rawOpen(scene.proxy.url);
        return (await rawPost(scene.proxy.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id }))
          .status;
      }),
    );
    expect(new Set(statuses)).toEqual(new Set([404]));
    expect(times(scene, 'initialize')).toBeLessThanOrEqual(60);
    const lost = scene.proxy.events.filter((event) => event.type === 'session' && event.change === 'lost');
    expect(lost).toHaveLength(20);
    expect(lost[0]).toMatchObject({ cause: 'forgotten', likely: expect.stringContaining('several workers') });
  });

  test('several workers behind one address: each call is answered once or told to start over', async () => {
    const scene = await begin();
    const [a] = scene.all;
    const workers = Array.from({ length: 4 }, () => new Set<string>());
    let at = 0;
    a!.before = (asked) => {
      const worker = workers[(at += 1) % workers.length]!;
      if (asked.what === 'initialize' || worker.has(asked.session)) return false;
      if (asked.what === 'DELETE') a!.sessions.delete(asked.session);
      a!.unknown(asked);
      return true;
    };
    a!.after = ({ what, session }) => {
      if (what === 'initialize') workers[at % workers.length]!.add(session);
      return false;
    };
    const { id } = await rawOpen(scene.proxy.url);
    const statuses: number[] = [];
    for (let call = 0; call < 10; call += 1) {
      const message = { id: 2, method: 'tools/call', params: { name: 'count' } };
      statuses.push((await rawPost(scene.proxy.url, message, { 'mcp-session-id': id })).status);
    }
    expect(statuses).toContain(404);
    expect(times(scene, 'initialize')).toBeLessThanOrEqual(3);
    // Each that was opened is closed, whichever of them the DELETE reaches.
    await until('nothing is left behind', () => a!.sessions.size === 0);
  });
});
