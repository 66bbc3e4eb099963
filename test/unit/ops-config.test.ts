/** The configuration as operators see it: all of it, and no secret. */

import { once } from 'node:events';
import { createServer } from 'node:http';
import express from 'express';
import { expect, onTestFinished, test } from 'vitest';
import { parseConfig } from '../../proxy/config.ts';
import { createConfigApi } from '../../proxy/ops/config.ts';
import { OPTIONS } from '../../proxy/options.ts';

async function shown(args: readonly string[]): Promise<Record<string, unknown>> {
  const parsed = parseConfig(['--backend', 'http://10.0.0.7:3000', ...args], {});
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join('; '));
  const server = createServer(express().use(createConfigApi(parsed.config))).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  return Object(await (await fetch(`http://127.0.0.1:${port}/config`)).json());
}

test('every option is there', async () => {
  const config = await shown([]);
  expect(Object.keys(config).toSorted()).toEqual(Object.keys(OPTIONS).toSorted());
  expect(config).toMatchObject({ port: 8080, backends: ['http://10.0.0.7:3000'], maxSessions: null, redis: null });
});

test.each([
  ['redis://redis:6379', 'redis://redis:6379'],
  ['rediss://me:hunter2@redis:6380/3', 'rediss://***@redis:6380/3'],
  ['redis://:hunter2@redis', 'redis://***@redis'],
  ['redis://me:hun@ter2@redis', 'redis://***@redis'],
  ['redis+sentinel://me:hunter2@a,b:1/main?password=hunter3', 'redis+sentinel://***@a,b:1/main?***'],
])('%s', async (redis, seen) => {
  expect((await shown(['--redis', redis]))['redis']).toEqual([seen]);
});

test('the token is not shown', async () => {
  const config = await shown(['--ops-token', 'correct-horse-battery']);
  expect(config['opsToken']).toBe('***');
  expect(JSON.stringify(config)).not.toContain('horse');
});

test.each(['short', 'with spaces in it all', 'ünter-zwölf-zeichen', 'a'.repeat(15)])(
  'a token %j is refused, and not shown',
  (token) => {
    const parsed = parseConfig(['--backend', 'http://a', '--ops-token', token], {});
    expect(parsed).toMatchObject({
      kind: 'faults',
      faults: [expect.stringMatching(/^--ops-token: expected a token of 16/)],
    });
    expect(JSON.stringify(parsed)).not.toContain(token);
  },
);
