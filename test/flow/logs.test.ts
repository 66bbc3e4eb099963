/** The lines that a running proxy writes: what stands in each, and what never does. */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { traceOf } from '../../proxy/headers.ts';
import { startRedis } from '../house/redis.ts';
import { startServers } from '../house/servers.ts';
import { startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const DOCS = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const LINE = z.looseObject({ level: z.string(), time: z.iso.datetime(), msg: z.string() });
type Line = z.infer<typeof LINE>;

/** The command as it is run, and the lines it has written. */
async function startCommand(args: readonly string[]) {
  const child = spawn(process.execPath, [CLI, '--port', '0', '--ops-port', '0', ...args], {
    env: { PATH: process.env['PATH'] ?? '' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: Line[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(LINE.parse(JSON.parse(line))));
  const first = await until('it listens', () => lines[0]);
  const { port, opsPort } = z.object({ port: z.number(), opsPort: z.number() }).parse(first);
  const of = (msg: string) => lines.filter((line) => line.msg === msg);
  const line = (what: string, fits: Record<string, unknown>) =>
    until(what, () => lines.find((one) => Object.entries(fits).every(([key, value]) => one[key] === value)), 20_000);
  return { child, lines, of, line, url: `http://127.0.0.1:${port}/mcp`, ops: `http://127.0.0.1:${opsPort}` };
}

test('a line an exchange, a migration, a drain, a dead backend, a change of the registry; with the trace, without ids', async () => {
  const servers = await startServers(['a', 'b']);
  onTestFinished(() => servers.close());
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const { origins } = servers;
  const proxy = await startCommand([
    '--redis',
    redis.url,
    '--log-level',
    'debug',
    '--drain-seconds',
    '1',
    '--lame-duck-seconds',
    '0',
    ...origins.flatMap((origin) => ['--backend', origin]),
  ]);
  const traced: typeof fetch = (input, init) => {
    const headers = new Headers(init?.headers);
    headers.set('traceparent', `00-${TRACE}-b7ad6b7169203331-01`);
    return fetch(input, { ...init, headers });
  };
  const talk = await startTalk(proxy.url, { fetch: traced });
  onTestFinished(() => talk.close());
  const name = await talk.task('ping');
  const home = new URL(servers.get(name).origin).host;
  const session = createHash('sha256').update(talk.sessionId).digest('hex').slice(0, 8);
  expect(await proxy.line('an exchange', { msg: 'exchange', verb: 'post', session })).toEqual({
    level: 'debug',
    time: expect.any(String),
    msg: 'exchange',
    verb: 'post',
    status: expect.any(Number),
    outcome: 'answered',
    seconds: expect.any(Number),
    session,
    backend: home,
    trace: TRACE,
  });

  const health = await fetch(`${proxy.url.replace('/mcp', '')}/health`, {
    headers: { traceparent: `00-${TRACE}-b7ad6b7169203331-01` },
  });
  await health.text();
  await proxy.line('one that is passed through', { msg: 'exchange', verb: 'other', status: 200, trace: TRACE });

  const headers = { 'content-type': 'application/json' };
  await fetch(`${proxy.ops}/backends/${home}/drain`, { method: 'POST', headers });
  expect(await proxy.line('the order', { msg: 'order' })).toMatchObject({
    level: 'info',
    order: 'drain',
    backend: home,
  });
  expect(await proxy.line('the drain', { msg: 'drain' })).toMatchObject({
    level: 'info',
    backend: home,
    state: 'begun',
    by: 'order',
  });
  await until('it has migrated', async () => (await talk.task('ping')) !== name);
  expect(await proxy.line('the migration', { msg: 'migration', outcome: 'migrated' })).toEqual({
    level: 'info',
    time: expect.any(String),
    msg: 'migration',
    reason: 'drain',
    outcome: 'migrated',
    session,
    from: home,
    to: expect.any(String),
    seconds: expect.any(Number),
    trace: TRACE,
  });
  await fetch(`${proxy.ops}/backends/${home}/drain`, { method: 'DELETE' });
  await proxy.line('the end of the drain', { msg: 'drain', state: 'undone', backend: home, level: 'info' });

  await servers.get(name).kill();
  await proxy.line('that it is dead', { msg: 'backend', backend: home, state: 'dead' });
  await redis.close();
  await talk.client.ping();
  const opening = startTalk(proxy.url).catch(() => {});
  expect(await proxy.line('that the registry is away', { msg: 'registry', state: 'down' })).toMatchObject({
    level: 'warn',
  });
  await opening;
  proxy.child.kill('SIGTERM');
  await once(proxy.child, 'exit');

  expect(proxy.lines.at(-1)).toMatchObject({ msg: 'stopped', clean: true });
  expect(JSON.stringify(proxy.lines)).not.toContain(talk.sessionId);
  // What the docs say of the lines is all that is in them.
  const documented = new Map(
    [...DOCS.matchAll(/^\| `(\w+)` \| (?:debug|info|warn|error)[^|]*\| ([^|]*) \|/gm)].map(
      ([, msg = '', fields = '']) => [msg, new Set([...fields.matchAll(/`(\w+)`/g)].map(([, field]) => field))],
    ),
  );
  for (const { level: _level, time: _time, msg, ...fields } of proxy.lines) {
    const known = documented.get(msg);
    expect([msg, Object.keys(fields).filter((field) => known?.has(field) !== true)]).toEqual([msg, []]);
  }
});

test.each([
  `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
  `ff-${TRACE}-b7ad6b7169203331-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-b7ad6b7169203331-01`,
  `00-${TRACE}-b7ad6b7169203331-01"}\\u000a`,
  'nonsense',
])('%s is no trace, and is not logged', (traceparent) => {
  expect(traceOf(['host', 'a', 'TraceParent', traceparent])).toBeUndefined();
});
