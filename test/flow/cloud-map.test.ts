/** Clients go on talking while tasks register and leave, while Cloud Map refuses and falls silent, and an address is reused. */

import { createServer } from 'node:http';
import { afterEach, expect, test, vi } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { NAMESPACE, SERVICE, type TestCloudMap, startCloudMap } from '../house/cloud-map.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { type Talk, keepTalking, startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Site = { readonly cloudMap: TestCloudMap; readonly servers: TestServers; readonly proxy: TestProxy };

/** Servers a, b and c, of which `first` are registered, each as the task of its own name. */
async function begin(first: readonly string[], flags: readonly string[] = []): Promise<Site> {
  const servers = await startServers();
  undo.push(() => servers.close());
  const cloudMap = await startCloudMap();
  undo.push(() => cloudMap.close());
  for (const [name, value] of Object.entries(cloudMap.env)) vi.stubEnv(name, value);
  for (const id of first) cloudMap.register(id, servers.get(id).origin);
  const proxy = await startProxy([], ['--cloud-map', `${NAMESPACE}/${SERVICE}`, '--refresh', '0.1', ...flags]);
  undo.push(() => proxy.stop());
  return { cloudMap, servers, proxy };
}

async function talk({ proxy }: Site): Promise<Talk> {
  const client = await startTalk(proxy.url);
  undo.push(() => client.close());
  return client;
}
const talks = (site: Site, count: number) => Promise.all(Array.from({ length: count }, () => talk(site)));
const tasks = (clients: readonly Talk[]) => Promise.all(clients.map((client) => client.task('ping')));

/** As in `a b crash migrated`. */
const migrations = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) =>
    event.type === 'migration' ? [`${event.from} ${event.to} ${event.reason} ${event.outcome}`] : [],
  );
const refused = (events: readonly RoutingEvent[]) =>
  events.filter((event) => event.type === 'exchange' && event.outcome !== 'answered' && event.outcome !== 'abandoned');
const states = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) => (event.type === 'discovery' ? [event.state] : []));

test('who registers gets new sessions, who deregisters gives its own away, and no call fails', async () => {
  const site = await begin(['a', 'b']);
  const { cloudMap, servers, proxy } = site;
  const clients = await talks(site, 4);
  expect(await tasks(clients)).not.toContain('c');
  const talking = keepTalking(clients);

  cloudMap.register('c', servers.get('c').origin);
  await cloudMap.next(3);
  const later = await until('a new session is at c', async () => {
    const client = await talk(site);
    return (await client.task('ping')) === 'c' && client;
  });

  cloudMap.deregister('a');
  await cloudMap.next(3);
  await until('nobody is at a any more', async () => !(await tasks(clients)).includes('a'));
  expect(await tasks(await talks(site, 4))).not.toContain('a');
  await servers.get('a').stop();
  expect(await later.task('ping')).toBe('c');
  await talking.stop();
  expect(migrations(proxy.events).filter((one) => !/^a [bc] drain migrated$/.test(one))).toEqual([]);
  expect(refused(proxy.events)).toEqual([]);
});

test('addresses that cannot be a backend’s are left out, and named once', async () => {
  const { cloudMap, proxy } = await begin(['a']);
  cloudMap.register('metadata', 'http://169.254.169.254:3000');
  cloudMap.register('this-host', 'http://0.0.0.0:3000');
  await cloudMap.next(4);
  const unusable = proxy.events.flatMap((event) =>
    event.type === 'unusable' ? [`${event.backend}: ${event.cause}`] : [],
  );
  expect(unusable.toSorted()).toEqual([
    'metadata: it is a link-local address',
    'this-host: it is an unspecified address',
  ]);
  const status: unknown = await (await fetch(`${proxy.opsUrl}/status`)).json();
  expect(status).toMatchObject({ backends: [{ id: 'a' }] });
});

test('the status page says that it is Cloud Map', async () => {
  const { proxy } = await begin(['a']);
  const status: unknown = await (await fetch(`${proxy.opsUrl}/status`)).json();
  expect(status).toMatchObject({ discovery: { kind: 'cloud-map', up: true }, backends: [{ id: 'a' }] });
});

