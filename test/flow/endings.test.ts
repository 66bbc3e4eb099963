/** A session that its client ends is not lost: its calls end as they do directly, and nothing migrates or runs again. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { POSTED, rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis, untilPeers } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

let redis: TestRedis;
const proxies: TestProxy[] = [];
const all: Plain[] = [];

beforeAll(async () => {
  redis = await startRedis();
  all.push(await startPlain('a'), await startPlain('b'));
  const origins = all.map(({ origin }) => origin);
  for (let at = 0; at < 2; at += 1) {
    proxies.push(await startProxy(origins, [`--redis=${redis.url}`, '--hold-seconds', '2']));
  }
  await untilPeers(redis, 2);
});
let seen: readonly number[] = [];
afterEach(() => {
  for (const one of all) {
    one.before = () => false;
    one.after = () => false;
    one.asked.length = 0;
    one.sessions.clear();
  }
  seen = proxies.map(({ events }) => events.length);
});
afterAll(async () => {
  for (const one of proxies) await one.stop();
  for (const one of all) await one.close();
  await redis.close();
});

/** What was recorded in this test that must not have been. */
function trouble(): readonly string[] {
  const bad = new Set(['migration', 'replay', 'suspect', 'fault']);
  return proxies.flatMap((proxy, at) =>
    proxy.events
      .slice(seen[at])
      .flatMap((event) =>
        bad.has(event.type) || (event.type === 'session' && event.change === 'lost') ? [event.type] : [],
      ),
  );
}

/** Where the registry was away a moment ago, the first tries are refused. */
async function open(url: string): Promise<string> {
  const id = await until('a session is opened', async () => (await rawOpen(url)).id || undefined);
  await rawPost(url, { method: 'notifications/initialized' }, { 'mcp-session-id': id });
  await rawPost(url, { id: 1, method: 'tools/list' }, { 'mcp-session-id': id });
  return id;
}

/** What a client sees of a call: the status and the messages, or that its connection broke, and when. */
async function callSeen(url: string, id: string, name: string): Promise<string> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { ...POSTED, 'mcp-session-id': id },
      body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name } }),
    });
    try {
      const text = await answer.text();
      const said = [...text.matchAll(/"(result|error)"|"message":"[^"]*"/g)].map(([word]) => word);
      return `${answer.status} ${said.join(' ')}`.trim();
    } catch {
      return `${answer.status} cut`;
    }
  } catch {
    return 'cut';
  }
}

/** How a client's listening stream ends. */
async function listenSeen(url: string, id: string): Promise<{ status: number; end: Promise<string> }> {
  const answer = await fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
  return {
    status: answer.status,
    end: answer.text().then(
      (text) => (text.includes('data:') ? text : 'ended'),
      () => 'ended',
    ),
  };
}

type Way = (asked: Asked) => void;
/** How a call runs, and how it is ended with its session. */
const CALLS = {
  'JSON, cut before its head': { begin: () => {}, end: ({ response }) => response.socket?.destroy() },
  'JSON, cut after its head': {
    begin: ({ response }) =>
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': 99 }).flushHeaders(),
    end: ({ response }) => response.socket?.destroy(),
  },
  'a stream that ends': {
    begin: ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hi\n\n'),
    end: ({ response }) => response.end(),
  },
  'a stream that is cut': {
    begin: ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hi\n\n'),
    end: ({ response }) => response.socket?.destroy(),
  },
  'an answer of its own': {
    begin: () => {},
    end: ({ response, id }) => sayJson(response, 200, { id, error: { code: -32_000, message: 'Session closed' } }),
  },
  '404 as its answer': {
    begin: () => {},
    end: ({ response, id }) => sayJson(response, 404, { id, error: { code: -32_001, message: 'Session not found' } }),
  },
  'an event that says so': {
    begin: ({ response }) => response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hi\n\n'),
    end: ({ response, id }) =>
      response.end(
        `data: ${JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32_000, message: 'Session closed' } })}\n\n`,
      ),
  },
} satisfies Record<string, { begin: Way; end: Way }>;

/** Milliseconds that a server takes to answer a DELETE, or to end what runs after it. */
const TAKES = 150;

