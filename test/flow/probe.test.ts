/** The survival probe as it is run: a process of its own, at a real proxy or straight at a server. */

import { afterEach, describe, expect, test } from 'vitest';
import type { Row } from '../../client/probe/evidence.ts';
import { startFlow } from '../house/flow.ts';
import { refusing, startNasty } from '../house/nasty.ts';
import { startProbe, startRecording } from '../house/probe.ts';
import { startServers, type TestServer } from '../house/servers.ts';
import { until } from '../house/until.ts';

const UUID = /[\da-f]{8}-[\da-f]{4}-/i;
/** Until it is told to stop. */
const ENDLESS = ['--calls', '100000', '--delay', '0.05', '--timeout', '2'];
const KEYS =
  'http_status_counts unique_task_ids first_task_id last_task_id max_state_size session_not_found_count error_rows ' +
  'session_complete';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

function record(...args: string[]) {
  const recording = startRecording(args);
  undo.push(recording.close);
  return recording;
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
    expect([...out.matchAll(/"([a-z_]+)":/g)].map(([, key]) => key).join(' ')).toBe(KEYS);
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
    const counted: Record<string, number> = {};
    for (const { status } of seen) counted[String(status)] = (counted[String(status)] ?? 0) + 1;
    expect(summary.http_status_counts).toEqual(counted);
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
    const { child, ended, rows, called } = record('--endpoint', `${server.origin}/mcp`, ...ENDLESS);
    await called(2);
    await server.restart();
    await until('the session is not found', () => rows().some(({ status }) => status === 404));
    child.kill('SIGINT');
    const { out, code } = await ended;
    const summary = JSON.parse(out);
    expect(summary.session_complete).toBe(false);
    expect(summary.session_not_found_count).toBeGreaterThan(0);
    expect(summary.http_status_counts['404']).toBe(summary.session_not_found_count);
    expect(code).toBe(1);
    expect(rows().filter(({ jsonrpc_method: method }) => method === 'initialize')).toHaveLength(1);
    expect(JSON.stringify(rows()) + out).not.toMatch(UUID);
  });

  test('nor where the state died with the home: the session is found, its state is not', async () => {
    const flow = await startFlow({ env: { STATE_DIR: '' } });
    undo.push(() => flow.close());
    const { ended, rows, called } = record('--endpoint', flow.url, '--calls', '20', '--delay', '0.1');
    await flow.kill(await called(4));
    const { out, code } = await ended;
    expect(JSON.parse(out)).toMatchObject({ session_not_found_count: 0, session_complete: false });
    expect(code).toBe(1);
    const last = rows().findLast(({ call, error }) => call === 20 && error !== undefined);
    expect(last).toMatchObject({ method: null, status: null });
    expect(last?.error).toMatch(/^The state has lost \d+ keys, probe-1 the first$/);
    expect(failedCalls(rows()).size).toBe(JSON.parse(out).error_rows);
  });
});

test('a call that is not answered in time is recorded, and those after it are made', async () => {
  const server = await startOne();
  const args = ['--endpoint', `${server.origin}/mcp`, ...ENDLESS, '--timeout', '2'];
  const { child, ended, rows, called } = record(...args);
  await called(2);
  server.pause();
  const late = await until('a call is late', () => rows().find(({ error }) => error !== undefined));
  expect(late).toMatchObject({ method: null, status: null, error: expect.stringContaining('timed out') });
  server.resume();
  await until('another is answered', () => rows().some(({ call, task_id: task }) => Number(call) > late.call! && task));
  child.kill('SIGINT');
  const { out, code } = await ended;
  expect(JSON.parse(out)).toMatchObject({ session_not_found_count: 0, session_complete: false });
  expect(JSON.parse(out).error_rows).toBe(failedCalls(rows()).size);
  expect(code).toBe(1);
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
    const { out, err, code } = await startProbe(['--endpoint', `${await refusing()}/mcp`, '--calls', '2', '--out', '-'])
      .ended;
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
