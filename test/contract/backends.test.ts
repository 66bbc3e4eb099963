/** The contract of Backends, for each implementation. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { askCloudMap } from '../../proxy/backends/cloud-map-client.ts';
import { cloudMapBackends } from '../../proxy/backends/cloud-map.ts';
import { drainableBackends, memoryMarks } from '../../proxy/backends/drains.ts';
import { staticBackends } from '../../proxy/backends/static.ts';
import { checkedBackends } from '../../proxy/backends/health.ts';
import { type Lookup, dnsBackends } from '../../proxy/backends/dns.ts';
import { NAMESPACE, SERVICE, type TestCloudMap, startCloudMap } from '../house/cloud-map.ts';
import { reportedBackends } from '../../proxy/backends/releases.ts';
import { backendsContract } from './backends.ts';

const LIST = ['http://a:3000', 'http://b:3000'];

backendsContract('static, under drain marks', {
  make: async () => {
    const inner = staticBackends(LIST);
    const backends = drainableBackends(inner, memoryMarks());
    const close = async () => {
      await Promise.all([backends.close(), inner.close()]);
    };
    return { ...backends, close };
  },
  suspectMs: 2_000,
});

backendsContract('static, under what backends report', {
  make: async () => {
    const inner = staticBackends(LIST);
    const backends = reportedBackends(inner);
    const close = async () => {
      await Promise.all([backends.close(), inner.close()]);
    };
    return { ...backends, close };
  },
  suspectMs: 2_000,
});

test('a release is known until its backend fails: what comes back at its address may be another', async () => {
  const inner = staticBackends(LIST);
  const backends = reportedBackends(inner);
  let heard = 0;
  backends.onChange(() => (heard += 1));
  const releases = () => backends.list().map(({ release }) => release);
  backends.reports('a:3000', 7);
  backends.reports('a:3000', 7);
  backends.reports('stranger:3000', 9);
  expect([releases(), heard]).toEqual([[7, undefined], 1]);
  backends.suspect('a:3000', new Error('refused'));
  expect(releases()).toEqual([undefined, undefined]);
  await Promise.all([backends.close(), inner.close()]);
});

backendsContract('static', { make: async () => staticBackends(LIST), suspectMs: 2_000 });
backendsContract('static, with a time of its own', {
  make: async () => staticBackends(LIST, { suspectMs: 50 }),
  suspectMs: 50,
});

test('static: an id has a port, whatever the origin says', () => {
  const ids = staticBackends(['http://a', 'https://b', 'http://[::1]:1'])
    .list()
    .map(({ id }) => id);
  expect(ids).toEqual(['a:80', 'b:443', '[::1]:1']);
});

const ttl = 3600;
const lookup: Lookup = {
  resolve4: async () => [
    { address: 'a', ttl },
    { address: 'b', ttl },
  ],
  resolve6: async () => [],
  resolveSrv: async () => [],
};
backendsContract('dns', {
  async make() {
    const backends = dnsBackends({ name: 'mcp.test', port: 3000, lookup });
    await backends.ready;
    return backends;
  },
  suspectMs: 2_000,
});
describe('over a Cloud Map', () => {
  let cloudMap: TestCloudMap;
  beforeEach(async () => {
    cloudMap = await startCloudMap();
    cloudMap.register('a:3000', 'http://10.0.0.1:3000');
    cloudMap.register('b:3000', 'http://10.0.0.2:3000');
    for (const [name, value] of Object.entries(cloudMap.env)) vi.stubEnv(name, value);
  });
  afterEach(() => cloudMap.close());

  backendsContract('cloud-map', {
    async make() {
      const client = askCloudMap({ namespace: NAMESPACE, service: SERVICE });
      const backends = cloudMapBackends(client, { port: undefined });
      await backends.ready;
      return backends;
    },
    suspectMs: 2_000,
    origins: ['http://10.0.0.1:3000', 'http://10.0.0.2:3000'],
  });
});

backendsContract('checked over static', {
  make: async () => checkedBackends(staticBackends(LIST), { check: async () => ({ kind: 'well' }) }),
  suspectMs: 2_000,
});
