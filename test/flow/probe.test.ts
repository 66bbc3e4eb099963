/** The survival probe as it is run: a process of its own, at a real proxy or straight at a server. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Row } from '../../client/probe/evidence.ts';
import { startFlow } from '../house/flow.ts';
import { refusing, startNasty } from '../house/nasty.ts';
import { startServers, type TestServer } from '../house/servers.ts';
import { soon, until } from '../house/until.ts';

const PROBE = fileURLToPath(new URL('../../client/probe.ts', import.meta.url));
const UUID = /[\da-f]{8}-[\da-f]{4}-/i;
const KEYS = [
  ...['http_status_counts', 'unique_task_ids', 'first_task_id', 'last_task_id', 'max_state_size'],
  ...['session_not_found_count', 'error_rows', 'session_complete'],
];

let folder: string;
let undo: (() => Promise<unknown>)[];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-probe-'));
  undo = [async () => rmSync(folder, { recursive: true, force: true })];
});
afterEach(async () => {
  for (const one of undo.toReversed()) await one();
});

function probe(...args: string[]) {
  const child = spawn(process.execPath, [PROBE, ...args], { env: {}, stdio: ['ignore', 'pipe', 'pipe'] });
  undo.push(async () => child.kill('SIGKILL'));
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return {
    child,
    ended: soon(
      'the end of the probe',
      ended.then(([out, err]) => ({ out, err, code: child.exitCode })),
      25_000,
    ),
  };
}

/** A probe that records into a file, and what is in it. */
function record(...args: string[]) {
  const file = join(folder, 'probe.jsonl');
  const rows = (): Row[] => linesIn(readFileSync(file, { encoding: 'utf8', flag: 'a+' }));
  const running = probe('--out', file, ...args);
  const called = (number: number) =>
    until(
      `call ${number} was made`,
      () => rows().find(({ call, task_id: task }) => call === number && task)?.task_id ?? undefined,
    );
  return { ...running, rows, called };
}

/** A row that is being written has no end yet. */
function linesIn(jsonl: string): Row[] {
  const lines = jsonl.split('\n').slice(0, -1);
  return lines.map((line): Row => JSON.parse(line));
}

async function startOne(): Promise<TestServer> {
  const servers = await startServers(['a']);
  undo.push(() => servers.close());
  return servers.get('a');
}

const failedCalls = (rows: readonly Row[]) =>
  new Set(rows.flatMap(({ call, error }) => (call !== null && error !== undefined ? [call] : [])));

describe('a session through the kill -9 of its home', () => {
  test('is complete behind the proxy', async () => {
    const flow = await startFlow();
    undo.push(() => flow.close());
    const { ended, rows, called } = record('--endpoint', flow.url, '--calls', '20', '--delay', '0.1');
    const home = await called(4);
    await flow.kill(home);
    const { out, err, code } = await ended;

    const summary = JSON.parse(out);
    expect(summary).toMatchObject({
      max_state_size: 20,
      session_not_found_count: 0,
      error_rows: 0,
      session_complete: true,
    });
    expect(Object.keys(summary)).toEqual(KEYS);
    expect(summary.unique_task_ids.length).toBeGreaterThanOrEqual(2);
    expect(summary.first_task_id).toBe(home);
    expect(summary.last_task_id).not.toBe(home);
    expect(code).toBe(0);
    expect(err).toMatch(/^probe: 10 of 20 calls, 0 failed, \w answered last\nprobe: 20 of 20 calls, .*\n$/);

    const seen = rows();
    expect(seen.map(({ jsonrpc_method: method }) => method)).toContain('notifications/initialized');
    expect(seen.filter(({ jsonrpc_method: method }) => method === 'tools/call')).toHaveLength(40);
    expect(seen.map(({ method }) => method)).toEqual(expect.arrayContaining(['POST', 'GET', 'DELETE']));
    expect(new Set(seen.map(({ session }) => session))).toEqual(new Set([expect.stringMatching(/^[\da-f]{8}$/)]));
    expect(Object.values(summary.http_status_counts).reduce((sum: number, count) => sum + Number(count), 0)).toBe(
      seen.length,
    );
    for (const { time, milliseconds } of seen) {
      expect(new Date(time).toISOString()).toBe(time);
      expect(milliseconds).toBeGreaterThanOrEqual(0);
    }
    expect(JSON.stringify(seen) + out + err).not.toMatch(UUID);
  });

  test('is not, straight at the server; the probe goes on to its last call', async () => {
    const server = await startOne();
    const { ended, rows, called } = record(
      '--endpoint',
      `${server.origin}/mcp`,
      '--calls',
      '8',
      '--delay',
      '0.1',
      '--timeout',
      '2',
    );
    await called(3);
    await server.kill();
    const { out, code } = await ended;
    const summary = JSON.parse(out);
    expect(summary).toMatchObject({ unique_task_ids: ['a'], session_not_found_count: 0, session_complete: false });
    expect(code).toBe(1);
    expect(failedCalls(rows())).toContain(8);
    expect(summary.error_rows).toBe(rows().filter(({ error }) => error !== undefined).length);
    expect(JSON.stringify(rows())).toContain('ECONNREFUSED');
  });

  test('nor at a server that has come back with an empty memory: it is not found, and not opened again', async () => {
    const server = await startOne();
    const { ended, rows, called } = record(
      '--endpoint',
      `${server.origin}/mcp`,
      '--calls',
      '30',
      '--delay',
      '0.2',
      '--timeout',
      '2',
    );
    await called(2);
    await server.restart();
    const { out, code } = await ended;
    const summary = JSON.parse(out);
    expect(summary.session_complete).toBe(false);
    expect(summary.session_not_found_count).toBeGreaterThan(0);
    expect(summary.http_status_counts['404']).toBe(summary.session_not_found_count);
    expect(code).toBe(1);
    expect(rows().filter(({ jsonrpc_method: method }) => method === 'initialize')).toHaveLength(1);
    expect(JSON.stringify(rows()) + out).not.toMatch(UUID);
  });
});

