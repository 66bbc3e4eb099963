/** The real process is told to stop: streams end, calls finish or get an answer, and it is gone in time. */

import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { INITIALIZE, greet } from '../house/edge.ts';
import { type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { type ProxyProcess, startProxyProcess } from '../house/proxy-process.ts';
import { type RawClient, dial, post, request, said } from '../house/raw.ts';
import { call, note, result } from '../house/recording.ts';
import { soon, until } from '../house/until.ts';

const SESSION = 'mcp-session-id: session-1';

let a: Nasty;
const children = new Set<ProxyProcess>();
beforeEach(async () => {
  a = await startNasty();
});
afterEach(async () => {
  for (const child of children) await child.close();
  children.clear();
  await a.close();
});

async function startCli(drainSeconds: string, lameDuckSeconds = '0'): Promise<ProxyProcess> {
  const times = ['--drain-seconds', drainSeconds, '--lame-duck-seconds', lameDuckSeconds];
  const proxy = await startProxyProcess([...times, '--backend', a.origin]);
  children.add(proxy);
  return proxy;
}

/** A session with an open stream and a call that runs. */
async function busy(proxy: ProxyProcess): Promise<{ stream: RawClient; caller: RawClient; it: NastyRequest }> {
  const opening = await dial(proxy.port);
  opening.send(post(INITIALIZE));
  greet(await a.next(), 'session-1');
  await opening.answer();
  const stream = await dial(proxy.port);
  stream.send(request('GET /mcp', [SESSION, 'accept: text/event-stream']));
  (await a.next()).stream().event(note('hello'));
  await stream.saw('hello');
  const caller = await dial(proxy.port);
  caller.send(post(call(1), SESSION));
  return { stream, caller, it: await a.next() };
}

describe.each(['SIGTERM', 'SIGINT'] as const)('%s', (name) => {
  test('ends the stream cleanly, lets the call finish, and the process exits with 0', async () => {
    const proxy = await startCli('20');
    const { stream, caller, it } = await busy(proxy);
    expect(await proxy.ready()).toBe(200);
    proxy.signal(name);
    await until('it is not ready', async () => [503, 'refused'].includes(await proxy.ready()));
    expect((await stream.last()).endsWith('\r\n0\r\n\r\n')).toBe(true);
    await expect(dial(proxy.port)).rejects.toThrow('ECONNREFUSED');
    it.answer(200, result(1, 'finished'));
    const { status, head, body } = await caller.answer();
    expect([status, JSON.parse(body)]).toEqual([200, result(1, 'finished')]);
    expect(head.toLowerCase()).toContain('\r\nconnection: close');
    expect(await proxy.exit()).toBe(0);
  });
});

test('a call’s stream goes on to its end, and no listening stream begins after it', async () => {
  const proxy = await startCli('600');
  const { stream, caller, it } = await busy(proxy);
  it.stream().event(note('begun'));
  await caller.saw('begun');
  proxy.signal('SIGTERM');
  await stream.last();
  it.event(note('more'));
  await caller.saw('more');
  it.event(result(1, 'finished')).end();
  expect((await caller.answer()).body).toContain('finished');
  caller.send(request('GET /mcp', [SESSION]));
  expect(await caller.last()).not.toContain('hello');
  expect(await proxy.exit()).toBe(0);
});

describe('longer than --drain-seconds', () => {
  const STOPPED = 'The proxy stopped before the answer came: the outcome is unknown';

  test('a call gets an error for its answer, and the process exits with 0', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    proxy.signal('SIGTERM');
    expect(said(await caller.answer())).toBe(`200 -32000: ${STOPPED}`);
    await soon('the close', it.left);
    expect(await proxy.exit()).toBe(0);
  });

  test('a call’s stream gets it as its last event', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    it.stream().event(note('begun'));
    await caller.saw('begun');
    proxy.signal('SIGTERM');
    const error = { jsonrpc: '2.0', id: 1, error: { code: -32000, message: STOPPED } };
    expect((await caller.answer()).body.endsWith(`data: ${JSON.stringify(error)}\n\n`)).toBe(true);
    expect(await proxy.exit()).toBe(0);
  });

  test('a client that neither reads nor leaves is cut off', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    it.stream();
    await caller.saw('text/event-stream');
    caller.pause();
    await it.flood(`data: ${'x'.repeat(1024 * 1024)}\n\n`, 96).stopped();
    proxy.signal('SIGTERM');
    expect(await proxy.exit()).toBe(0);
  });
});

test('a stream that waits for its backend is refused, not ended as if it had begun', async () => {
  const proxy = await startCli('20');
  const stream = await dial(proxy.port);
  stream.send(request('GET /mcp'));
  await a.next();
  proxy.signal('SIGTERM');
  expect((await stream.answer()).status).toBe(503);
  expect(await proxy.exit()).toBe(0);
});

test('a second signal ends it at once', async () => {
  const proxy = await startCli('600');
  const { stream } = await busy(proxy);
  proxy.signal('SIGTERM');
  await stream.last();
  proxy.signal('SIGTERM');
  expect(await proxy.exit()).toBe(1);
});

