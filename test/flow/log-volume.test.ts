/** The log of a real proxy at its start and in a total outage: a few lines, whatever the number of sessions. */

import { expect, onTestFinished, test } from 'vitest';
import { rawOpen, rawPing } from '../house/by-hand.ts';
import { startProxyProcess } from '../house/proxy-process.ts';
import { startServers } from '../house/servers.ts';

const SESSIONS = 40;
const HOLD_SECONDS = 3;

test('of 40 sessions whose servers are all killed', async () => {
  const servers = await startServers(['a', 'b']);
  onTestFinished(() => servers.close());
  const backends = servers.origins.flatMap((origin) => ['--backend', origin]);
  const proxy = await startProxyProcess([
    '--hold-seconds',
    String(HOLD_SECONDS),
    '--lame-duck-seconds',
    '0',
    ...backends,
  ]);
  onTestFinished(() => proxy.close());
  const url = `http://127.0.0.1:${proxy.port}/mcp`;
  const opened = await Promise.all(Array.from({ length: SESSIONS }, () => rawOpen(url)));
  await Promise.all(['a', 'b'].map((name) => servers.get(name).kill()));
  const before = proxy.lines.length;
  const answers = await Promise.all(opened.map(({ id }) => rawPing(url, id)));
  expect(answers.map(({ status }) => status)).toEqual(opened.map(() => 503));
  const during = proxy.lines.length - before;
  expect(during).toBeLessThanOrEqual(15);

  // What was counted is said at the end at the latest.
  proxy.signal('SIGTERM');
  expect(await proxy.exit()).toBe(0);
  const failures = proxy.lines.filter(({ msg, outcome }) => msg === 'migration' && outcome === 'failed');
  const counted = failures.reduce((sum, { count }) => sum + Number(count), 0);
  expect(counted).toBeGreaterThanOrEqual(SESSIONS);
  expect(proxy.lines.at(-1)).toMatchObject({ msg: 'stopped' });
});

test.each<[string, readonly string[], number]>([
  ['neither --health-path nor --answer-seconds', [], 1],
  ['--health-path', ['--health-path', '/health'], 0],
  ['--answer-seconds', ['--answer-seconds', '30'], 0],
])('at the start with %s', async (_what, flags, warnings) => {
  const proxy = await startProxyProcess(['--lame-duck-seconds', '0', '--backend', 'http://127.0.0.1:9', ...flags]);
  onTestFinished(() => proxy.close());
  proxy.signal('SIGTERM');
  expect(await proxy.exit()).toBe(0);
  expect(proxy.lines[0]).toMatchObject({ msg: 'listening' });
  const warned = proxy.lines.filter(({ msg }) => msg === 'configuration');
  expect(warned).toHaveLength(warnings);
  for (const line of warned) {
    expect(line).toMatchObject({ level: 'warn', warning: expect.stringMatching(/--health-path.*--answer-seconds/) });
  }
});
