/** Everything but the MCP endpoint passes as it is, to some healthy backend, and comes back as it is. */

import { createHash } from 'node:crypto';
import { Agent, type IncomingMessage, request as httpRequest } from 'node:http';
import { buffer, text } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { DISGUISED, KEPT, assertTight, dial, request, said } from '../house/raw.ts';
import { type Site, type Told, startSite } from '../house/site.ts';
import { soon, until } from '../house/until.ts';

let a: Site;
let proxy: TestProxy;
let at: string;
let port: number;
beforeAll(async () => {
  a = await startSite('a');
  proxy = await startProxy([a.origin], ['--backend-host', 'keep', '--max-body', '1000']);
  at = new URL(proxy.url).origin;
  port = Number(new URL(proxy.url).port);
});
afterAll(async () => {
  await proxy.stop();
  await a.close();
});

/** Over node:http, which shows what fetch hides. */
async function ask(
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string; agent?: Agent } = {},
): Promise<{ answer: IncomingMessage; body: Buffer }> {
  const { body, ...rest } = options;
  const asked = httpRequest(`${at}${path}`, rest).end(body);
  const answer = await soon(
    'the answer',
    new Promise<IncomingMessage>((resolve, reject) => asked.once('response', resolve).once('error', reject)),
  );
  return { answer, body: await soon('the body', buffer(answer)) };
}
async function told(path: string, headers: Record<string, string> = {}): Promise<Told> {
  return JSON.parse((await ask(path, { headers })).body.toString());
}
function values(fields: readonly string[], name: string): readonly string[] {
  return fields.filter((_value, index) => index % 2 === 1 && fields[index - 1]?.toLowerCase() === name);
}

