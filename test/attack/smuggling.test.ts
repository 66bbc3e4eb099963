/** Requests in which another server might find a second one, at the endpoint and past it: refused, or sent on as one. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Edge, startEdge } from '../house/edge.ts';
import { type RawClient, request } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';

const HIDDEN = 'GET /hidden HTTP/1.1\r\nhost: localhost\r\n\r\n';
const PING = JSON.stringify(call(1));
const whole = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
const REST = `0\r\n\r\n${HIDDEN}`;
const CHUNKED = 'transfer-encoding: chunked';

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterEach(() => edge.assertTight());
afterAll(() => edge.close());

/** Fields and what follows them; a server that reads `CL` and one that reads `TE` do not find the same end. */
const AMBIGUOUS: readonly (readonly [what: string, fields: string, body: string])[] = [
  ['CL.TE', `content-length: ${REST.length}\r\n${CHUNKED}`, REST],
  ['TE.CL', `${CHUNKED}\r\ncontent-length: 4`, `${whole(HIDDEN)}0\r\n\r\n`],
  ['CL.TE in upper case', `CONTENT-LENGTH: ${REST.length}\r\nTRANSFER-ENCODING: CHUNKED`, REST],
  ['CL.0 and CL', `content-length: 0\r\ncontent-length: ${HIDDEN.length}`, HIDDEN],
  ['CL in a list', `content-length: 0, ${HIDDEN.length}`, HIDDEN],
  ['CL with a sign', 'content-length: +5', REST],
  ['CL below zero', 'content-length: -1', HIDDEN],
  ['CL in hexadecimal', 'content-length: 0x5', REST],
  ['CL with a blank inside', 'content-length: 5 0', REST],
  ['CL with an underscore inside', 'content-length: 5_0', REST],
  ['CL of no digits', 'content-length: ', REST],
  ['CL of 2^64', 'content-length: 18446744073709551621', REST],
  ['TE.TE, one unknown', `${CHUNKED}\r\ntransfer-encoding: x`, REST],
  ['TE.TE, one identity', `transfer-encoding: identity\r\n${CHUNKED}`, REST],
  ['TE twice in a list', 'transfer-encoding: chunked, chunked', REST],
  ['TE, chunked not last', 'transfer-encoding: chunked, gzip', REST],
  ['TE, gzip before', 'transfer-encoding: gzip, chunked', REST],
  ['TE with a parameter', 'transfer-encoding: chunked;q=1', REST],
  ['TE in quotes', 'transfer-encoding: "chunked"', REST],
  ['TE with a letter more', 'transfer-encoding: chunkedx', REST],
  ['TE after a vertical tab', 'transfer-encoding: \u000bchunked', REST],
  ['TE after a form feed', 'transfer-encoding: \u000cchunked', REST],
  ['TE after a NUL', 'transfer-encoding: \0chunked', REST],
  ['TE with a blank before the colon', 'transfer-encoding : chunked', REST],
  ['TE with a tab before the colon', 'transfer-encoding\t: chunked', REST],
  ['TE behind a blank', ` ${CHUNKED}`, REST],
  ['TE folded (obs-fold)', 'transfer-encoding:\r\n chunked', REST],
  ['TE folded into another', `x: y\r\n ${CHUNKED}`, REST],
  ['TE behind a bare LF', `x: y\n${CHUNKED}`, REST],
  ['TE behind a bare CR', `x: y\r${CHUNKED}`, REST],
  ['TE before a bare LF', `${CHUNKED}\n`, REST],
  ['TE before a bare CR', `${CHUNKED}\r`, REST],
  ['a size with a sign', CHUNKED, `+0\r\n\r\n${HIDDEN}`],
  ['a size below zero', CHUNKED, `-0\r\n\r\n${HIDDEN}`],
  ['a size of 0x', CHUNKED, `0x0\r\n\r\n${HIDDEN}`],
  ['a size behind a blank', CHUNKED, ` 0\r\n\r\n${HIDDEN}`],
  ['a size of no digits', CHUNKED, `\r\n\r\n${HIDDEN}`],
  ['a size of 2^64', CHUNKED, `10000000000000000\r\n${HIDDEN}`],
  ['a size that is too small', CHUNKED, `1\r\nab\r\n0\r\n\r\n${HIDDEN}`],
  ['a size that ends in a bare LF', CHUNKED, `0\n\n${HIDDEN}`],
  ['a size that ends in a bare CR', CHUNKED, `0\r\r${HIDDEN}`],
  ['a chunk that ends in a bare LF', CHUNKED, `1\r\na\n0\r\n\r\n${HIDDEN}`],
  ['an extension with a bare LF', CHUNKED, `0;\n\r\n${HIDDEN}`],
  ['an extension with a bare CR', CHUNKED, `0;\r\r\n\r\n${HIDDEN}`],
  ['an extension whose quotes stay open', CHUNKED, `0;a="\r\n\r\n${HIDDEN}`],
  ['a trailer with a bare LF', CHUNKED, `0\r\nx: y\n\n${HIDDEN}`],
  ['a length among the trailers', CHUNKED, `0\r\ncontent-length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`],
  ['a coding among the trailers', CHUNKED, `0\r\n${CHUNKED}\r\n\r\n${REST}`],
];