/** Runs calls at `url`, ends the session at `endUrl`, and says what the client saw. */
async function scene(how: { begin: Way; end: Way }, first: 'calls' | 'DELETE', url: string, endUrl: string) {
  const id = await open(url);
  const home = all.find(({ sessions }) => sessions.has(id))!;
  const running: Asked[] = [];
  for (const one of all) {
    one.after = (asked) => {
      if (asked.what === 'count' || asked.what === 'read') {
        running.push(asked);
        how.begin(asked);
        return true;
      }
      if (asked.what !== 'DELETE') return false;
      const endCalls = (): void => {
        running.forEach((call) => how.end(call));
        for (const stream of one.streams) if (stream.session === id) stream.response.end();
      };
      const answer = (): void => void asked.response.writeHead(200).end();
      one.sessions.delete(asked.session);
      if (first === 'calls') endCalls();
      else answer();
      setTimeout(first === 'calls' ? answer : endCalls, TAKES);
      return true;
    };
  }
  const calls = [callSeen(url, id, 'count'), callSeen(url, id, 'read')];
  await until('both run', () => running.length === 2);
  const stream = await listenSeen(url, id);
  const status = await rawStatus(endUrl, 'DELETE', id);
  const [unsafe, safe] = await soon('the calls', Promise.all(calls));
  const listened = `${stream.status} ${await soon('the end of the stream', stream.end)}`;
  const ran = all.flatMap((one) => one.ran.splice(0)).filter((one) => one === 'count' || one === 'read');
  const opened = all.flatMap(({ asked }) => asked.splice(0)).filter((one) => one === 'initialize').length;
  return { status, unsafe, safe, listened, ran: ran.length, opened, left: home.sessions.size };
}

const asDirectly = (what: string): string =>
  what === 'cut' || what === '200 cut' ? '404 "error" "message":"Session not found"' : what;

describe('calls run when their session is ended', () => {
  const ways = Object.entries(CALLS).flatMap(([what, how]) =>
    (['calls', 'DELETE'] as const).flatMap((first) =>
      ([0, 1] as const).map((other) => [what, first, other, how] as const),
    ),
  );
  test.each(ways)('%s: the server ends the %s first; the DELETE at proxy %i', async (what, first, other, how) => {
    const direct = await scene(how, first, `${all[0]!.origin}/mcp`, `${all[0]!.origin}/mcp`);
    const proxied = await scene(how, first, proxies[0]!.url, proxies[other]!.url);
    // A connection that is cut where the client has seen nothing: the session is not there any more.
    const expected = what.startsWith('JSON')
      ? { ...direct, unsafe: asDirectly(direct.unsafe!), safe: asDirectly(direct.safe!) }
      : { ...direct, unsafe: direct.unsafe!.replace(' cut', ''), safe: direct.safe!.replace(' cut', '') };
    expect(proxied).toEqual(expected);
    expect(proxied).toMatchObject({ status: 200, ran: 2, opened: 1, left: 0 });
    expect(trouble()).toEqual([]);
  });

  test('a call that comes while it is being ended is told so, and moves nothing', async () => {
    const id = await open(proxies[0]!.url);
    const waiting: (() => void)[] = [];
    for (const one of all) {
      one.after = (asked) => {
        if (asked.what !== 'DELETE') return false;
        one.sessions.delete(asked.session);
        waiting.push(() => asked.response.writeHead(200).end());
        return true;
      };
    }
    const ending = rawStatus(proxies[0]!.url, 'DELETE', id);
    await until('it is being ended', () => waiting.length > 0);
    const late = await Promise.all(
      proxies.flatMap(({ url }) => [callSeen(url, id, 'count'), callSeen(url, id, 'read'), rawStatus(url, 'GET', id)]),
    );
    const not = '404 "error" "message":"Session not found"';
    expect(late).toEqual([not, not, 404, not, not, 404]);
    for (const one of waiting) one();
    expect(await ending).toBe(200);
    expect([trouble(), all.reduce((sum, { sessions }) => sum + sessions.size, 0)]).toEqual([[], 0]);
  });
});