describe('as it is', () => {
  test.each(['/json', '/json?a=1&b=%20', '/json?/mcp', '/json?x=..%2f'])('the target %s', async (target) => {
    expect(await told(target)).toMatchObject({ name: 'a', url: target });
  });

  test('a page that is not there, with the backend’s own answer', async () => {
    const { answer, body } = await ask('/nothing');
    expect([answer.statusCode, body.toString()]).toEqual([404, 'the site has no such page']);
  });

  test('a redirect and its cookies', async () => {
    const { answer } = await ask('/redirect');
    expect([answer.statusCode, answer.headers.location]).toEqual([302, 'http://inner.test:3000/next']);
    expect(answer.headers['set-cookie']).toEqual(['a=1; Domain=inner.test; Path=/x', 'b=2']);
  });

  test('a body that is gzipped', async () => {
    const { answer, body } = await ask('/gzip', { headers: { 'accept-encoding': 'gzip' } });
    expect(answer.headers).toMatchObject({ 'content-encoding': 'gzip', etag: '"1"' });
    expect(gunzipSync(body).toString()).toBe('plain');
    expect(values((await told('/json', { 'accept-encoding': 'br' })).fields, 'accept-encoding')).toEqual(['br']);
  });

  test('HEAD: the head alone', async () => {
    const { answer, body } = await ask('/gzip', { method: 'HEAD' });
    expect([answer.statusCode, answer.headers['content-length'], body.length]).toEqual([200, '25', 0]);
  });

  test.each(['OPTIONS', 'DELETE', 'PATCH', 'PROPFIND', 'PUT'])('the method %s', async (method) => {
    await ask('/any', { method });
    expect(a.asked.at(-1)).toBe(`${method} /any`);
  });

  test('Host and credentials are the client’s; fields of the connection, and ours, stay here', async () => {
    const { fields } = await told('/json', {
      host: 'localhost:1',
      authorization: 'Bearer x',
      cookie: 'a=1; b=2',
      connection: 'x-hop, x-forwarded-for, host',
      'x-hop': '1',
      te: 'trailers',
      'proxy-authorization': 'Basic x',
      'Mcp-Affinity-Session': 'stolen',
      'mcp-affinity-new': 'x',
    });
    const gone = ['x-hop', 'te', 'proxy-authorization', 'mcp-affinity-session', 'mcp-affinity-new'];
    for (const name of gone) expect(values(fields, name)).toEqual([]);
    expect(values(fields, 'host')).toEqual(['localhost:1']);
    expect(values(fields, 'authorization')).toEqual(['Bearer x']);
    expect(values(fields, 'cookie')).toEqual(['a=1; b=2']);
    expect(values(fields, 'connection')).toEqual(['keep-alive']);
    expect(values(fields, 'x-forwarded-for')).toEqual(['127.0.0.1']);
  });

  test('the way it came is told by us', async () => {
    const { fields } = await told('/json', { 'x-forwarded-for': '6.6.6.6', forwarded: 'for=6.6.6.6' });
    expect(values(fields, 'x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(values(fields, 'x-forwarded-proto')).toEqual(['http']);
    expect(values(fields, 'x-forwarded-host')).toEqual([`127.0.0.1:${port}`]);
    expect(values(fields, 'forwarded')).toEqual([`for=127.0.0.1;proto=http;host="127.0.0.1:${port}"`]);
  });

  test('the old h2c offer of Java’s clients is no upgrade', async () => {
    const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABk' };
    expect(await told('/json', headers)).toMatchObject({ name: 'a' });
    const { answer } = await ask('/mcp', { method: 'POST', headers, body: '{' });
    expect(answer.statusCode).toBe(415);
  });
});

describe('streams', () => {
  const PIECES = 512;
  const PIECE = Buffer.alloc(64 * 1024, 'u');

  test.each(['chunked', 'with its length'])(
    'an upload of 32 MiB, %s, over the limit of the MCP endpoint',
    async (how) => {
      const hash = createHash('sha256');
      const length = how === 'chunked' ? undefined : String(PIECES * PIECE.length);
      const upload = httpRequest(`${at}/upload`, {
        method: 'POST',
        headers: length === undefined ? {} : { 'content-length': length },
      });
      const answer = new Promise<IncomingMessage>((resolve, reject) =>
        upload.once('response', resolve).once('error', reject),
      );
      for (let piece = 0; piece < PIECES; piece += 1) {
        hash.update(PIECE);
        if (!upload.write(PIECE)) await soon('a drain', new Promise((resolve) => upload.once('drain', resolve)));
      }
      upload.end();
      const seen: unknown = JSON.parse(await text(await soon('the answer', answer)));
      const sha256 = hash.digest('hex');
      const framing = length === undefined ? { coding: 'chunked' } : { length };
      expect(seen).toEqual({ bytes: PIECES * PIECE.length, sha256, ...framing });
    },
  );

  test.each(['GET', 'DELETE', 'OPTIONS'])('the body of a %s keeps its framing', async (method) => {
    for (const headers of [{ 'transfer-encoding': 'chunked' }, { 'content-length': '3' }]) {
      const { body } = await ask('/upload', { method, headers, body: 'abc' });
      expect(JSON.parse(body.toString())).toMatchObject({ bytes: 3 });
    }
  });

  test('an upload begins to arrive before it is whole', async () => {
    const client = await dial(port);
    client.send(request('POST /slow', ['Content-Length: 1000000'], 'begun'));
    await until('it has arrived', () => a.waiting.length > 0);
    a.waiting.at(-1)?.end('enough');
    expect((await client.answer()).body).toBe('enough');
    client.leave();
  });

  test('a download of 32 MiB', async () => {
    expect((await ask(`/download?pieces=${PIECES}`)).body.length).toBe(PIECES * PIECE.length);
  });

  test('events, as they come', async () => {
    const client = await dial(port);
    client.send(request('GET /events', ['Accept: text/event-stream']));
    await client.saw('text/event-stream');
    const events = await a.events();
    events.write('data: one\n\n');
    await client.saw('data: one');
    events.end('data: two\n\n');
    expect((await client.answer()).body).toBe('data: one\n\ndata: two\n\n');
    client.leave();
  });

  test('connections are used again', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    await ask('/json', { agent });
    const before = a.connections.all;
    for (let n = 0; n < 10; n += 1) await ask('/json', { agent });
    agent.destroy();
    expect(a.connections.all).toBe(before);
  });

  test('500 at the same time', async () => {
    const before = a.waiting.length;
    const asking = Array.from({ length: 500 }, () => ask('/slow', { agent: new Agent({ maxSockets: Infinity }) }));
    await until('all are there', () => a.waiting.length === before + 500);
    for (const one of a.waiting.slice(before)) one.end('done');
    const bodies = await Promise.all(asking);
    expect(new Set(bodies.map(({ body }) => body.toString()))).toEqual(new Set(['done']));
  });
});

describe('paths that a backend might read as the MCP endpoint’s are nobody’s', () => {
  test.each([
    '/mcp/../x',
    '//mcp',
    '/mcp%2f',
    '/%6dcp',
    '/x/../mcp',
    '/MCP',
    '/mcp//',
    '/./mcp',
    '/mcp;x=1',
    '/x/%2e%2e/mcp',
    '/x/..',
    '//evil.test/json',
    '/\\mcp',
    '/\\[',
    '//[',
    '/mcp%3Fx',
    '/mcp#x',
    '/mcp/x',
  ])('%s', async (path) => {
    const before = a.asked.length;
    const client = await dial(port);
    const answer = await client.send(request(`GET ${path}`)).answer();
    client.leave();
    expect(answer.status).toBeOneOf([400, 404]);
    expect(a.asked.length).toBe(before);
  });

  test.each([
    ['http://localhost/json?x', '/json?x'],
    ['/mcp-admin/x', '/mcp-admin/x'],
    ['/mcp2', '/mcp2'],
    ['/.well-known/oauth-protected-resource/mcp', '/.well-known/oauth-protected-resource/mcp'],
    ['/a%2fb', '/a%2fb'],
    ['/caf%C3%A9', '/caf%C3%A9'],
    ['/%zz', '/%zz'],
    ['/', '/'],
  ])('%s passes as %s', async (target, asked) => {
    const client = await dial(port);
    await client.send(request(`GET ${target}`)).answer();
    client.leave();
    expect(a.asked.at(-1)).toBe(`GET ${asked}`);
  });
});

describe('the door is the same', () => {
  test.each([
    ['Origin', ['Origin: http://evil.test'], '403 -32000: Forbidden: this Host or Origin is not allowed'],
    [
      'a second Host',
      ['Host: localhost'],
      '400 -32000: Bad request: Host must be there once, and Authorization once at most',
    ],
    [
      'a coding',
      ['Transfer-Encoding: gzip, chunked'],
      '501 -32000: Unsupported Transfer-Encoding: only chunked is taken',
    ],
  ])('%s', async (_what, lines, expected) => {
    const before = a.asked.length;
    const client = await dial(port);
    expect(said(await client.send(request('POST /json', lines)).answer())).toBe(expected);
    client.leave();
    expect(a.asked.length).toBe(before);
    assertTight([new URL(a.origin).port]);
  });

  test('fields that CGI and WSGI would read as ours stay here', async () => {
    const client = await dial(port);
    const { body } = await client.send(request('GET /json', [...DISGUISED, ...KEPT])).answer();
    client.leave();
    const { fields }: Told = JSON.parse(body);
    const odd = fields.filter((name, index) => index % 2 === 0 && /[^a-z\d-]/i.test(name));
    expect(odd).toEqual(KEPT.map((field) => field.split(':', 1)[0]?.toLowerCase()));
  });

  test('TRACE is not passed on', async () => {
    const before = a.asked.length;
    const client = await dial(port);
    const answer = await client.send(request('TRACE /json', ['cookie: secret'])).answer();
    client.leave();
    expect(said(answer)).toBe('405 -32000: Method not allowed');
    expect(answer.head).toMatch(/\r\nallow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n/);
    expect(answer.head + answer.body).not.toContain('secret');
    expect(a.asked.length).toBe(before);
  });

  test('what passes is counted', async () => {
    const before = proxy.events.length;
    await ask('/nothing');
    const counted = await until('it is counted', () =>
      proxy.events.slice(before).find(({ type }) => type === 'exchange'),
    );
    expect(counted).toEqual({
      type: 'exchange',
      verb: 'other',
      status: 404,
      outcome: 'answered',
      seconds: expect.any(Number),
      backend: new URL(a.origin).host,
    });
  });
});
