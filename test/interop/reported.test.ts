/** Servers that behave as their users have reported in public: what a client sees is what it sees without a proxy. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { POSTED, rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { newTable } from '../house/foreign/table.ts';
import { type Asked, type Plain, sayJson, sayText, startPlain } from '../house/plain.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

const UNKNOWN = 'Session not found';
type Make = (server: Plain) => void;
type Unknown = Plain['unknown'];

/** Answers a tool's call with an event that has this id. */
const eventWithId =
  (idOf: (id: Asked['id']) => unknown): Make =>
  (server) => {
    server.after = ({ what, id, session, response }) => {
      if (what !== 'count' && what !== 'read') return false;
      const result = { content: [{ type: 'text', text: `counted ${server.sessions.get(session) ?? 0}` }] };
      const body = {
        jsonrpc: '2.0',
        id: idOf(id),
        ...(idOf(id) === null ? { error: { code: -32_602, message: 'bad argument' } } : { result }),
      };
      response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${JSON.stringify(body)}\n\n`);
      return true;
    };
  };
const saysUnknown =
  (unknown: Unknown): Make =>
  (server) => {
    server.unknown = unknown;
  };
const eventOf =
  (said: (id: Asked['id']) => object): Unknown =>
  ({ response, id }) =>
    void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(`data: ${JSON.stringify(said(id))}\n\n`);
const withError = (id: unknown, code: number, message: string) => ({ jsonrpc: '2.0', id, error: { code, message } });

/** By what a server does, where it was reported first, and how one is made so. */
const SERVERS: Readonly<Record<string, readonly [where: string, make: Make]>> = {
  'a redirect of the endpoint, 307 to `/mcp/`': [
    'python-sdk#732',
    (server) => {
      server.before = ({ request, response }) => {
        if (request.url !== '/mcp') return false;
        response.writeHead(307, { location: `http://${request.headers.host}/mcp/` }).end();
        return true;
      };
    },
  ],
  'GET answered with 404': [
    'typescript-sdk#1635',
    (server) => {
      server.before = ({ what, response }) => what === 'GET' && (sayText(response, 404, 'Cannot GET /mcp'), true);
    },
  ],
  'an unknown session said with 401': [
    'rust-sdk#689',
    saysUnknown(({ response }) => sayText(response, 401, `Unauthorized: ${UNKNOWN}`, 'text/plain')),
  ],
  'with 401 and a challenge': [
    'mcp-proxy#108',
    saysUnknown(({ response }) => {
      response.setHeader('www-authenticate', 'Bearer error="invalid_token"');
      sayJson(response, 401, withError(null, -32_000, UNKNOWN));
    }),
  ],
  'in an event, with 200': [
    'claude-code#15011',
    saysUnknown(eventOf((id) => withError(id ?? null, -32_004, 'Unknown session'))),
  ],
  'in an event that is no JSON-RPC': ['keryx#503', saysUnknown(eventOf(() => ({ error: UNKNOWN })))],
  'with 200 and `Invalid Request`': [
    'zilla#2525',
    saysUnknown(({ response }) => sayJson(response, 200, withError(null, -32_600, 'Invalid Request'))),
  ],
  'with 503': [
    'neotoma#1923',
    saysUnknown(({ response }) =>
      sayJson(response, 503, withError(null, -32_000, 'MCP session is unknown on this API instance')),
    ),
  ],
  'with 500': [
    'frontmcp#471',
    saysUnknown(({ response }) =>
      sayJson(response, 500, withError(null, -32_000, 'Session ID is required in ensureAuthInfo')),
    ),
  ],
  'with 400, in words of its own': [
    'mcp-go',
    saysUnknown(({ response }) => sayText(response, 400, 'Could not find session 1234', 'text/plain')),
  ],
  'an id that comes back as a string': ['python-sdk#1025', eventWithId(String)],
  'an error whose id is null': ['helidon-mcp#65', eventWithId(() => null)],
  'the session id twice in one answer': [
    'agentchattr#80',
    (server) => {
      server.after = ({ what, response, session }) => {
        if (what === 'initialize') response.setHeader('mcp-session-id', [session, session]);
        return false;
      };
    },
  ],
  'one listening stream of a session, ever': [
    'csharp-sdk#1239',
    (server) => {
      server.before = (asked) => {
        if (asked.what !== 'GET' || !server.streams.some(({ session }) => session === asked.session)) return false;
        sayText(asked.response, 400, 'Session already has a stream', 'text/plain');
        return true;
      };
    },
  ],
  'a call’s stream that never ends': [
    'mcp-go',
    (server) => {
      server.after = ({ what, id, session, response }) => {
        if (what !== 'count' && what !== 'read') return false;
        const result = { content: [{ type: 'text', text: `counted ${server.sessions.get(session) ?? 0}` }] };
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        return response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`);
      };
    },
  ],
};

let redis: TestRedis;
const table = newTable('As reported', 'a server with', [
  'as directly',
  'two proxies',
  'home killed',
  'home drained',
  'restarted in place',
]);
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => {
  process.stdout.write(`\n${table.text()}\n`);
  await redis.close();
});
/** Takes what is to be undone when the test is over, the last first. */
type Later = (undo: () => Promise<void>) => void;

async function startServers(later: Later, make: Make, names: readonly string[]): Promise<readonly Plain[]> {
  const all = await Promise.all(names.map(startPlain));
  for (const one of all) {
    make(one);
    later(() => one.close());
  }
  return all;
}

async function begin(later: Later, make: Make, count: number) {
  const servers = await startServers(later, make, ['a', 'b']);
  const proxies: TestProxy[] = [];
  const origins = servers.map(({ origin }) => origin);
  while (proxies.length < count) proxies.push(await startProxy(origins, [`--redis=${redis.url}`]));
  later(async () => void (await Promise.all(proxies.map((proxy) => proxy.stop()))));
  return { servers, proxies, urls: proxies.map(({ url }) => url) };
}

/** The first event or the body of the answer to a call: some streams never end. */
async function call(url: string, id: string, name: string): Promise<string> {
  const leave = new AbortController();
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { ...POSTED, 'mcp-session-id': id },
      body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name } }),
      signal: leave.signal,
    });
    let text = '';
    for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (text.endsWith('\n\n') && text.includes('data:')) break;
    }
    const message: unknown = JSON.parse(text.replace(/^[^{]*/, ''));
    return `${answer.status} ${JSON.stringify(message).replace(/"text":"[ab](?=\d)/g, '"text":"counted ')}`;
  } finally {
    leave.abort();
  }
}

/** What a client sees of a session's first calls, each at the next of the URLs. */
async function story(
  later: Later,
  urls: readonly string[],
): Promise<{ readonly id: string; readonly seen: readonly string[] }> {
  let turn = 0;
  const next = (): string => urls[(turn += 1) % urls.length]!;
  const opened = await rawOpen(next());
  // As fetch joins a field that comes twice.
  const id = opened.id.split(', ')[0]!;
  const seen = [`${opened.status}`];
  const headers = { 'mcp-session-id': id };
  seen.push(`${(await rawPost(next(), { method: 'notifications/initialized' }, headers)).status}`);
  const leave = new AbortController();
  later(async () => leave.abort());
  seen.push(`${await rawStatus(next(), 'GET', id, leave.signal)}`);
  for (const name of ['count', 'read', 'count']) seen.push(await call(next(), id, name));
  seen.push(`${(await rawPost(next(), { id: 8, method: 'ping', params: null }, headers)).status}`);
  return { id, seen };
}

/** It has one home, and what others may have opened for it is closed. */
async function hasOneHome(servers: readonly Plain[]): Promise<void> {
  await until('there is one session', () => servers.reduce((sum, { sessions }) => sum + sessions.size, 0) === 1);
}

/** Calls at every proxy, until the session has another home; each is answered as before. */
async function goesOn(urls: readonly string[], id: string, answer: string): Promise<void> {
  for (const url of urls) expect(await call(url, id, 'read')).toBe(answer);
}

test.concurrent.for(Object.entries(SERVERS))(
  '%s',
  { timeout: 120_000 },
  async ([name, [where, make]], { onTestFinished: later }) => {
    const row = table.row(name, where);
    const [direct] = await startServers(later, make, ['a']);
    const { seen } = await story(later, [`${direct!.origin}/mcp`]);
    for (const [column, count] of [
      ['as directly', 1],
      ['two proxies', 2],
    ] as const) {
      await row.check(column, async () => {
        const { servers, urls } = await begin(later, make, count);
        expect((await story(later, urls)).seen).toEqual(seen);
        await hasOneHome(servers);
      });
    }
    const fresh = seen[4]!.replace('counted 1', 'counted 0');
    await row.check('home killed', async () => {
      const { servers, urls } = await begin(later, make, 2);
      const { id } = await story(later, urls);
      const home = servers.find(({ sessions }) => sessions.has(id))!;
      await home.close();
      home.sessions.clear();
      await goesOn(urls, id, fresh);
      await hasOneHome(servers);
    });
    await row.check('home drained', async () => {
      const { servers, proxies, urls } = await begin(later, make, 2);
      const { id } = await story(later, urls);
      const home = servers.find(({ sessions }) => sessions.has(id))!;
      const headers = { 'content-type': 'application/json' };
      const path = `/backends/${new URL(home.origin).host}/drain`;
      expect((await fetch(proxies[0]!.opsUrl + path, { method: 'POST', headers })).status).toBe(202);
      await until('it has moved', async () => {
        const answer = await call(urls[0]!, id, 'read');
        expect([fresh, seen[4]!.replace('counted 1', 'counted 2')]).toContain(answer);
        return !home.sessions.has(id);
      });
      await goesOn(urls, id, fresh);
      await hasOneHome(servers);
    });
    await row.check('restarted in place', async () => {
      const { servers, urls } = await begin(later, make, 2);
      const { id } = await story(later, urls);
      await Promise.all(servers.map((server) => server.restart()));
      await goesOn(urls, id, fresh);
      await hasOneHome(servers);
    });
  },
);

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});
