/** Whatever a backend answers, the proxy lives, the client gets an answer that HTTP allows, and the next request is fine. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type HostileAnswer, type HostileBackend, startHostile } from '../house/hostile.ts';
import { INITIALIZE } from '../house/edge.ts';
import { type RawClient, dial, post, request } from '../house/raw.ts';
import { call } from '../house/recording.ts';
import { soon, until } from '../house/until.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const LISTENING = z.object({ msg: z.literal('listening'), port: z.int() });

const OK = 'content-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
const CHUNKED = 'content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n';
const EVENTS = 'content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const odd = ['00', '01', '07', '08', '09', '0b', '0c', '0d', '0e', '1b', '1f', '7f', '80', '85', '9f', 'a0', 'ff'];
const character = (code: string): string => String.fromCharCode(Number.parseInt(code, 16));

const ANSWERS: Readonly<Record<string, HostileAnswer>> = {
  ...Object.fromEntries(odd.map((one) => [`phrase-${one}`, `HTTP/1.1 200 O${character(one)}K\r\n${OK}`])),
  ...Object.fromEntries(odd.map((one) => [`error-phrase-${one}`, `HTTP/1.1 500 O${character(one)}K\r\n${OK}`])),
  ...Object.fromEntries(odd.map((one) => [`value-${one}`, `HTTP/1.1 200 OK\r\nx-odd: a${character(one)}b\r\n${OK}`])),
  ...Object.fromEntries(odd.map((one) => [`name-${one}`, `HTTP/1.1 200 OK\r\nx-o${character(one)}dd: a\r\n${OK}`])),
  ...Object.fromEntries(
    ['000', '001', '099', '100', '101', '102', '103', '199', '204', '205', '226', '304', '299', '399'].map((status) => [
      `status-${status}`,
      `HTTP/1.1 ${status} Said\r\n${OK}`,
    ]),
  ),
  ...Object.fromEntries(
    ['407', '421', '426', '431', '499', '511', '599', '600', '700', '999', '0200', '1000', '20', '-20', '2x0'].map(
      (status) => [`status-${status}`, `HTTP/1.1 ${status} Said\r\n${OK}`],
    ),
  ),
  'phrase-none': `HTTP/1.1 200\r\n${OK}`,
  'phrase-empty': `HTTP/1.1 200 \r\n${OK}`,
  'phrase-long': `HTTP/1.1 200 ${'x'.repeat(60_000)}\r\n${OK}`,
  'phrase-endless': { first: 'HTTP/1.1 200 ', again: 'x'.repeat(65_536) },
  'version-0.9': '{}END',
  'version-1.0': `HTTP/1.0 200 OK\r\n${OK}`,
  'version-1.0-end': 'HTTP/1.0 200 OK\r\n\r\n{}END',
  'version-2': `HTTP/2 200 OK\r\n${OK}`,
  'version-9.9': `HTTP/9.9 200 OK\r\n${OK}`,
  'version-icy': `ICY 200 OK\r\n${OK}`,
  garbage: '\u0000\u0001\u0002END',
  request: 'GET / HTTP/1.1\r\nhost: x\r\n\r\n',
  nothing: 'END',
  'blank-lines': `\r\n\r\n\r\nHTTP/1.1 200 OK\r\n${OK}`,
  'head-cut': 'HTTP/1.1 200 OK\r\nx-cut: END',
  'head-endless': { first: 'HTTP/1.1 200 OK\r\n', again: `x-more: ${'y'.repeat(8192)}\r\n` },
  'head-many': `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(5000)}${OK}`,
  'name-empty': `HTTP/1.1 200 OK\r\n: x\r\n${OK}`,
  'name-space': `HTTP/1.1 200 OK\r\nx odd: x\r\n${OK}`,
  'name-space-colon': `HTTP/1.1 200 OK\r\nx-odd : x\r\n${OK}`,
  'name-proto': `HTTP/1.1 200 OK\r\n__proto__: x\r\nconstructor: y\r\nhasOwnProperty: z\r\n${OK}`,
  folded: `HTTP/1.1 200 OK\r\nx-odd: a\r\n b\r\n${OK}`,
  'bare-lf': 'HTTP/1.1 200 OK\ncontent-length: 2\n\n{}',
  'length-twice': `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n${OK}`,
  lengths: `HTTP/1.1 200 OK\r\ncontent-length: 3\r\n${OK}`,
  'length-negative': 'HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\n{}END',
  'length-huge': 'HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n{}END',
  'length-word': 'HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n{}END',
  'length-short': 'HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n{}END',
  'length-over': `HTTP/1.1 200 OK\r\n${OK}{}{}HTTP/1.1 200 OK\r\n${OK}`,
  'length-and-chunked': `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n${CHUNKED}2\r\n{}\r\n0\r\n\r\n`,
  'coding-gzip': 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n{}END',
  'coding-gzip-chunked': 'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  'coding-chunked-twice': 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n',
  'chunk-bad': `HTTP/1.1 200 OK\r\n${CHUNKED}zz\r\n{}\r\n0\r\n\r\nEND`,
  'chunk-huge': `HTTP/1.1 200 OK\r\n${CHUNKED}fffffffffffffffffff\r\n{}END`,
  'chunk-cut': `HTTP/1.1 200 OK\r\n${CHUNKED}10\r\n{}END`,
  'chunk-extension': `HTTP/1.1 200 OK\r\n${CHUNKED}2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\nEND`,
  trailers: `HTTP/1.1 200 OK\r\ntrailer: x-end\r\n${CHUNKED}2\r\n{}\r\n0\r\nx-end: a\r\nmcp-session-id: b\r\n\r\n`,
  'trailers-odd': `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\n{}\r\n0\r\nx-\u0001: a\u0000\r\n\r\nEND`,
  'trailers-endless': {
    first: `HTTP/1.1 200 OK\r\n${CHUNKED}2\r\n{}\r\n0\r\n`,
    again: `x-more: ${'y'.repeat(8192)}\r\n`,
  },
  'connection-names': `HTTP/1.1 200 OK\r\nconnection: content-type, content-length, \u0080, ,\r\n${OK}`,
  'upgrade-unasked': 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n\u0001\u0002',
  'upgrade-200': `HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: websocket\r\n${OK}`,
  continue: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n${OK}`,
  early: `HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n${OK}`,
  'early-many': `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(40)}HTTP/1.1 200 OK\r\n${OK}`,
  'early-endless': { first: '', again: 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(10) },
  'early-odd': `HTTP/1.1 103 \u0001\r\nlink: \u0080\r\n\r\nHTTP/1.1 200 OK\r\n${OK}`,
  'body-endless': { first: `HTTP/1.1 200 OK\r\n${CHUNKED}`, again: `10000\r\n${'x'.repeat(65_536)}\r\n` },
  'events-endless': { first: `HTTP/1.1 200 OK\r\n${EVENTS}`, again: `10000\r\n${'x'.repeat(65_536)}\r\n` },
  'events-cut': `HTTP/1.1 200 OK\r\n${EVENTS}5\r\ndata:END`,
  'events-odd-phrase': `HTTP/1.1 200 \u0001\u001b\r\n${EVENTS}8\r\ndata: 1\n\r\n0\r\n\r\n`,
  'encoding-odd': `HTTP/1.1 200 OK\r\ncontent-encoding: \u00ff, br, x\r\n${OK}`,
  'type-odd': `HTTP/1.1 200 OK\r\ncontent-type: \u00ff;;;,\r\ncontent-length: 2\r\n\r\n{}`,
  'date-odd': `HTTP/1.1 200 OK\r\ndate: \u00ff\r\nkeep-alive: timeout=99999999999\r\nset-cookie: \u0080\r\n${OK}`,
  disposition: `HTTP/1.1 200 OK\r\ncontent-disposition: attachment; filename="\u00e9\u0080"\r\n${OK}`,
  'session-odd': `HTTP/1.1 200 OK\r\nmcp-session-id: \u00e9 \u0080\r\n${OK}`,
  'release-odd': `HTTP/1.1 200 OK\r\nmcp-affinity-release: 9e99\r\nmcp-affinity-mark: \u00ff\r\n${OK}`,
};

const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];
const SESSION = 'mcp-session-id: hostile-session';

/** The ways that a backend's answer takes to a client. */
const WAYS: Readonly<Record<string, (name: string) => string>> = {
  'a call of a session': (name) => post(call(1), SESSION, `x-case: ${name}`),
  'a GET without a session': (name) => request('GET /mcp', ['accept: text/event-stream', `x-case: ${name}`]),
  'an initialize': (name) => post(INITIALIZE, `x-case: ${name}`),
  'no session': (name) => post(call(1), `x-case: ${name}`),
  'another path': (name) => request('GET /other', [`x-case: ${name}`]),
  'an upload to another path': (name) => request('POST /other', [`x-case: ${name}`], 'text'),
  'a WebSocket': (name) => request('GET /socket', [...UPGRADE, `x-case: ${name}`]),
};

