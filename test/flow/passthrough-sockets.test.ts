/** WebSockets through the proxy: real ones, refused ones, and what becomes of them when either side ends. */

import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { type TestProxy, metDead, startProxy } from '../house/flow.ts';
import { refusing, startNasty } from '../house/nasty.ts';
import { assertTight, dial, request, said } from '../house/raw.ts';
import { type Site, startSite } from '../house/site.ts';
import { soon, until } from '../house/until.ts';

const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

let a: Site;
let proxy: TestProxy;
let undo: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  a = await startSite('a');
  proxy = await startProxy([a.origin], ['--drain-seconds', '600', '--backend-host', 'keep']);
  undo = [() => proxy.stop(), () => a.close()];
});
afterEach(async () => {
  for (const one of undo) await soon('an end', one());
  assertTight([new URL(a.origin).port]);
});

/** An open WebSocket, and the fields that the backend got with it. */
async function open(path: string, headers: Record<string, string> = {}) {
  const socket = new WebSocket(new URL(path, proxy.url.replace('http', 'ws')), { headers });
  const [first] = await soon('the greeting', once(socket, 'message'));
  const fields: string[] = JSON.parse(String(first));
  return {
    socket,
    values: (name: string) => fields.filter((_v, at) => at % 2 === 1 && fields[at - 1]?.toLowerCase() === name),
  };
}
async function refused(line: string, lines: readonly string[] = UPGRADE, of = proxy): Promise<string> {
  const client = await dial(Number(new URL(of.url).port));
  client.send(request(line, lines));
  const answer = await client.answer();
  await client.last();
  return said(answer);
}

describe('an open one', () => {
  test('carries text and bytes, both ways, in order', async () => {
    const { socket } = await open('/echo?x=1');
    const sent = ['text', Buffer.alloc(1024 * 1024, 7), '', 'last'];
    const back: unknown[] = [];
    socket.on('message', (data: Buffer, binary) => back.push(binary ? data : data.toString()));
    for (const one of sent) socket.send(one);
    await until('all are back', () => back.length === sent.length);
    expect(back).toEqual(sent);
    expect(proxy.events.filter(({ type }) => type === 'exchange')).toEqual([]);
    socket.close(1000);
    await soon('the close', once(socket, 'close'));
    const counted = await until('it is counted', () => proxy.events.find(({ type }) => type === 'exchange'));
    expect(counted).toMatchObject({ verb: 'other', status: 101, outcome: 'answered', backend: new URL(a.origin).host });
  });

  test('comes with the client’s Host and our word about its way', async () => {
    const { socket, values } = await open('/echo', {
      'x-forwarded-for': '6.6.6.6',
      'mcp-affinity-session': 'stolen',
      cookie: 'a=1',
      te: 'trailers',
    });
    expect(values('host')).toEqual([new URL(proxy.url).host]);
    expect(values('x-forwarded-for')).toEqual(['127.0.0.1']);
    expect(values('x-forwarded-proto')).toEqual(['http']);
    expect(values('cookie')).toEqual(['a=1']);
    expect([values('mcp-affinity-session'), values('te')]).toEqual([[], []]);
    socket.terminate();
  });

  test('ends at the backend when the client is gone, and here when the backend is', async () => {
    const gone = await open('/echo');
    gone.socket.terminate();
    await until('the backend has noticed', () => a.talking() === 0);
    const { socket } = await open('/echo');
    const closed = once(socket, 'close');
    await a.close();
    undo.pop();
    expect(await soon('the close', closed)).toEqual([1006, expect.anything()]);
  });

  test('goes to a backend that can be reached, where others cannot', async () => {
    const dead = await Promise.all(Array.from({ length: 8 }, () => startNasty()));
    await Promise.all(dead.map((one) => one.close()));
    const proxied = await startProxy([...dead.map(({ origin }) => origin), a.origin], []);
    undo.unshift(() => proxied.stop());
    const socket = new WebSocket(new URL('/echo', proxied.url.replace('http', 'ws')));
    await soon('the greeting', once(socket, 'message'));
    expect(a.talking()).toBe(1);
    socket.terminate();
  });

  test('does not hold our end', async () => {
    const { socket } = await open('/echo');
    const closed = once(socket, 'close');
    await soon('the end', proxy.stop(), 5000);
    expect(await soon('the close', closed)).toEqual([1006, expect.anything()]);
    await until('the backend has noticed', () => a.talking() === 0);
  });

  test('a client that neither reads nor ends does not hold it either', async () => {
    const client = await dial(Number(new URL(proxy.url).port));
    client.send(request('GET /echo', UPGRADE));
    await client.saw('101 Switching Protocols');
    client.pause();
    expect(await soon('the end', proxy.stop(), 5000)).toBe(undefined);
    client.leave();
  });
});

describe('a refused one', () => {
  test('by the backend: its answer is the client’s, without our fields', async () => {
    const client = await dial(Number(new URL(proxy.url).port));
    client.send(request('GET /closed', UPGRADE));
    const all = await client.last();
    expect(all).toMatch(/^HTTP\/1.1 401 /);
    expect(all.toLowerCase()).not.toContain('mcp-affinity');
    expect(all.endsWith('no')).toBe(true);
  });

  test('by a backend that hangs up', async () => {
    expect(await refused('GET /dead')).toMatch(/^502 -32000: The server was lost/);
  });

  test('by nobody: none is there', async () => {
    const alone = await startProxy([await refusing()], []);
    undo.push(() => alone.stop());
    expect(await refused('GET /echo', UPGRADE, alone)).toMatch(/^503 -32000: Service unavailable/);
    await until('it is avoided from now on', () => metDead(alone));
  });

  test.each([
    ['on the MCP endpoint', 'GET /mcp', UPGRADE, '400 -32000: Bad request: no upgrade is taken here'],
    ['like the MCP endpoint', 'GET //mcp', UPGRADE, '404 -32000: Not found'],
    [
      'with a body',
      'GET /echo',
      [...UPGRADE, 'Content-Length: 3'],
      '400 -32000: Bad request: no upgrade is taken here',
    ],
    [
      'from elsewhere',
      'GET /echo',
      [...UPGRADE, 'Origin: http://evil.test'],
      '403 -32000: Forbidden: this Host or Origin is not allowed',
    ],
    [
      'with two hosts',
      'GET /echo',
      [...UPGRADE, 'Host: localhost'],
      '400 -32000: Bad request: Host must be there once, and Authorization once at most',
    ],
  ])('%s', async (_what, line, lines, expected) => {
    expect(await refused(line, lines)).toBe(expected);
    expect(a.talking()).toBe(0);
  });

  test('one that waits for its backend while we stop gets its answer', async () => {
    const proxied = await startProxy([a.origin], ['--drain-seconds', '0.2']);
    const client = await dial(Number(new URL(proxied.url).port));
    client.send(request('GET /waiting', UPGRADE));
    await until('it is there', () => a.connections.open > 0);
    const stopped = proxied.stop();
    expect(said(await client.answer())).toMatch(/^503 -32000: The proxy stopped/);
    await soon('the end', stopped);
  });
});
