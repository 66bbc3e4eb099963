/** A rolling deployment drains by attrition: new sessions go to the newest release, and no client learns of releases. */

import { afterEach, describe, expect, test } from 'vitest';
import { rawOpen } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { startServers } from '../house/servers.ts';
import { startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

/** Each backend's origin, by name, running that release or, with '', none. */
async function start(releases: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const origins: string[] = [];
  for (const [id, TASK_RELEASE] of Object.entries(releases)) {
    const servers = await startServers([id], { TASK_RELEASE });
    undo.push(() => servers.close());
    origins.push(...servers.origins);
  }
  return origins;
}
async function proxyOf(origins: readonly string[], ...flags: string[]): Promise<TestProxy> {
  const proxy = await startProxy(origins, flags);
  undo.push(() => proxy.stop());
  return proxy;
}
async function homes({ url }: TestProxy, count: number): Promise<string> {
  const tasks: string[] = [];
  for (let at = 0; at < count; at += 1) {
    const talk = await startTalk(url);
    tasks.push(await talk.task('ping'));
    await talk.close();
  }
  return tasks.join('');
}

describe('new sessions go to the newest release', () => {
  test('which health checks find', async () => {
    const proxy = await proxyOf(await start({ a: '9', b: '9', c: '10' }), '--health-path', '/health');
    await until('it is known', async () => (await homes(proxy, 8)) === 'cccccccc');
    expect(await homes(proxy, 8)).toBe('cccccccc');
  });

  test('which the answers to initialize say, where nothing else does', async () => {
    const proxy = await proxyOf(await start({ a: '9', c: '10' }));
    await until('it is known', async () => (await homes(proxy, 8)) === 'cccccccc');
    expect(await homes(proxy, 8)).toBe('cccccccc');
  });

  test('and sessions of an older one stay where they are', async () => {
    const origins = await start({ a: '9', c: '10' });
    const proxy = await proxyOf(origins, '--health-path', '/health');
    const talks = await Promise.all(Array.from({ length: 6 }, () => startTalk(proxy.url)));
    undo.push(() => Promise.all(talks.map((talk) => talk.close())));
    const before = await Promise.all(talks.map((talk) => talk.task('ping')));
    await until('it is known', async () => (await homes(proxy, 8)) === 'cccccccc');
    expect(await Promise.all(talks.map((talk) => talk.task('ping')))).toEqual(before);
  });

  test('who says nothing is as good as the newest', async () => {
    const proxy = await proxyOf(await start({ a: '9', b: '', c: '10' }), '--health-path', '/health');
    await until('it is known', async () => !(await homes(proxy, 12)).includes('a'));
    expect(new Set(await homes(proxy, 20))).toEqual(new Set('bc'));
  });
});

test('a release is shown to no client, on any path', async () => {
  const [origin = ''] = await start({ a: '9' });
  const { url } = await proxyOf([origin]);
  expect((await fetch(`${origin}/health`)).headers.get('mcp-affinity-release')).toBe('9');
  const answers = [(await rawOpen(url)).headers, (await fetch(url.replace('/mcp', '/health'))).headers];
  for (const headers of answers) expect([...headers.keys()].join(' ')).not.toContain('affinity');
});
