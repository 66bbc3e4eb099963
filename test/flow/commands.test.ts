/** The commands of who operates a proxy, as processes of their own, against a real deployment. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { COMMANDS } from '../../proxy/cli/help.ts';
import { CHILD_ENV } from '../house/child-env.ts';
import { type Flow, startFlow, startProxy } from '../house/flow.ts';
import { refusing } from '../house/nasty.ts';
import { soon, until } from '../house/until.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const NOBODY = 'f'.repeat(64);
let flow: Flow;
beforeAll(async () => {
  flow = await startFlow({ backends: ['a', 'b'], redis: true });
}, 180_000);
afterAll(() => flow.close());

type Ran = { readonly out: string; readonly err: string; readonly code: number | null };

function start(
  args: readonly string[],
  env: Record<string, string> = {},
): { child: ChildProcess; ended: Promise<Ran> } {
  const own = { ...CHILD_ENV, OPS_URL: flow.proxies[0]!.opsUrl, ...env };
  const child = spawn(process.execPath, [CLI, ...args], { env: own, stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  onTestFinished(() => void child.kill('SIGKILL'));
  return {
    child,
    ended: soon(
      'its end',
      ended.then(([out, err]) => ({ out, err, code: child.exitCode })),
      25_000,
    ),
  };
}
const run = (...args: string[]) => start(args).ended;
const json = async (...args: string[]): Promise<unknown> => JSON.parse((await run(...args, '--json')).out);
const hostOf = (name: string) => new URL(flow.backend(name).origin).host;

describe('status and backends', () => {
  test('say who is there and how many sessions each holds', async () => {
    const talk = await flow.talk();
    const home = hostOf(await talk.task('ping'));
    await until('it is counted', async () => (await run('backends')).out.match(/ ready +1 /));
    const { out, err, code } = await run('status');
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).toMatch(
      /^proxy +ready at http:.*\nregistry +up\ndiscovery +up\nchecks +up\nsessions +1\nstreams +\d\n\n/,
    );
    expect(out).toMatch(new RegExp(`^BACKEND +STATE +SESSIONS +RUNNING +ZONE +SINCE\n[^]*^${home} +ready +1 +0$`, 'm'));
    expect(out).not.toContain('\u001B');
    expect(await json('status')).toMatchObject({ ready: true, registry: 'up', sessions: 1, gone: [] });
    expect(await json('backends')).toMatchObject({ backends: [{ state: 'ready' }, { state: 'ready' }], gone: [] });
    await talk.transport.terminateSession();
  });

  test('colours where they are wanted', async () => {
    const coloured = await start(['status'], { FORCE_COLOR: '1' }).ended;
    expect(coloured.out).toContain('\u001B[32mready');
    const plain = await start(['status'], { FORCE_COLOR: '1', NO_COLOR: '1' }).ended;
    expect([coloured.code, plain.code]).toEqual([0, 0]);
  });

  test('again and again until they are told to stop', async () => {
    const { child, ended } = start(['status', '--watch', '--every', '0.1', '--json']);
    let looks = 0;
    child.stdout?.on('data', (chunk: Buffer) => (looks += chunk.toString().split('\n').length - 1));
    await until('it has looked thrice', () => looks >= 3);
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ code: 0, err: '' });
  });

  test('a proxy that takes nothing new is 4', async () => {
    const proxy = await startProxy([], ['--dns', 'nobody.invalid:1']);
    onTestFinished(() => proxy.stop());
    const { out, code } = await run('status', '--ops', proxy.opsUrl);
    expect({ code, out }).toEqual({ code: 4, out: expect.stringMatching(/^proxy +not ready at/) });
  });
});

describe('drain', () => {
  test('waits until the last session has left, and undrain undoes it', async () => {
    const talk = await flow.talk();
    const name = await talk.task('ping');
    const home = hostOf(name);
    const { child, ended } = start(['drain', home, '--wait']);
    let said = '';
    child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until('it says how many are left', () => said.includes('left'));
    await until('the session has migrated', async () => (await talk.task('ping')) !== name);
    expect(await ended).toEqual({
      code: 0,
      err: '',
      out: `${home}: 1 session left\nno session is left at ${home}\n`,
    });
    expect((await run('backends')).out).toMatch(new RegExp(`^${home} +draining +0 `, 'm'));
    expect(await run('undrain', home)).toEqual({ code: 0, err: '', out: `${home} takes sessions again\n` });
    expect((await run('backends')).out).toMatch(new RegExp(`^${home} +ready `, 'm'));
    await talk.transport.terminateSession();
  });

  test('Ctrl-C leaves it draining, and says so; so does the end of the time', async () => {
    const talk = await flow.talk();
    const home = hostOf(await talk.task('ping'));
    const { child, ended } = start(['drain', home, '--wait']);
    await until('it waits', () => once(child.stdout!, 'data'));
    child.kill('SIGINT');
    const { out, code } = await ended;
    expect(code).toBe(130);
    expect(out).toContain(
      `interrupted: ${home} goes on draining with 1 session; undo it with: mcp-affinity undrain ${home}`,
    );
    const late = await run('drain', home, '--wait', '--timeout', '0.5', '--json');
    expect(late.code).toBe(4);
    expect(JSON.parse(late.out.trim().split('\n').at(-1) ?? '')).toEqual({
      backend: home,
      draining: true,
      sessions: 1,
      done: false,
    });
    expect(await json('undrain', home)).toEqual({ backend: home, draining: false });
    await talk.transport.terminateSession();
  });

  test('says when there is no other backend', async () => {
    const alone = await startProxy([flow.backend('a').origin], []);
    onTestFinished(() => alone.stop());
    const talk = await fetch(alone.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'initialize',
        params: {
          protocolVersion: '2025-06-18',
          capabilities: {},
          clientInfo: { name: 'x\u001B[31m\u202E', version: '1' },
        },
      }),
    });
    await talk.text();
    const shown = await run('session', talk.headers.get('mcp-session-id') ?? '', '--ops', alone.opsUrl);
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining('client         x?[31m? 1\n') });
    const { code, err } = await run('drain', hostOf('a'), '--wait', '--timeout', '1', '--ops', alone.opsUrl);
    expect({ code, err }).toEqual({
      code: 4,
      err: `no other backend takes sessions: those of ${hostOf('a')} stay until there is one\n`,
    });
  });

  test('nobody is drained that is not there', async () => {
    expect(await run('drain', 'nobody')).toEqual({
      code: 3,
      out: '',
      err: 'mcp-affinity drain: no backend has this id\n',
    });
    expect(await run('undrain', 'nobody', '--json')).toEqual({
      code: 3,
      out: '{"error":"no backend has this id"}\n',
      err: '',
    });
  });
});

describe('session', () => {
  test('is found by its id, on the command line or from stdin; migrates; ends, its stream too', async () => {
    const talk = await flow.talk();
    const name = await talk.task('ping');
    const id = talk.sessionId;
    const hash = createHash('sha256').update(id).digest('hex');
    const { out, code } = await run('session', id);
    expect(code).toBe(0);
    expect(out).toMatch(
      new RegExp(`^session +${hash}\nhome +${hostOf(name)}\nepoch +0 .*\nprotocol +2025-11-25\nclient +test 1\n`),
    );
    const piped = start(['session', '-', '--json']);
    piped.child.stdin?.end(`${id}\n`);
    expect(JSON.parse((await piped.ended).out)).toMatchObject({ session: hash, home: hostOf(name), epoch: 0 });
    expect(await run('session', '--hash', hash, '--migrate')).toMatchObject({
      code: 0,
      out: expect.stringContaining('new home'),
    });
    await until('it has migrated', async () => (await talk.task('ping')) !== name);
    expect(await json('session', id)).toMatchObject({ epoch: 1 });
    const closed = () => flow.events().filter((event) => event.type === 'stream' && event.change === 'closed').length;
    const before = closed();
    expect(await run('session', id, '--end')).toMatchObject({ code: 0, out: 'it has ended, and its home is told\n' });
    await until('its stream has ended', () => closed() > before);
    expect((await run('session', id)).code).toBe(3);
  });

  test.each([
    [['session'], 'expected an ID, or -, or --hash HASH'],
    [['session', 'x', '--hash', NOBODY], 'expected an ID, or -, or --hash HASH'],
    [['session', '--hash', 'x'], '--hash: expected 64 hex digits in lower case'],
    [['session', 'x', '--migrate', '--end'], '--migrate and --end: leave one out'],
    [['session', 'secret', 'secret'], 'expected at most one ID of a session, or - for stdin, got 2 words'],
    [['session', 'secret', '--jsn'], '--jsn: unknown flag, did you mean --json?'],
    [['drain'], 'expected one ID of a backend, got none'],
    [['drain', 'a', '--timeout', 'soon'], '--timeout: expected seconds from 0.1 to 86400'],
    [['drain', 'a', '--wait=yes'], '--wait: expected no value'],
    [['status', '--ops'], '--ops: expected a value, got nothing'],
    [['status', '--ops', 'here'], '--ops or OPS_URL: expected a URL of http or https, as in http://127.0.0.1:9464'],
    [['status', '--ops', 'http://me:secret@a'], '--ops or OPS_URL: give the token as OPS_TOKEN instead'],
  ])('%j is wrong usage', async (args, fault) => {
    const { out, err, code } = await run(...args);
    expect({ out, code }).toEqual({ out: '', code: 2 });
    expect(err).toBe(`mcp-affinity ${args[0]}: ${fault}\nSee mcp-affinity ${args[0]} --help.\n`);
    expect(err).not.toContain('secret');
  });
});

test.each([
  ['stauts', 'unknown command, did you mean status?'],
  ['servee', 'unknown command, did you mean serve?'],
  ['deploy', 'unknown command, see mcp-affinity --help'],
  ['constructor', 'unknown command, see mcp-affinity --help'],
])('%s', async (word, says) => {
  expect(await run(word)).toEqual({ code: 2, out: '', err: `mcp-affinity: "${word}": ${says}\n` });
});

test.each(Object.keys(COMMANDS))('%s --help has examples and the exit codes', async (name) => {
  for (const args of [
    [name, '--help'],
    ['help', name],
  ]) {
    const { out, err, code } = await run(...args);
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).toMatch(/^Usage: mcp-affinity [^]*Exit codes: 0 [^]*Examples:\n {2}mcp-affinity/);
    expect(out.split('\n').filter((line) => line.length > 160)).toEqual([]);
  }
});

test('a token is shown where one is wanted', async () => {
  const token = 'correct-horse-battery';
  const proxy = await startProxy(flow.servers.origins, ['--ops-token', token]);
  onTestFinished(() => proxy.stop());
  const without = await run('status', '--ops', proxy.opsUrl);
  expect(without).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringMatching(/the token .* is expected.*set OPS_TOKEN/),
  });
  expect(await start(['backends', '--ops', proxy.opsUrl], { OPS_TOKEN: token }).ended).toMatchObject({ code: 0 });
  expect(await run('backends', '--ops', proxy.opsUrl, '--ops-token', token)).toMatchObject({ code: 0 });
});

test('an ops port that is not there, or is none', async () => {
  const gone = await run('status', '--ops', await refusing());
  expect(gone).toMatchObject({ code: 1, out: '', err: expect.stringContaining('cannot be reached: ECONNREFUSED') });
  const other = await run('backends', '--ops', flow.backend('a').origin, '--json');
  expect(other).toMatchObject({ code: 3, err: '' });
  expect(JSON.parse(other.out)).toHaveProperty('error');
});

test('probe: the check, and a whole run through the proxy', async () => {
  const check = await run('probe', flow.url, '--check', '--json');
  expect(check).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(check.out)).toMatchObject({ ok: true });
  const { out, code } = await run('probe', flow.url, '--calls', '2', '--delay', '0');
  expect([code, JSON.parse(out)]).toEqual([0, expect.objectContaining({ session_complete: true })]);
  expect(await run('probe')).toMatchObject({ code: 2, err: expect.stringContaining('See mcp-affinity probe --help.') });
});
