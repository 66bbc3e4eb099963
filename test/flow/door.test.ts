/** What is turned away at the door: malformed, too large, from the wrong place; no backend hears of it. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startEdge } from '../house/edge.ts';
import { DISGUISED, KEPT, type RawAnswer, post, request, said } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge({ flags: ['--max-body', '1000', '--passthrough', 'off'] });
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

async function ask(text: string): Promise<RawAnswer> {
  const client = await edge.dial();
  const answer = await client.send(text).answer();
  client.leave();
  return answer;
}
async function refused(text: string): Promise<string> {
  const before = edge.a.requests.length;
  const answer = await ask(text);
  expect(edge.a.requests.length).toBe(before);
  return said(answer);
}

describe('a body that is', () => {
  test.each(['{"jsonrpc"', '', '\uFFFD', 'undefined', '{"a":1}}'])('not JSON: %j', async (body) => {
    expect(await refused(post(body))).toBe('400 -32700: Parse error: the body is not JSON');
  });

  test.each([
    {},
    [],
    null,
    1,
    '"text"',
    { jsonrpc: '1.0', id: 1, method: 'ping' },
    { jsonrpc: '2.0', id: null, method: 'ping' },
    { jsonrpc: '2.0', id: {}, method: 'ping' },
    { jsonrpc: '2.0', id: 1 },
    { jsonrpc: '2.0', id: 1, method: 7 },
    [call(1), 'x'],
  ])('not JSON-RPC: %j', async (body) => {
    expect(await refused(post(body))).toBe('400 -32600: Invalid Request: the body is not a JSON-RPC message');
  });

  test('an initialize in a batch', async () => {
    const batch = [{ jsonrpc: '2.0', id: 1, method: 'initialize', params: {} }, call(2)];
    expect(await refused(post(batch))).toBe('400 -32600: Invalid Request: initialize must stand alone');
  });

  test.each(['text/plain', 'application/jsonp', 'text/json', 'multipart/form-data'])('called %s', async (type) => {
    const text = post(call(1), `Content-Type: ${type}`);
    expect(await refused(text)).toBe('415 -32000: Content-Type must be application/json');
  });

  test('called nothing', async () => {
    const body = JSON.stringify(call(1));
    const text = `${request('POST /mcp', [`Content-Length: ${body.length}`])}${body}`;
    expect(await refused(text)).toBe('415 -32000: Content-Type must be application/json');
  });

  test('encoded', async () => {
    const text = post(call(1), 'Content-Encoding: gzip');
    expect(await refused(text)).toBe('415 -32000: Unsupported Content-Encoding: the body must be sent as it is');
  });

  test('JSON by another spelling of the type passes', async () => {
    const client = await edge.dial();
    client.send(post(call(1), 'CONTENT-TYPE: Application/JSON ; charset=UTF-8'));
    (await edge.a.next()).answer(200, result(1));
    expect((await client.answer()).status).toBe(200);
  });
});

describe('over the limit', () => {
  const TOO_LARGE = '413 -32000: Payload too large';

  test('by its length: refused before any of it was sent, and the connection closes', async () => {
    const client = await edge.dial();
    client.send(request('POST /mcp', ['Content-Type: application/json', 'Content-Length: 1001']));
    expect(said(await client.answer())).toBe(TOO_LARGE);
    expect((await client.last()).toLowerCase()).toContain('\r\nconnection: close\r\n');
  });

  test('in chunks: refused as soon as it is over, and the connection closes', async () => {
    const client = await edge.dial();
    client.send(request('POST /mcp', ['Content-Type: application/json', 'Transfer-Encoding: chunked']));
    const chunk = `1f4\r\n${'x'.repeat(500)}\r\n`;
    client.send(chunk + chunk + chunk);
    expect(said(await client.answer())).toBe(TOO_LARGE);
    expect((await client.last()).toLowerCase()).toContain('\r\nconnection: close\r\n');
  });

  test('a client that reads nothing before it has sent all reads the answer all the same', async () => {
    const client = await edge.dial();
    client.pause();
    client.send(request('POST /mcp', ['Content-Type: application/json', 'Content-Length: 8000000']));
    await client.sendAll('x'.repeat(8_000_000));
    client.resume();
    expect(said(await client.answer())).toBe(TOO_LARGE);
  });

  test('at the limit it passes', async () => {
    const client = await edge.dial();
    const body = { ...call(1), params: { name: '' } };
    const name = 'x'.repeat(1000 - JSON.stringify(body).length);
    client.send(post({ ...body, params: { name } }));
    const it = await edge.a.next();
    it.answer(200, result(1));
    expect([it.body.length, (await client.answer()).status]).toEqual([1000, 200]);
  });
});

describe('a session id', () => {
  const BAD = '400 -32600: Mcp-Session-Id must be visible ASCII characters';
  test.each([
    ['with a blank', 'a b'],
    ['with a tab', 'a\tb'],
    ['outside ASCII', 'caf\u00E9'],
    ['empty', ''],
    ['too long', 'x'.repeat(48 * 1024 + 1)],
  ])('%s', async (_what, id) => {
    for (const line of ['POST /mcp', 'GET /mcp', 'DELETE /mcp']) {
      const body = line.startsWith('POST') ? call(1) : undefined;
      expect(await refused(request(line, [`Mcp-Session-Id: ${id}`], body))).toBe(BAD);
    }
  });

  test('twice', async () => {
    expect(await refused(post(call(1), 'Mcp-Session-Id: one', 'Mcp-Session-Id: two'))).toBe(BAD);
  });

  test('that nobody knows: 404', async () => {
    expect(await refused(post(call(1), 'Mcp-Session-Id: nobody'))).toMatch(/^404 -32001: /);
  });
});

test.each(['PUT', 'PATCH', 'TRACE', 'PROPFIND'])('%s is not allowed', async (method) => {
  const answer = await ask(request(`${method} /mcp`));
  expect(said(answer)).toBe('405 -32000: Method not allowed');
  expect(answer.head.toLowerCase()).toContain('\r\nallow: get, post, delete, options, head');
});

test.each(['/', '/mcp2', '/mcp/x', '/metrics', '/readyz', '//mcp', '/%6dcp', '/mcp%2f', '/x/../mcp'])(
  'the path %s is not ours',
  async (path) => {
    expect(await refused(request(`POST ${path}`, [], call(1)))).toBe('404 -32000: Not found');
  },
);

test.each(['http://[/mcp', 'http://localhost:x/mcp', 'mcp', '*', 'http:///mcp'])(
  'the target %s is nowhere',
  async (target) => {
    expect((await ask(request(`POST ${target}`, [], call(1)))).status).toBeOneOf([400, 404]);
  },
);

test.each([
  ['/mcp?a=1&b=%20', '/mcp?a=1&b=%20'],
  ['/mcp/', '/mcp/'],
  ['http://localhost/mcp?x=/mcp2', '/mcp?x=/mcp2'],
])('the target %s is asked for as %s', async (target, asked) => {
  const client = await edge.dial();
  client.send(request(`POST ${target}`, [], call(1)));
  const it = await edge.a.next();
  it.answer(200, result(1));
  expect(it.line).toBe(`POST ${asked} HTTP/1.1`);
  expect((await client.answer()).status).toBe(200);
});

describe('Host and Origin', () => {
  const FORBIDDEN = '403 -32000: Forbidden: this Host or Origin is not allowed';
  const from = (host: string, ...fields: string[]): string =>
    post(call(1), ...fields).replace('host: localhost', `host: ${host}`);

  test.each(['evil.test', 'evil.test:80', 'localhost.evil.test', '127.0.0.1.evil.test', 'user@localhost', ''])(
    'Host %j is turned away',
    async (host) => {
      expect(await refused(from(host))).toBe(FORBIDDEN);
    },
  );

  test.each(['http://evil.test', 'null', 'http://localhost.evil.test', 'file://', 'http://localhost@evil.test'])(
    'Origin %j is turned away',
    async (origin) => {
      expect(await refused(from('localhost', `Origin: ${origin}`))).toBe(FORBIDDEN);
    },
  );

  test.each(['http://localhost:5173', 'http://127.0.0.1', 'http://[::1]:3000'])('Origin %j enters', async (origin) => {
    const client = await edge.dial();
    client.send(from('127.0.0.1:1234', `Origin: ${origin}`));
    const it = await edge.a.next();
    it.answer(200, result(1));
    expect([it.all('x-forwarded-host'), it.all('origin')]).toEqual([['127.0.0.1:1234'], [origin]]);
    expect((await client.answer()).status).toBe(200);
  });
});

test.each(['gzip, chunked', 'x, chunked', 'xchunked'])('a body in the transfer coding %s: 501', async (coding) => {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  client.send(request('POST /mcp', ['Content-Type: application/json', `Transfer-Encoding: ${coding}`]));
  expect(said(await client.answer())).toBe('501 -32000: Unsupported Transfer-Encoding: only chunked is taken');
  expect(edge.a.requests.length).toBe(before);
});

test('nor by fields that CGI and WSGI read as such', async () => {
  const client = await edge.dial();
  client.send(post(call(1), ...DISGUISED, ...KEPT));
  const it = await edge.a.next();
  it.answer(200, result(1));
  await client.answer();
  expect(it.fields.filter(([name]) => /[^a-z\d-]/i.test(name)).map((field) => field.join(': '))).toEqual(KEPT);
});

test('a client cannot speak in our name: its Mcp-Affinity-* fields are dropped', async () => {
  const client = await edge.dial();
  client.send(
    post(
      call(1),
      'Mcp-Affinity-Session: stolen',
      'mcp-affinity-previous: x',
      'MCP-AFFINITY-NEW: y',
      'Mcp-Affinity-Backend: b',
      'Mcp-Affinity-Stay: 1',
      'X-Own: z',
    ),
  );
  const it = await edge.a.next();
  it.answer(200, result(1));
  await client.answer();
  expect(it.fields.filter(([name]) => /^mcp-affinity/i.test(name))).toEqual([
    ['mcp-affinity-backend', new URL(edge.a.origin).host],
    ['mcp-affinity-via', expect.stringMatching(/^[\da-f-]{36}$/)],
  ]);
  expect(it.all('x-own')).toEqual(['z']);
});
