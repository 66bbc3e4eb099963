/** Session ids that are no backend's: made up by the client for servers without sessions, or changed by the home. */

import { afterEach, describe, expect, test } from 'vitest';
import { rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, sayJson, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = { readonly all: readonly Plain[]; readonly proxies: readonly TestProxy[] };

async function begin(names: readonly string[], proxies = 1): Promise<Scene> {
  const all = await Promise.all(names.map(startPlain));
  undo.push(...all.map((one) => () => one.close()));
  const redis: TestRedis | undefined = proxies > 1 ? await startRedis() : undefined;
  if (redis !== undefined) undo.push(() => redis.close());
  const origins = all.map(({ origin }) => origin);
  const flags = redis === undefined ? [] : [`--redis=${redis.url}`];
  const started: TestProxy[] = [];
  for (let at = 0; at < proxies; at += 1) {
    const proxy = await startProxy(origins, flags);
    undo.push(() => proxy.stop());
    started.push(proxy);
  }
  return { all, proxies: started };
}

const CALL = { id: 2, method: 'tools/call', params: { name: 'count' } };

describe('servers without sessions', () => {
  /** Each keeps what it likes under whatever id it is sent, and issues none. */
  async function sessionless(names: readonly string[], proxies = 1): Promise<Scene> {
    const scene = await begin(names, proxies);
    for (const [at, one] of scene.all.entries()) {
      one.before = ({ what, id, session, response }) => {
        const result =
          what === 'initialize'
            ? { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'x', version: '1' } }
            : { home: names[at], session };
        if (id === undefined) response.writeHead(202).end();
        else sayJson(response, 200, { id, result });
        return true;
      };
    }
    return scene;
  }

  test('serve a client under the id that it has made up, each id at one of them while that is there', async () => {
    const { all, proxies } = await sessionless(['a', 'b', 'c']);
    const { url } = proxies[0]!;
    await rawOpen(url);
    const homesOf = async (id: string): Promise<unknown[]> => {
      const answers = [1, 2, 3].map(() => rawPost(url, CALL, { 'mcp-session-id': id }));
      return (await Promise.all(answers)).map(({ status, message }) => [status, message]);
    };
    const homes = new Set<string>();
    for (const id of Array.from({ length: 20 }, (_, at) => `client-${at}`)) {
      const [first, ...others] = await homesOf(id);
      expect(first).toMatchObject([200, { result: { session: id } }]);
      expect(others).toEqual([first, first]);
      homes.add(JSON.stringify(first).replace(/.*"home":"(\w)".*/, '$1'));
    }
    expect(homes).toEqual(new Set(['a', 'b', 'c']));
    await all[0]!.close();
    for (const id of Array.from({ length: 20 }, (_, at) => `client-${at}`)) {
      expect((await rawPost(url, CALL, { 'mcp-session-id': id })).status).toBe(200);
    }
  });

  test('also where another proxy has learnt that they issue none', async () => {
    const { proxies } = await sessionless(['a'], 2);
    await rawOpen(proxies[0]!.url);
    const other = proxies[1]!.url;
    const served = await until('the other has heard of it', async () => {
      const answer = await rawPost(other, CALL, { 'mcp-session-id': 'client-1' });
      return answer.status === 200 && answer;
    });
    expect(served.message).toMatchObject({ result: { home: 'a', session: 'client-1' } });
  });

  test('are sent the id with initialize too, once it is known that they issue none', async () => {
    const { all, proxies } = await sessionless(['a']);
    const { url } = proxies[0]!;
    await rawOpen(url);
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } };
    const seen: string[] = [];
    const before = all[0]!.before;
    all[0]!.before = (asked) => {
      seen.push(asked.session);
      return before(asked);
    };
    const answer = await rawPost(url, { id: 0, method: 'initialize', params }, { 'mcp-session-id': 'client-1' });
    expect([answer.status, seen]).toEqual([200, ['client-1']]);
  });

  test('where they issue ids, another is not found', async () => {
    const { proxies } = await begin(['a']);
    const { url } = proxies[0]!;
    await rawOpen(url);
    expect((await rawPost(url, CALL, { 'mcp-session-id': 'client-1' })).status).toBe(404);
    expect(await rawStatus(url, 'DELETE', 'client-1')).toBe(404);
  });

  test('an initialize that fails says nothing of ids', async () => {
    const { all, proxies } = await begin(['a']);
    const { url } = proxies[0]!;
    const { id } = await rawOpen(url);
    all[0]!.before = ({ what, id: request, response }) => {
      if (what === 'initialize') sayJson(response, 200, { id: request, error: { code: -32_602, message: 'no' } });
      return what === 'initialize';
    };
    await rawOpen(url);
    expect((await rawPost(url, CALL, { 'mcp-session-id': 'client-1' })).status).toBe(404);
    expect((await rawPost(url, CALL, { 'mcp-session-id': id })).status).toBe(200);
  });
});

describe('a home that gives the session another id', () => {
  /** With each answer, and knows the last one alone. */
  async function rotating(proxies: number): Promise<Scene> {
    const scene = await begin(['a'], proxies);
    const [a] = scene.all;
    let turned = 0;
    a!.after = ({ what, id, session, response }) => {
      if (what !== 'count' && what !== 'read') return false;
      const counted = a!.sessions.get(session) ?? 0;
      const next = `turned-${(turned += 1)}`;
      a!.sessions.delete(session);
      a!.sessions.set(next, counted);
      response.setHeader('mcp-session-id', next);
      sayJson(response, 200, { id, result: { content: [{ type: 'text', text: `a${counted}` }] } });
      return true;
    };
    return scene;
  }

  test.each([1, 2])('is one session still, at %i proxies, and the client keeps its id', async (count) => {
    const { all, proxies } = await rotating(count);
    const { id } = await rawOpen(proxies[0]!.url);
    const session = { 'mcp-session-id': id };
    await rawPost(proxies[0]!.url, { method: 'notifications/initialized' }, session);
    const seen: unknown[] = [];
    for (let at = 0; at < 10; at += 1) {
      const { headers, message } = await rawPost(proxies[at % count]!.url, CALL, session);
      seen.push([headers.get('mcp-session-id'), message]);
    }
    const text = (number: number) => ({ result: { content: [{ type: 'text', text: `a${number}` }] } });
    expect(seen).toMatchObject(Array.from({ length: 10 }, (_, at) => [id, text(at + 1)]));
    expect(all[0]!.asked.filter((what) => what === 'initialize')).toHaveLength(1);
    expect(await rawStatus(proxies[0]!.url, 'DELETE', id)).toBe(200);
    expect(all[0]!.sessions.size).toBe(0);
  });
});