const unknownHere: Way = ({ response, id }) =>
  sayJson(response, 404, { id: id ?? null, error: { code: -32_001, message: 'Session not found' } });

describe('a DELETE that is answered with', () => {
  test.each([
    ['405', 405, ({ response }) => sayText(response, 405, 'Method Not Allowed')],
    ['404 of a server that knows the session', 404, ({ response }) => sayText(response, 404, 'Cannot DELETE /mcp')],
    ['500', 500, ({ response }) => sayText(response, 500, 'oops')],
    ['501', 501, ({ response }) => sayText(response, 501, 'Not Implemented')],
    ['400', 400, ({ response }) => sayText(response, 400, 'Bad Request')],
  ] satisfies readonly (readonly [string, number, Way])[])('%s ends nothing', async (_what, status, say) => {
    const [one, other] = proxies.map(({ url }) => url);
    const id = await open(one!);
    for (const backend of all) backend.before = (asked) => asked.what === 'DELETE' && (say(asked), true);
    expect(await rawStatus(other!, 'DELETE', id)).toBe(status);
    expect([trouble(), all.flatMap(({ asked }) => asked).filter((what) => what === 'initialize')]).toEqual([
      [],
      ['initialize'],
    ]);
    // It is no session that ends: when its home forgets it, it goes on, at either proxy.
    const home = all.find(({ sessions }) => sessions.has(id))!;
    expect((await rawPing(one!, id)).status).toBe(200);
    await home.restart();
    await fetch(`${proxies[1]!.opsUrl}/healthz`);
    expect([(await rawPing(other!, id)).status, (await rawPing(one!, id)).status]).toEqual([200, 200]);
    expect(trouble().filter((what) => what !== 'replay')).toEqual(['migration']);
  });

  test('404 of a server that does not know it: it has ended', async () => {
    const [one, other] = proxies.map(({ url }) => url);
    const id = await open(one!);
    for (const backend of all) backend.sessions.clear();
    for (const backend of all) backend.unknown = unknownHere;
    expect([200, 404]).toContain(await rawStatus(other!, 'DELETE', id));
    expect(await Promise.all([rawPing(one!, id), rawPing(other!, id)])).toMatchObject([
      { status: 404 },
      { status: 404 },
    ]);
    expect(trouble()).toEqual([]);
    expect(all.reduce((sum, { sessions }) => sum + sessions.size, 0)).toBe(0);
  });

  test.each([
    ['frozen', async () => redis.pause(), async () => redis.resume()],
    ['killed', () => redis.kill9(), () => redis.start()],
  ])('200 while the registry is %s: it ends there when that is back', async (_, takeAway, bringBack) => {
    const [one] = proxies.map(({ url }) => url);
    const id = await open(one!);
    const waiting: (() => void)[] = [];
    for (const backend of all) {
      backend.after = ({ what, response, session }) => {
        if (what !== 'DELETE') return false;
        backend.sessions.delete(session);
        waiting.push(() => response.writeHead(200).end());
        return true;
      };
    }
    const ending = rawStatus(one!, 'DELETE', id);
    await until('it is being ended', () => waiting.length > 0);
    await takeAway();
    for (const answer of waiting) answer();
    expect(await ending).toBe(503);
    await bringBack();
    for (const { url } of proxies) await until('it has ended', async () => (await rawPing(url, id)).status === 404);
    expect(
      proxies.flatMap(({ events }, at) => events.slice(seen[at]).filter(({ type }) => type === 'migration')),
    ).toEqual([]);
  });

  test('nothing, as its connection breaks: it is sent again', async () => {
    const [one, other] = proxies.map(({ url }) => url);
    const id = await open(one!);
    let broken = 0;
    for (const backend of all) {
      backend.before = ({ what, response }) => {
        if (what !== 'DELETE' || broken > 0) return false;
        broken += 1;
        response.socket?.destroy();
        return true;
      };
    }
    expect(await rawStatus(other!, 'DELETE', id)).toBe(200);
    expect(all.reduce((sum, { sessions }) => sum + sessions.size, 0)).toBe(0);
    expect((await rawPing(one!, id)).status).toBe(404);
  });
});