describe('a session that ends otherwise', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)('%s: after the running call, with a summary', async (signal) => {
    const server = await startOne();
    const { child, ended, called } = record('--endpoint', `${server.origin}/mcp`, '--calls', '1000', '--delay', '0.05');
    await called(2);
    child.kill(signal);
    const { out, code } = await ended;
    expect(JSON.parse(out)).toMatchObject({ unique_task_ids: ['a'], error_rows: 0, session_complete: false });
    expect(code).toBe(1);
  });

  test('it never begins: there is a summary all the same', async () => {
    const { out, err, code } = await probe('--endpoint', `${await refusing()}/mcp`, '--calls', '2', '--out', '-').ended;
    const [row, summary] = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(row).toMatchObject({
      jsonrpc_method: 'initialize',
      status: null,
      error: expect.stringContaining('ECONNREFUSED'),
    });
    expect(summary).toMatchObject({
      http_status_counts: {},
      first_task_id: null,
      error_rows: 1,
      session_complete: false,
    });
    expect(err).toContain('no call can be made');
    expect(code).toBe(1);
  });

  test('a server that tells secrets in its errors: no line repeats them', async () => {
    const nasty = await startNasty();
    undo.push(() => nasty.close());
    const args = [
      '--endpoint',
      `${nasty.origin}/mcp`,
      '--calls',
      '1',
      '--header',
      'Authorization: Bearer hunter2-hunter2',
    ];
    const { ended, rows } = record(...args);
    const opening = await nasty.next();
    const id: unknown = JSON.parse(opening.body).id;
    const result = {
      protocolVersion: '2025-11-25',
      capabilities: { tools: {} },
      serverInfo: { name: 'n', version: '1' },
    };
    opening.answer(200, { jsonrpc: '2.0', id, result }, [
      ['content-type', 'application/json'],
      ['mcp-session-id', 'not-to-be-told'],
    ]);
    const serve = async () => {
      for (;;) {
        const request = await nasty.next();
        if (request.body.includes('notifications/initialized')) request.answer(202);
        else request.answer(404, 'Session not found: not-to-be-told, hunter2-hunter2');
      }
    };
    serve().catch(() => {});
    const { out, err, code } = await ended;
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ session_complete: false });
    expect(JSON.parse(out).session_not_found_count).toBeGreaterThan(0);
    expect(err).toContain('Session not found');
    expect(out + err + JSON.stringify(rows())).not.toMatch(/not-to-be-told|hunter2/);
  });
});

describe('--check', () => {
  const check = (url: string, ...args: string[]) => probe('--endpoint', url, '--check', ...args).ended;

  test('is 0 at a server that opens and ends a session', async () => {
    const server = await startOne();
    const { out, err, code } = await check(`${server.origin}/mcp`);
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).toMatch(/^ok: \S+\/mcp: initialize, tools\/list \(\d+ tools\), DELETE in \d+ ms\n$/);
    const health: unknown = await (await fetch(`${server.origin}/health`)).json();
    expect(health).toMatchObject({ active_sessions: 0 });
  });

  test('is 1 at a server that is gone, and where no MCP is spoken', async () => {
    const gone = await check(`${await refusing()}/mcp`);
    expect(gone).toMatchObject({ err: '', code: 1 });
    expect(gone.out).toMatch(/^failed: \S+: initialize: .*ECONNREFUSED.*\n$/);

    const server = await startOne();
    const elsewhere = await check(`${server.origin}/health`);
    expect(elsewhere).toMatchObject({ err: '', code: 1 });
    expect(elsewhere.out).toMatch(/^failed: \S+\/health: initialize: .+\n$/);
  });

  test('is 1 in time at one that never answers, which got the header', async () => {
    const nasty = await startNasty();
    undo.push(() => nasty.close());
    const ended = check(`${nasty.origin}/mcp`, '--timeout', '0.5', '--header', 'Authorization: Bearer b');
    expect((await nasty.next()).all('authorization')).toEqual(['Bearer b']);
    const { out, code } = await ended;
    expect(code).toBe(1);
    expect(out).toMatch(/^failed: \S+: initialize: No answer within 0.5 s\n$/);
  });
});

describe('wrong usage ends with 2, and says so on stderr', () => {
  test('all faults at once', async () => {
    const { out, err, code } = await probe('--calls', '0', '--delay', 'x').ended;
    expect({ out, code }).toEqual({ out: '', code: 2 });
    const named = err
      .trim()
      .split('\n')
      .map((line) => line.split(':')[1]?.trim());
    expect(named).toEqual(['--endpoint', '--calls', '--delay', undefined]);
  });

  test('a file that cannot be written', async () => {
    const { err, code } = await probe('--endpoint', 'http://127.0.0.1:9', '--out', join(folder, 'none', 'x')).ended;
    expect(code).toBe(2);
    expect(err).toMatch(/^probe: --out: expected a file that can be written, got "\S+x": ENOENT/);
  });

  test('help is no fault', async () => {
    const { out, err, code } = await probe('--help').ended;
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).toMatch(/^Usage: npm run probe -- --endpoint URL[^]*Examples:/);
  });
});
