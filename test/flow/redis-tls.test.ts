/** The command with a Redis that speaks TLS to one user: trusted by NODE_EXTRA_CA_CERTS, and its password never seen. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { rawOpen, rawPing } from '../house/by-hand.ts';
import { PASSWORD, type TlsRedis, startTlsRedis } from '../house/redis/tls.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { until } from '../house/until.ts';

let redis: TlsRedis;
let servers: TestServers;
beforeAll(async () => {
  [redis, servers] = await Promise.all([startTlsRedis(), startServers(['a'])]);
}, 180_000);
afterAll(async () => {
  await Promise.all([redis.close(), servers.close()]);
});

/** All that it has written, and where it listens. */
async function startCommand(url: string, env: Record<string, string> = {}) {
  const args = ['proxy/cli.ts', '--port=0', '--ops-port=0', '--log-level=debug', `--backend=${servers.origins[0]}`];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_EXTRA_CA_CERTS: '', ...env, REDIS_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const gone = new Promise((resolve) => child.once('exit', resolve));
  onTestFinished(async () => {
    child.kill();
    await gone;
  });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) createInterface(stream).on('line', (line) => said.push(line));
  const port = await until('it listens', () => /"port":(\d+).*"msg":"listening"/.exec(said.join('\n'))?.[1]);
  return { url: `http://127.0.0.1:${port}/mcp`, said: () => said.join('\n') };
}

const SECRETS = [PASSWORD, encodeURIComponent(PASSWORD)];
function expectNoSecret(text: string): void {
  for (const secret of SECRETS) expect(text).not.toContain(secret);
}

test('an authority of our own, a user and a password', async () => {
  const { url, said } = await startCommand(redis.url, { NODE_EXTRA_CA_CERTS: redis.authority });
  const { id, status } = await rawOpen(url);
  expect(status).toBe(200);
  expect((await rawPing(url, id)).status).toBe(200);
  expect(said()).not.toContain('"registry"');
  expectNoSecret(said());
});

test.each<[string, (url: string) => string, boolean, string]>([
  ['an authority that nobody trusts', (url) => url, false, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  [
    'a name that is not in the certificate',
    (url) => url.replace('127.0.0.1', 'localhost'),
    true,
    'ERR_TLS_CERT_ALTNAME_INVALID',
  ],
  ['a wrong password', (url) => url.replace('%231@', '%232@'), true, 'WRONGPASS'],
  ['no TLS', (url) => url.replace('rediss:', 'redis:'), true, '"state":"down"'],
])('%s: refused, and said without the password', async (_what, change, trusted, cause) => {
  const { url, said } = await startCommand(change(redis.url), trusted ? { NODE_EXTRA_CA_CERTS: redis.authority } : {});
  const { status, headers } = await rawOpen(url);
  expect([status, headers.get('retry-after')]).toEqual([503, '1']);
  await until('it is said', () => said().includes(cause));
  expectNoSecret(said());
  expectNoSecret(said().replaceAll('%232', '%231').replaceAll('#2', '#1'));
});

test('a URL that is wrong is not shown', async () => {
  const child = spawn(process.execPath, ['proxy/cli.ts', `--redis=${redis.url}/x`, `--backend=${servers.origins[0]}`]);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (said += text));
  expect(await new Promise((resolve) => child.once('exit', resolve))).toBe(2);
  expect(said).toContain('--redis: expected a URL');
  expectNoSecret(said);
});
