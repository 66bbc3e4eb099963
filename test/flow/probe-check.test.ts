/** The probe's check for monitors, and what it says of wrong usage: a process of its own, at real servers. */

import { afterEach, describe, expect, test } from 'vitest';
import { refusing, startNasty } from '../house/nasty.ts';
import { startProbe } from '../house/probe.ts';
import { startServers, type TestServer } from '../house/servers.ts';

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

async function startOne(): Promise<TestServer> {
  const servers = await startServers(['a']);
  undo.push(() => servers.close());
  return servers.get('a');
}

describe('--check', () => {
  const check = (url: string, ...args: string[]) => startProbe(['--endpoint', url, '--check', ...args]).ended;

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
    const { out, err, code } = await startProbe(['--calls', '0', '--delay', 'x']).ended;
    expect({ out, code }).toEqual({ out: '', code: 2 });
    const named = err
      .trim()
      .split('\n')
      .map((line) => line.split(':')[1]?.trim());
    expect(named).toEqual(['--endpoint', '--calls', '--delay', undefined]);
  });

  test('a file that cannot be written', async () => {
    const { err, code } = await startProbe(['--endpoint', 'http://127.0.0.1:9', '--out', '/none/such/x']).ended;
    expect(code).toBe(2);
    expect(err).toMatch(/^probe: --out: expected a file that can be written, got "\S+x": ENOENT/);
  });

  test('help is no fault', async () => {
    const { out, err, code } = await startProbe(['--help']).ended;
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(out).toMatch(/^Usage: npm run probe -- URL[^]*Examples:/);
  });
});
