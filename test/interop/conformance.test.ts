/** The conformance suite: what a server passes directly, it passes through two proxies too. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { versionOf } from '../house/foreign/kinds.ts';
import { type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { newTable } from '../house/foreign/table.ts';
import { startFront } from '../house/front.ts';
import { startRedis } from '../house/redis.ts';

const run = promisify(execFile);
const SUITE_MS = 120_000;
const SUITE = fileURLToPath(new URL('../../node_modules/.bin/conformance', import.meta.url));
const results = mkdtempSync(join(tmpdir(), 'mcp-affinity-conformance-'));
const table = newTable('Conformance', 'requirements', [
  'direct',
  'through 2 proxies, 3 backends',
  'each session migrated before every request',
]);
type Outcome = { readonly lines: readonly string[]; readonly total: string };

afterAll(() => {
  process.stdout.write(`\n${table.text()}\n`);
  rmSync(results, { recursive: true, force: true });
});

/** The suite's line for each scenario, and its total. Rejects when it does not come to an end. */
async function conform(url: string, requirements: string): Promise<Outcome> {
  const args = ['server', '--url', url, '--requirements', requirements, '-o', results];
  const { stdout } = await run(SUITE, args, { timeout: SUITE_MS }).catch((error: unknown) => {
    // Its exit code says that a scenario failed.
    if (error instanceof Error && 'code' in error && error.code === 1 && 'stdout' in error) {
      return { stdout: String(error.stdout) };
    }
    throw error;
  });
  const [, passed, failed] = /^Total: (\d+) passed, (\d+) failed$/m.exec(stdout) ?? [];
  if (passed === undefined) throw new Error(stdout);
  return {
    lines: stdout.split('\n').filter((line) => /^[✓✗].*: \d+ passed, \d+ failed/.test(line)),
    total: `${passed} of ${Number(passed) + Number(failed)}`,
  };
}

/** Two proxies, in turn for each request. */
async function behindTwo(
  { origins }: ForeignServers,
  flags: readonly string[],
  use: (url: string, proxies: readonly TestProxy[]) => Promise<void>,
): Promise<void> {
  const redis = await startRedis();
  const all = ['--redis', redis.url, ...flags];
  const proxies = [await startProxy(origins, all), await startProxy(origins, all)];
  const front = await startFront(proxies.map(({ url }) => url));
  try {
    await use(front.url, proxies);
  } finally {
    await front.close();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await redis.close();
  }
}

describe.each<[string, URL, RegExp, number, readonly (readonly [string, readonly string[]])[]]>([
  [
    '2025-11-25',
    new URL('../house/everything.ts', import.meta.url),
    /^✓/,
    33,
    [
      ['through 2 proxies, 3 backends', []],
      ['each session migrated before every request', ['--chaos-migrate', 'on']],
    ],
  ],
  // What this server lacks it fails, everywhere alike.
  [
    '2026-07-28',
    new URL('../house/rounds.ts', import.meta.url),
    /^✓ input-required-/,
    14,
    [['through 2 proxies, 3 backends', []]],
  ],
])('%s', (requirements, file, must, times, runs) => {
  const row = table.row(requirements, versionOf('@modelcontextprotocol/conformance'));
  const program = fileURLToPath(file);
  let servers: ForeignServers;
  let direct: Outcome;

  beforeAll(async () => {
    servers = await startForeign((port) => ({
      command: process.execPath,
      args: [program],
      env: { PORT: String(port) },
    }));
  });
  afterAll(() => servers.close());

  test('a server of ours, directly', { timeout: SUITE_MS }, async () => {
    await row.check('direct', async () => {
      direct = await conform(`${servers.origins[0]}/mcp`, requirements);
      return direct.total;
    });
    expect(direct.lines.filter((line) => must.test(line))).toHaveLength(times);
  });

  test.each(runs)('%s: the same passes', { timeout: SUITE_MS }, async (column, flags) => {
    await behindTwo(servers, flags, async (url, proxies) => {
      await row.check(column, async () => {
        const { lines, total } = await conform(url, requirements);
        expect(lines).toEqual(direct.lines);
        return total;
      });
      const seen = proxies.map(({ events }) => events.filter(({ type }) => type === 'exchange').length);
      expect(Math.min(...seen)).toBeGreaterThan(20);
      const migrated = proxies.flatMap(({ events }) =>
        events.filter(
          (event) => event.type === 'migration' && event.reason === 'chaos' && event.outcome === 'migrated',
        ),
      );
      expect(migrated.length > 20).toBe(flags.length > 0);
    });
  });
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});