test('idle connections do not hold it', async () => {
  const proxy = await startCli('600');
  const idle = await dial(proxy.port);
  const used = await dial(proxy.port);
  used.send(post(call(1)));
  (await a.next()).answer(200, result(1));
  await used.answer();
  proxy.signal('SIGTERM');
  expect(await proxy.exit()).toBe(0);
  await idle.last();
});

describe('the lame duck', () => {
  test('is not ready and serves on: kept and new connections end after their answer, streams begin and go on', async () => {
    const proxy = await startCli('600', '1');
    const { stream, caller, it } = await busy(proxy);
    const kept = await dial(proxy.port);
    kept.send(post(call(2), SESSION));
    (await a.next()).answer(200, result(2, 'before'));
    expect((await kept.answer()).head.toLowerCase()).not.toContain('connection: close');
    proxy.signal('SIGTERM');
    await until('it is not ready', async () => (await proxy.ready()) === 503);

    kept.text = '';
    kept.send(post(call(3), SESSION));
    (await a.next()).answer(200, result(3, 'kept'));
    const fresh = await dial(proxy.port);
    fresh.send(post(call(4), SESSION));
    (await a.next()).answer(200, result(4, 'new'));
    const listener = await dial(proxy.port);
    listener.send(request('GET /mcp', [SESSION]));
    const listened = (await a.next()).stream();
    const ended = await Promise.all([kept.last(), fresh.last()]);
    for (const text of ended) expect(text.toLowerCase()).toContain('\r\nconnection: close\r\n');
    listened.event(note('late'));
    expect(await listener.saw('late')).toContain(' 200 ');
    it.answer(200, result(1, 'finished'));
    expect((await caller.answer()).head.toLowerCase()).toContain('\r\nconnection: close');

    for (const one of [stream, listener]) expect((await one.last()).endsWith('\r\n0\r\n\r\n')).toBe(true);
    await expect(dial(proxy.port)).rejects.toThrow('ECONNREFUSED');
    expect(await proxy.exit()).toBe(0);
  });

  test('a connection whose answer ends after it may bring one more request; that of a stream may not', async () => {
    const proxy = await startCli('600', '1');
    const { stream, caller, it } = await busy(proxy);
    expect(stream.text.toLowerCase()).toContain('\r\nconnection: close\r\n');
    it.stream().event(note('begun'));
    expect((await caller.saw('begun')).toLowerCase()).not.toContain('connection: close');
    proxy.signal('SIGTERM');
    await stream.last();
    expect(await refuses(proxy.port)).toBe(true);
    it.event(result(1, 'finished')).end();
    await caller.saw('\r\n0\r\n\r\n');
    caller.text = '';
    caller.send(post(call(2), SESSION));
    (await a.next()).answer(200, result(2, 'one more'));
    const { head, body } = await caller.answer();
    expect([head.toLowerCase().includes('\r\nconnection: close'), JSON.parse(body)]).toEqual([
      true,
      result(2, 'one more'),
    ]);
    expect(await proxy.exit()).toBe(0);
  });

  test('closes what is passed through in the same way', async () => {
    const proxy = await startCli('600', '1');
    const client = await dial(proxy.port);
    client.send(request('GET /before'));
    const before = await a.next();
    proxy.signal('SIGTERM');
    await until('it is not ready', async () => (await proxy.ready()) === 503);
    before.answer(200, { page: 1 });
    expect((await client.last()).toLowerCase()).toContain('\r\nconnection: close\r\n');
    expect(await proxy.exit()).toBe(0);
  });

  test('a connection that has sent nothing when the listener closes has time to send its request', async () => {
    const proxy = await startCli('600');
    const late = await dial(proxy.port);
    proxy.signal('SIGTERM');
    await until('the listener is closed', async () => await refuses(proxy.port));
    late.send(post(call(1), SESSION));
    expect((await late.answer()).status).toBe(404);
    expect(await proxy.exit()).toBe(0);
  });

  test('a person who presses Ctrl-C does not wait for it', async () => {
    const proxy = await startCli('600', '600');
    proxy.signal('SIGINT');
    expect(await proxy.exit()).toBe(0);
  });

  test('a second signal ends it', async () => {
    const proxy = await startCli('600', '600');
    proxy.signal('SIGTERM');
    await until('it is not ready', async () => (await proxy.ready()) === 503);
    proxy.signal('SIGTERM');
    expect(await proxy.exit()).toBe(1);
  });
});

test.each(['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const)('%s changes nothing, and is said', async (signal) => {
  const proxy = await startCli('600');
  const { caller, it } = await busy(proxy);
  proxy.signal(signal);
  const line = await until('it says so', () => proxy.lines.find(({ msg }) => msg === 'ignored'));
  expect(line).toMatchObject({ level: 'info', signal });
  expect(await proxy.ready()).toBe(200);
  it.answer(200, result(1, 'finished'));
  expect((await caller.answer()).status).toBe(200);
  // Where Node's inspector would listen.
  expect(await refuses(9229)).toBe(true);
});

/** Whether nobody listens there. */
function refuses(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(false)).once('error', () => resolve(true));
    socket.once('connect', () => socket.destroy());
  });
}