test.each(['throttled', 'failing', 'denied', 'hung up', 'silent', 'empty'] as const)(
  'nothing changes while Cloud Map is in trouble: %s',
  async (trouble) => {
    const site = await begin(['a', 'b', 'c']);
    const { cloudMap, servers, proxy } = site;
    const clients = await talks(site, 6);
    const homes = await tasks(clients);
    const talking = keepTalking(clients);
    cloudMap.trouble(trouble);
    // So that its instances are asked for.
    cloudMap.register('a', servers.get('a').origin);
    await until('discovery is down', () => states(proxy.events)[0] === 'down');
    if (trouble !== 'empty') await cloudMap.next(2);
    expect(await tasks(await talks(site, 2))).toHaveLength(2);
    cloudMap.trouble(undefined, 300);
    await until('discovery is back', () => states(proxy.events).at(-1) === 'up');
    await cloudMap.next(2);
    await talking.stop();
    expect(await tasks(clients)).toEqual(homes);
    expect(talking.said.length).toBeGreaterThan(100);
    expect([migrations(proxy.events), refused(proxy.events)]).toEqual([[], []]);
  },
);

test('all are served on while Cloud Map names nobody, however long', async () => {
  const site = await begin(['a', 'b']);
  const { cloudMap, servers, proxy } = site;
  const clients = await talks(site, 4);
  const homes = await tasks(clients);
  cloudMap.trouble('empty');
  cloudMap.register('a', servers.get('a').origin);
  await cloudMap.next(8);
  expect(await tasks(clients)).toEqual(homes);
  expect(['a', 'b']).toContain(await (await talk(site)).task('ping'));
  expect(migrations(proxy.events)).toEqual([]);
  await servers.get('a').kill();
  expect(await tasks(clients)).toEqual(['b', 'b', 'b', 'b']);
});

test('another task at the address of one that died is no home of its sessions', async () => {
  const site = await begin(['a', 'b']);
  const { cloudMap, servers, proxy } = site;
  const clients = await talks(site, 6);
  const homes = await tasks(clients);
  expect(homes).toContain('a');
  await servers.get('a').kill();
  cloudMap.register('a2', servers.get('a').origin);
  await cloudMap.next(3);
  await servers.get('a').restart();

  expect((await Promise.all(clients.map((client) => client.count()))).toSorted()).toHaveLength(6);
  // Whoever comes before it listens tries another.
  const moves = () => migrations(proxy.events).filter((one) => !one.endsWith(' failed'));
  const moved = moves();
  expect(moved).toHaveLength(homes.filter((home) => home === 'a').length);
  // Not "lost": that is what a stranger's 404 would make of it.
  expect(moved.filter((one) => !/^a (a2|b) crash migrated$/.test(one))).toEqual([]);
  cloudMap.deregister('a');
  await cloudMap.next(3);
  await tasks(clients);
  expect(moves()).toEqual(moved);
  expect(refused(proxy.events)).toEqual([]);
});

test('and when it answers before Cloud Map knows, its sessions go on all the same', async () => {
  const site = await begin(['a', 'b']);
  const { cloudMap, servers, proxy } = site;
  const clients = await talks(site, 6);
  const ofA = (await tasks(clients)).filter((home) => home === 'a').length;
  cloudMap.trouble('throttled');
  await until('discovery is down', () => states(proxy.events).at(-1) === 'down');
  await servers.get('a').restart();
  await tasks(clients);
  cloudMap.deregister('a');
  cloudMap.register('a2', servers.get('a').origin);
  cloudMap.trouble();
  await until('discovery is back', () => states(proxy.events).at(-1) === 'up');
  const before = migrations(proxy.events);
  expect(before.filter((one) => one.endsWith('migrated'))).toHaveLength(ofA);
  await tasks(clients);
  // Those that went on at the address are at a task that is no more: a2 is another.
  const stayed = before.filter((one) => one.startsWith('a a '));
  expect(migrations(proxy.events)).toHaveLength(before.length + stayed.length);
  expect(refused(proxy.events)).toEqual([]);
});

test('on ECS a backend in the own zone is preferred', async () => {
  const metadata = createServer((_request, response) => void response.end('{"AvailabilityZone":"eu-test-1b"}'));
  await new Promise<void>((resolve) => metadata.listen(0, '127.0.0.1', resolve));
  undo.push(() => metadata.close());
  const address = metadata.address();
  vi.stubEnv('ECS_CONTAINER_METADATA_URI_V4', `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`);
  const site = await begin(['a', 'b']);
  site.cloudMap.register('c', site.servers.get('c').origin, { AVAILABILITY_ZONE: 'eu-test-1b' });
  await site.cloudMap.next(3);
  const one = await talk(site);
  const two = await talk(site);
  expect(await tasks([one, two])).toEqual(['c', 'c']);
});

test('a proxy that starts without Cloud Map serves as soon as that answers', async () => {
  const site = await begin([]);
  const waiting = talk(site);
  await site.cloudMap.next(2);
  site.cloudMap.register('b', site.servers.get('b').origin);
  expect(await (await waiting).task('ping')).toBe('b');
});