let backend: HostileBackend;
let child: ChildProcess;
let port: number;
let died: Promise<unknown>;
beforeAll(async () => {
  backend = await startHostile(ANSWERS);
  const flags = ['--port=0', '--ops-port=0', '--hold-seconds=0', '--answer-seconds=2', '--log-level=error'];
  child = spawn(process.execPath, [CLI, ...flags, '--backend', backend.origin], {
    env: { PATH: process.env['PATH'] ?? '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  died = once(child, 'exit');
  const [first] = await soon('the first line', once(createInterface(child.stdout!), 'line'));
  ({ port } = LISTENING.parse(JSON.parse(String(first))));
});
afterAll(async () => {
  child.kill('SIGKILL');
  await died;
  await backend.close();
});

/** A status line and fields that every client takes (RFC 9112, sections 4 and 5). */
// oxlint-disable-next-line no-control-regex -- what must not be there is told by its code
const HEAD =
  /^HTTP\/1\.1 [1-9]\d\d [\t\x20-\x7e\x80-\xff]*\r\n(?:[\w!#$%&'*+.^`|~-]+: ?[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n/;

async function ask(bytes: string): Promise<RawClient> {
  const client = await dial(port);
  return client.send(bytes);
}

/** Bodies that break in the same packet as the head: what is passed through may be cut before the head has left. */
const BREAKS = /^(?:chunk|trailers)-/;

/** What is wrong with the answer; undefined when nothing is. */
async function fault(asked: string, name: string): Promise<string | undefined> {
  const client = await ask(asked);
  let closed = false;
  void client.closed.then(() => (closed = true));
  try {
    await until('a head', () => HEAD.test(client.text) || (closed && client.text === '' && BREAKS.test(name)), 5000);
    if (client.text.split('HTTP/1.1 ').length > 2) return `${name}: two answers`;
  } catch {
    return `${name}: ${JSON.stringify(client.text.slice(0, 200))}`;
  } finally {
    client.leave();
  }
  return undefined;
}

function memory(): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]) / 1024;
}

describe.each(Object.entries(WAYS))('%s', (_way, requestOf) => {
  test('gets an answer, whatever the backend says, and the next one is fine', async () => {
    const opening = await ask(post(INITIALIZE));
    await opening.saw('\r\n\r\n');
    opening.leave();
    await fault(requestOf('status-204'), 'status-204');
    const before = memory();
    const faults: string[] = [];
    const names = Object.keys(ANSWERS);
    await Promise.all(
      Array.from({ length: 6 }, async () => {
        for (let name = names.shift(); name !== undefined && child.exitCode === null; name = names.shift()) {
          const found = await fault(requestOf(name), name);
          if (found !== undefined) faults.push(found);
        }
      }),
    );
    expect(child.exitCode, `the process ended, with ${faults.at(-1)}`).toBe(null);
    expect(faults).toEqual([]);
    // Megabytes; what comes without end would take gigabytes.
    expect(memory() - before).toBeLessThan(400);
    const next = await ask(post(call(2), SESSION));
    expect(await next.answer()).toMatchObject({ status: 200 });
    next.leave();
    const other = await ask(request('GET /other'));
    expect(await other.answer()).toMatchObject({ status: 200 });
    other.leave();
  }, 60_000);
});

/** What a client may put into a request's head: each is sent on by `http.request` or undici, which throw for some. */
const REQUESTS: readonly string[] = [
  ...['M-SEARCH', 'LINK', 'QUERY', 'SOURCE', 'PROPFIND', 'TRACE', 'get', 'G@T'].flatMap((method) =>
    ['/mcp', '/other'].map((path) => request(`${method} ${path}`)),
  ),
  ...[
    '*',
    '/\u0080\u00ff',
    '/%00',
    '/%zz',
    '/a"b<c>{d}|e^f`g',
    `/${'x'.repeat(30_000)}`,
    '/?\u00ff#x',
    'http://[::1/x',
  ].map((path) => request(`GET ${path}`)),
  ...['/mcp?\u0080', '/mcp?%zz', 'http://x:99999/mcp', 'http://x/mcp?\u00ff'].map((path) =>
    request(`POST ${path}`, [], call(1)),
  ),
  ...[
    '__proto__: x',
    'constructor: x',
    'x-\u00ff: y',
    'x: \u00ff\u0080',
    'x:',
    'keep-alive: \u00ff',
    'upgrade: h2c',
    'te: \u00ff',
  ].flatMap((field) => [
    post(call(1), field),
    post(call(1), SESSION, field),
    request('GET /other', [field]),
    request('GET /socket', [...UPGRADE, field]),
  ]),
  request('POST /mcp', ['connection: content-length, host, mcp-session-id', SESSION], call(1)),
  request('POST /other', ['connection: content-length, host, transfer-encoding'], 'text'),
  request('GET /socket', ['connection: upgrade, host, sec-websocket-key', ...UPGRADE.slice(1)]),
];

test('whatever a client asks, the proxy lives and answers it', async () => {
  const unanswered: string[] = [];
  for (const bytes of REQUESTS) {
    const client = await dial(port);
    client.send(Buffer.from(bytes, 'latin1'));
    await until('an answer', () => HEAD.test(client.text), 5000).catch(() => unanswered.push(bytes.slice(0, 200)));
    client.leave();
  }
  expect(unanswered).toEqual([]);
  expect(child.exitCode).toBe(null);
});

test.each([
  ['is thrown', "setTimeout(() => { throw new Error('nobody caught it') }, 50)"],
  ['is rejected', "setTimeout(() => Promise.reject('nobody caught it'), 50)"],
])('what %s and nothing catches is one line, and ends the process with 1', async (_how, program) => {
  const flags = ['--port=0', '--ops-port=0', '--backend', backend.origin];
  const own = spawn(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(afterStart(program))}`, CLI, ...flags],
    {
      env: { PATH: process.env['PATH'] ?? '' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const [lines, faults, exit] = await soon(
    'the end',
    Promise.all([text(own.stdout), text(own.stderr), once(own, 'exit')]),
  );
  const last: unknown = JSON.parse(lines.trim().split('\n').at(-1) ?? '');
  expect(last).toMatchObject({ level: 'error', msg: 'fault', err: { message: 'nobody caught it' } });
  expect([faults, exit]).toEqual(['', [1, null]]);
});

/** Once it listens: what it writes to stdout says so. */
function afterStart(program: string): string {
  return `import fs from 'node:fs';
const write = fs.writeSync;
let begun = false;
fs.writeSync = (...given) => {
  if (!begun && String(given[1]).includes('"listening"')) { begun = true; ${program} }
  return write(...given);
};`;
}
