/** Sessions that are lost again and again: told to start over, with one warning that says why, and counted. */

import { expect, onTestFinished, test } from 'vitest';
import { rawOpen, rawPing } from '../house/by-hand.ts';
import { startProxyProcess } from '../house/proxy-process.ts';
import { startPlain } from '../house/plain.ts';

const CLIENTS = 20;

test('20 clients before a backend that knows nobody', async () => {
  const a = await startPlain('a');
  onTestFinished(() => a.close());
  a.after = ({ what, session }) => what === 'initialize' && !a.sessions.delete(session);
  const proxy = await startProxyProcess(['--lame-duck-seconds', '0', '--backend', a.origin]);
  onTestFinished(() => proxy.close());
  const url = `http://127.0.0.1:${proxy.port}/mcp`;
  const ops = `http://127.0.0.1:${proxy.opsPort}`;

  const ids = (await Promise.all(Array.from({ length: CLIENTS }, () => rawOpen(url)))).map(({ id }) => id);
  const answers = await Promise.all(ids.map((id) => rawPing(url, id)));
  expect(answers.map(({ status, message }) => [status, message])).toEqual(
    ids.map(() => [404, expect.objectContaining({ error: { code: -32_001, message: 'Session not found' } })]),
  );
  expect(a.asked.filter((what) => what === 'initialize').length).toBeLessThanOrEqual(3 * CLIENTS);

  const metrics = await (await fetch(`${ops}/metrics`)).text();
  expect(metrics).toContain(`mcp_affinity_sessions_lost_total{cause="forgotten"} ${CLIENTS}\n`);

  const lost = () => proxy.lines.filter(({ msg, change }) => msg === 'session' && change === 'lost');
  expect(lost()).toHaveLength(1);
  expect(lost()[0]).toMatchObject({
    level: 'warn',
    cause: 'forgotten',
    origin: a.origin,
    likely: expect.stringContaining('several workers or an unsticky balancer'),
    count: 1,
  });
  // The others are said at the end at the latest, in one line.
  proxy.signal('SIGTERM');
  expect(await proxy.exit()).toBe(0);
  expect(lost().map(({ count }) => count)).toEqual([1, CLIENTS - 1]);
  expect(JSON.stringify(proxy.lines)).not.toContain(ids[0]);
});