/** Statuses of all that came, once the connection is closed. */
async function statuses(client: RawClient): Promise<readonly string[]> {
  return (await client.last()).match(/(?<=HTTP\/1\.1 )\d{3}/g) ?? [];
}

/** What comes to the backend of one that is no JSON: nothing at the endpoint. */
async function seen(client: RawClient, before: number, path: string): Promise<{ readonly raw: string }> {
  if (path === '/other') (await edge.a.next()).answer(200, 'is not JSON');
  await client.saw('is not JSON');
  return { raw: edge.a.requests[before]?.raw.toString('latin1') ?? '' };
}

describe.each(['/mcp', '/other'])('to %s', (path) => {
  test.each(AMBIGUOUS)('%s is refused, and the connection closes', async (_what, fields, body) => {
    const before = edge.a.requests.length;
    const client = await edge.dial();
    client.send(
      `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${fields}\r\n\r\n${body}`,
    );
    const said = await statuses(client);
    expect(said).toEqual([expect.stringMatching(/^(400|501|413)$/)]);
    // What has begun there has not ended, and is no request.
    expect(edge.a.requests.slice(before).map(({ line }) => line)).toEqual([]);
  });

  test('a request within a body is a part of it', async () => {
    const before = edge.a.requests.length;
    const client = await edge.dial();
    client.send(request(`POST ${path}`, [], HIDDEN));
    const { raw } = await seen(client, before, path);
    expect(raw.split(HIDDEN)).toHaveLength(path === '/mcp' ? 1 : 2);
    expect(edge.a.requests.length).toBe(path === '/mcp' ? before : before + 1);
    client.leave();
  });

  test('framing and names that Connection lists cannot be taken away', async () => {
    const client = await edge.dial();
    const names = 'content-length, transfer-encoding, host, content-type, x-forwarded-for, mcp-affinity-via';
    client.send(request(`POST ${path}`, [`connection: ${names}`, 'x-b: 1'], call(1)));
    const it = await edge.a.next();
    it.answer(200, result(1));
    await client.saw('done');
    expect(it.body).toBe(PING);
    expect([it.all('content-length').length + it.all('transfer-encoding').length, it.all('host').length]).toEqual([
      1, 1,
    ]);
    expect(it.all('x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(it.all('mcp-affinity-via')).toHaveLength(1);
    client.leave();
  });
});

test.each(['GET', 'HEAD', 'OPTIONS', 'DELETE'])('a %s with a body is one request', async (method) => {
  for (const path of ['/mcp', '/other']) {
    const before = edge.a.requests.length;
    const client = await edge.dial();
    client.send(request(`${method} ${path}`, [], HIDDEN));
    const it = await edge.a.next();
    it.answer(200);
    await client.saw('200 ');
    expect(it.line).toBe(`${method} ${path} HTTP/1.1`);
    expect(it.body).toBe(path === '/mcp' ? '' : HIDDEN);
    expect(edge.a.requests.length).toBe(before + 1);
    client.leave();
  }
});

test.each([
  'GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'GET http://evil.test:81/other HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'GET /http://evil.test/ HTTP/1.1\r\nhost: localhost\r\n\r\n',
  'GET /@evil.test HTTP/1.1\r\nhost: localhost\r\n\r\n',
])('no target leads elsewhere than to a backend: %j', async (text) => {
  const client = await edge.dial();
  client.send(text);
  const it = await edge.a.next();
  it.answer(200, 'here');
  await client.saw('here');
  expect(it.line).toMatch(/^GET \//);
  expect(it.all('host')).toEqual([`localhost:${edge.a.port}`]);
  client.leave();
});

test('CONNECT makes no tunnel', async () => {
  const before = edge.a.requests.length;
  const client = await edge.dial();
  client.send(`CONNECT 127.0.0.1:${edge.a.port} HTTP/1.1\r\nhost: localhost\r\n\r\n${HIDDEN}`);
  expect(await statuses(client)).toEqual([]);
  expect(edge.a.requests.length).toBe(before);
});
