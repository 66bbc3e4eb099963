/** Metrics for CloudWatch: every line is one by the embedded metric format's schema, and tells what happened. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { z } from 'zod';
import { emfLines } from '../../proxy/emf.ts';
import { startEmf } from '../../proxy/telemetry/emf.ts';
import { sessionMetrics } from '../../server/emf.ts';
import { rawOpen } from '../house/by-hand.ts';
import { startServers } from '../house/servers.ts';
import { until } from '../house/until.ts';

/** The rules of the published schema, and of the text beside it: who is named must be there. */
const NAME = z.string().min(1).max(1024);
const DIRECTIVE = z.strictObject({
  Namespace: NAME.regex(/^[^:]/),
  Dimensions: z.array(z.array(z.string().min(1).max(250)).min(1).max(30)).min(1),
  Metrics: z
    .array(z.strictObject({ Name: NAME, Unit: z.literal('Count') }))
    .min(1)
    .max(100),
});
const META = z.strictObject({ Timestamp: z.int().min(0), CloudWatchMetrics: z.array(DIRECTIVE).length(1) });
const VALUE = z.union([z.number(), z.array(z.number()).min(1).max(100)]);
const LINE = z.looseObject({ _aws: META }).superRefine((line, context) => {
  const { _aws: meta } = line;
  for (const { Dimensions, Metrics } of meta.CloudWatchMetrics) {
    for (const name of Dimensions.flat())
      if (typeof line[name] !== 'string') context.addIssue(`${name} is no dimension`);
    for (const { Name } of Metrics) if (!VALUE.safeParse(line[Name]).success) context.addIssue(`${Name} has no value`);
  }
});
function read(line: string) {
  expect(line).not.toContain('\n');
  const { _aws: meta, ...values } = LINE.parse(JSON.parse(line));
  return { at: meta.Timestamp, names: meta.CloudWatchMetrics[0]?.Metrics.map(({ Name }) => Name), values };
}

describe('a line', () => {
  test('names what it tells', () => {
    const [line = '', ...more] = emfLines({
      at: 5.5,
      service: 'mcp',
      counts: { ActiveSessions: [3, 0], Migrations: [1], Nothing: [] },
      about: { TaskId: 'a' },
    });
    expect(more).toEqual([]);
    expect(read(line)).toEqual({
      at: 5,
      names: ['ActiveSessions', 'Migrations'],
      values: { Service: 'mcp', TaskId: 'a', ActiveSessions: [3, 0], Migrations: 1 },
    });
    expect(JSON.parse(line)).toHaveProperty('_aws.CloudWatchMetrics.0.Namespace', 'McpAffinity');
  });

  test('has a hundred values of a metric at most: the others are in the next, and none is told twice', () => {
    const sessions = Array.from({ length: 250 }, (_, at) => at);
    const lines = emfLines({ at: 0, service: 's', counts: { ActiveSessions: sessions, Migrations: [7] } }).map(read);
    expect(lines.flatMap(({ values }) => values['ActiveSessions'])).toEqual(sessions);
    expect(lines.map(({ names }) => names)).toEqual([
      ['ActiveSessions', 'Migrations'],
      ['ActiveSessions'],
      ['ActiveSessions'],
    ]);
  });

  test('is none where there is nothing', () => {
    expect(emfLines({ at: 0, service: 's', counts: {} })).toEqual([]);
    expect(emfLines({ at: 0, service: 's', counts: { ActiveSessions: [] } })).toEqual([]);
  });
});

