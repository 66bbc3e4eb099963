/** The real process is told to stop: streams end, calls finish or get an answer, and it is gone in time. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { INITIALIZE, greet } from '../house/edge.ts';
import { type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { type RawClient, dial, post, request, said } from '../house/raw.ts';
import { call, note, result } from '../house/recording.ts';
import { soon, until } from '../house/until.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const LISTENING = z.object({ msg: z.literal('listening'), port: z.int(), opsPort: z.int() });
const SESSION = 'mcp-session-id: session-1';

let a: Nasty;
const children = new Set<ChildProcess>();
beforeEach(async () => {
  a = await startNasty();
});
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  await a.close();
});

type Proxy = {
  readonly port: number;
  signal(name: 'SIGTERM' | 'SIGINT'): void;
  /** Its exit code, or the signal that ended it. */
  readonly exit: Promise<number | string>;
  ready(): Promise<number | 'refused'>;
};

async function startCli(drainSeconds: string): Promise<Proxy> {
  const args = ['--port', '0', '--ops-port', '0', '--drain-seconds', drainSeconds, '--backend', a.origin];
  const { PATH = '' } = process.env;
  const child = spawn(process.execPath, [CLI, ...args], { env: { PATH }, stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  const exit = once(child, 'exit').then(([code, signal]: unknown[]) => {
    children.delete(child);
    return typeof code === 'number' ? code : String(signal);
  });
  const [first] = await soon('the first line', once(createInterface(child.stdout), 'line'));
  const { port, opsPort } = LISTENING.parse(JSON.parse(String(first)));
  return {
    port,
    signal: (name) => child.kill(name),
    exit: soon('the exit', exit, 20_000),
    async ready() {
      const asking = fetch(`http://127.0.0.1:${opsPort}/readyz`);
      return asking.then(({ status }) => status).catch(() => 'refused' as const);
    },
  };
}

/** A session with an open stream and a call that runs. */
async function busy(proxy: Proxy): Promise<{ stream: RawClient; caller: RawClient; it: NastyRequest }> {
  const opening = await dial(proxy.port);
  opening.send(post(INITIALIZE));
  greet(await a.next(), 'session-1');
  await opening.answer();
  const stream = await dial(proxy.port);
  stream.send(request('GET /mcp', [SESSION]));
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
    expect(await proxy.exit).toBe(0);
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
  expect(await proxy.exit).toBe(0);
});

describe('longer than --drain-seconds', () => {
  const STOPPED = 'The proxy stopped before the answer came: the outcome is unknown';

  test('a call gets an error for its answer, and the process exits with 0', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    proxy.signal('SIGTERM');
    expect(said(await caller.answer())).toBe(`503 -32000: ${STOPPED}`);
    await soon('the close', it.left);
    expect(await proxy.exit).toBe(0);
  });

  test('a call’s stream gets it as its last event', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    it.stream().event(note('begun'));
    await caller.saw('begun');
    proxy.signal('SIGTERM');
    const error = { jsonrpc: '2.0', id: 1, error: { code: -32000, message: STOPPED } };
    expect((await caller.answer()).body.endsWith(`data: ${JSON.stringify(error)}\n\n`)).toBe(true);
    expect(await proxy.exit).toBe(0);
  });

  test('a client that neither reads nor leaves is cut off', async () => {
    const proxy = await startCli('0.3');
    const { caller, it } = await busy(proxy);
    it.stream();
    await caller.saw('text/event-stream');
    caller.pause();
    await it.flood(`data: ${'x'.repeat(1024 * 1024)}\n\n`, 96).stopped();
    proxy.signal('SIGTERM');
    expect(await proxy.exit).toBe(0);
  });
});

test('a stream that waits for its backend is refused, not ended as if it had begun', async () => {
  const proxy = await startCli('20');
  const stream = await dial(proxy.port);
  stream.send(request('GET /mcp'));
  await a.next();
  proxy.signal('SIGTERM');
  expect((await stream.answer()).status).toBe(503);
  expect(await proxy.exit).toBe(0);
});

test('a second signal ends it at once', async () => {
  const proxy = await startCli('600');
  const { stream } = await busy(proxy);
  proxy.signal('SIGTERM');
  await stream.last();
  proxy.signal('SIGTERM');
  expect(await proxy.exit).toBe(1);
});

test('idle connections do not hold it', async () => {
  const proxy = await startCli('600');
  const idle = await dial(proxy.port);
  const used = await dial(proxy.port);
  used.send(post(call(1)));
  (await a.next()).answer(200, result(1));
  await used.answer();
  proxy.signal('SIGTERM');
  expect(await proxy.exit).toBe(0);
  await idle.last();
});
