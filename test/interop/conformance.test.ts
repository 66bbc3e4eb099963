/** The conformance suite of MCP 2025-11-25: what a server passes directly, it passes through two proxies too. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startProxy } from '../house/flow.ts';
import { versionOf } from '../house/foreign/kinds.ts';
import { type ForeignServers, startForeign } from '../house/foreign/servers.ts';
import { newTable } from '../house/foreign/table.ts';
import { startFront } from '../house/front.ts';
import { startRedis } from '../house/redis.ts';

const run = promisify(execFile);
const SUITE_MS = 120_000;
const EVERYTHING = fileURLToPath(new URL('../house/everything.ts', import.meta.url));
const SUITE = fileURLToPath(new URL('../../node_modules/.bin/conformance', import.meta.url));
const results = mkdtempSync(join(tmpdir(), 'mcp-affinity-conformance-'));
const table = newTable('Conformance', 'requirements', [
  'direct',
  'through 2 proxies, 3 backends',
  'each session migrated before every request',
]);
const row = table.row('2025-11-25', versionOf('@modelcontextprotocol/conformance'));
let servers: ForeignServers;
let direct: readonly string[];

beforeAll(async () => {
  servers = await startForeign((port) => ({
    command: process.execPath,
    args: [EVERYTHING],
    env: { PORT: String(port) },
  }));
});

afterAll(async () => {
  process.stdout.write(`\n${table.text()}\n`);
  await servers.close();
  rmSync(results, { recursive: true, force: true });
});

/** The suite's line for each scenario, and its total. Rejects when one failed. */
async function conform(url: string): Promise<{ readonly lines: readonly string[]; readonly total: string }> {
  const args = ['server', '--url', url, '--requirements', '2025-11-25', '-o', results];
  const { stdout } = await run(SUITE, args, { timeout: SUITE_MS }).catch((error: unknown) => {
    throw new Error(error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error));
  });
  const [, passed, failed] = /^Total: (\d+) passed, (\d+) failed$/m.exec(stdout) ?? [];
  return {
    lines: stdout.split('\n').filter((line) => /^[✓✗].*: \d+ passed, \d+ failed/.test(line)),
    total: `${passed} of ${Number(passed) + Number(failed)}`,
  };
}

test('a server of ours, directly', { timeout: SUITE_MS }, async () => {
  await row.check('direct', async () => {
    const { lines, total } = await conform(`${servers.origins[0]}/mcp`);
    direct = lines;
    return total;
  });
  expect(direct.length).toBeGreaterThan(20);
});

test.each([
  ['through 2 proxies, 3 backends', []],
  ['each session migrated before every request', ['--chaos-migrate', 'on']],
] as const)('%s: the same passes', { timeout: SUITE_MS }, async (column, flags) => {
  const redis = await startRedis();
  const all = ['--redis', redis.url, ...flags];
  const proxies = [await startProxy(servers.origins, all), await startProxy(servers.origins, all)];
  const front = await startFront(proxies.map(({ url }) => url));
  try {
    await row.check(column, async () => {
      const { lines, total } = await conform(front.url);
      expect(lines).toEqual(direct);
      return total;
    });
    const seen = proxies.map(({ events }) => events.filter(({ type }) => type === 'exchange').length);
    expect(Math.min(...seen)).toBeGreaterThan(20);
    const migrated = proxies.flatMap(({ events }) =>
      events.filter((event) => event.type === 'migration' && event.reason === 'chaos' && event.outcome === 'migrated'),
    );
    expect(migrated.length > 20).toBe(flags.length > 0);
  } finally {
    await front.close();
    await Promise.all(proxies.map((proxy) => proxy.stop()));
    await redis.close();
  }
});

test('docs/compatibility.md says what was run', () => {
  expect(table.faults()).toEqual([]);
});