describe('every minute', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const migration = { type: 'migration', reason: 'crash', session: 's', from: 'a', to: 'b', seconds: 1 } as const;

  test('the proxy tells what happened in it, and at its end', async () => {
    const lines: string[] = [];
    const emf = startEmf({ service: 'mcp', write: (line) => lines.push(line.trimEnd()) });
    emf.countBackends(async () => [2, 0]);
    emf.count({ ...migration, outcome: 'migrated' });
    emf.count({ ...migration, outcome: 'failed' });
    emf.count({ type: 'session', change: 'lost', cause: 'policy' });
    emf.count({ type: 'session', change: 'opened' });
    await vi.advanceTimersByTimeAsync(60_000);
    emf.countBackends(() => Promise.reject(new Error('away')));
    await vi.advanceTimersByTimeAsync(60_000);
    emf.count({ ...migration, outcome: 'migrated' });
    emf.close();
    emf.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(lines.map((line) => read(line).values)).toEqual([
      { Service: 'mcp', ActiveSessions: [2, 0], Migrations: 1, SessionsLost: 1 },
      { Service: 'mcp', Migrations: 0, SessionsLost: 0 },
      { Service: 'mcp', Migrations: 1, SessionsLost: 0 },
    ]);
  });

  test('a server tells how many sessions it holds', async () => {
    const lines: string[] = [];
    let held = 4;
    const metrics = sessionMetrics({
      sessions: () => held,
      service: 'mcp',
      task: 'a',
      write: (line) => lines.push(line),
    });
    await vi.advanceTimersByTimeAsync(60_000);
    held = 0;
    metrics.close();
    metrics.close();
    expect(lines.map((line) => read(line).values)).toEqual([
      { Service: 'mcp', TaskId: 'a', ActiveSessions: 4 },
      { Service: 'mcp', TaskId: 'a', ActiveSessions: 0 },
    ]);
  });
});

test.each([Number.NaN, 0, -5, 1e9, Infinity])('everySeconds: %d is no time', (everySeconds) => {
  const write = () => expect.unreachable('a line');
  expect(() => sessionMetrics({ sessions: () => 1, service: 'mcp', everySeconds, write })).toThrow(
    new RangeError(`everySeconds: expected seconds from 1 to 2147483, got ${everySeconds}`),
  );
});

/** What a program wrote on stdout until it ended, after SIGTERM. */
async function linesOf(
  file: string,
  args: readonly string[],
  env: Record<string, string>,
  use: (port: string) => Promise<unknown>,
) {
  const child = spawn(process.execPath, [file, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const lines: string[] = [];
  const closed = new Promise((resolve) =>
    createInterface(child.stdout)
      .on('line', (line) => lines.push(line))
      .once('close', resolve),
  );
  await use(await until('it listens', () => /"port":(\d+)/.exec(lines[0] ?? '')?.[1]));
  child.kill('SIGTERM');
  await closed;
  return lines;
}

describe('among the log lines', () => {
  test.each<[string[], string[]]>([
    [['--emf', 'mine'], ['mine']],
    [['--emf=on'], ['mcp-affinity']],
    [[], []],
  ])('of the proxy, with %j', async (flags, services) => {
    const servers = await startServers(['a']);
    onTestFinished(() => servers.close());
    const args = ['--port=0', '--ops-port=0', '--lame-duck-seconds=0', `--backend=${servers.origins[0]}`, ...flags];
    const lines = await linesOf('proxy/cli.ts', args, {}, (port) => rawOpen(`http://127.0.0.1:${port}/mcp`));
    for (const line of lines) expect(JSON.parse(line)).toBeTypeOf('object');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ msg: 'listening' });
    const told = lines.filter((line) => line.includes('_aws')).map((line) => read(line).values['Service']);
    expect(told).toEqual(services);
  });

  test.each([
    [{ EMF: 'on' }, ['mcp-server']],
    [{}, []],
  ])('of the sample server, with %j', async (env, services) => {
    const lines = await linesOf('server/demo/main.ts', [], { PORT: '0', ...env }, async () => {});
    for (const line of lines) expect(JSON.parse(line)).toBeTypeOf('object');
    const told = lines.filter((line) => line.includes('_aws')).map((line) => read(line).values['Service']);
    expect(told).toEqual(services);
  });
});
