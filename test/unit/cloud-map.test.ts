/** What discovery makes of Cloud Map: the real SDK, and a Cloud Map that changes, empties, refuses and falls silent. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { askCloudMap } from '../../proxy/backends/cloud-map-client.ts';
import { type CloudMapOptions, cloudMapBackends } from '../../proxy/backends/cloud-map.ts';
import type { AskedBackends } from '../../proxy/backends/rounds.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { NAMESPACE, SERVICE, type TestCloudMap, type Trouble, startCloudMap } from '../house/cloud-map.ts';
import { soon, until } from '../house/until.ts';

const A = 'http://127.0.0.2:3000';
const B = 'http://127.0.0.3:3000';

let cloudMap: TestCloudMap;
let backends: AskedBackends;
let events: RoutingEvent[];
beforeEach(async () => {
  cloudMap = await startCloudMap();
  for (const [name, value] of Object.entries(cloudMap.env)) vi.stubEnv(name, value);
  events = [];
});
afterEach(async () => {
  await backends.close();
  await cloudMap.close();
});

type Options = Partial<CloudMapOptions> & { readonly namespace?: string; readonly service?: string };

/** Two tries are not waited for: the SDK pauses in between. */
async function discover({ namespace = NAMESPACE, service = SERVICE, ...options }: Options = {}): Promise<void> {
  vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
  const client = askCloudMap({ namespace, service }, { connectMs: 200, answerMs: 200 });
  const record = (event: RoutingEvent) => void events.push(event);
  backends = cloudMapBackends(client, { port: undefined, refreshMs: 10, record, ...options });
  await backends.ready;
}

/** As in `a`, and `(a)` for one that is draining. */
const seen = () =>
  backends
    .list()
    .map(({ id, draining }) => (draining ? `(${id})` : id))
    .toSorted()
    .join(' ');
const shows = (list: string) => until(`the list is ${list}`, () => seen() === list);
const instancesAsked = () => cloudMap.asked.filter((question) => question === 'instances').length;
const states = () =>
  events.map((event) => (event.type === 'discovery' && event.state === 'down' ? `down ${event.cause}` : 'up'));

describe('instances', () => {
  test('are backends under their own ids, in their zones', async () => {
    cloudMap.register('a', A);
    cloudMap.register('b', 'http://127.0.0.3:1', { AWS_INSTANCE_PORT: undefined, AVAILABILITY_ZONE: 'eu-test-1b' });
    await discover({ port: 4000 });
    expect(backends.list().toSorted((one, other) => (one.id < other.id ? -1 : 1))).toEqual([
      { id: 'a', origin: A, zone: 'eu-test-1a', draining: false, suspect: false },
      { id: 'b', origin: 'http://127.0.0.3:4000', zone: 'eu-test-1b', draining: false, suspect: false },
    ]);
    expect(events).toEqual([]);
  });

  test('that come are listed, that go are draining, that come back are ready', async () => {
    cloudMap.register('a', A);
    await discover();
    cloudMap.register('b', B);
    await shows('a b');
    cloudMap.deregister('a');
    await shows('(a) b');
    cloudMap.register('a', A);
    await shows('a b');
    expect(events).toEqual([]);
  });

  test('are asked for when the revision changes, and in any case when it is time', async () => {
    let now = 0;
    cloudMap.register('a', A);
    await discover({ now: () => now, lingerMs: 20 });
    await cloudMap.next(5);
    expect(instancesAsked()).toBe(1);
    cloudMap.register('b', B);
    await shows('a b');
    await cloudMap.next(5);
    expect(instancesAsked()).toBe(2);
    cloudMap.setHealth('b', 'UNHEALTHY');
    await cloudMap.next(5);
    expect(seen()).toBe('a b');
    now = 10_000;
    await shows('(b) a');
    // It is a member still, and does not leave in time.
    await cloudMap.next(3);
    expect(seen()).toBe('(b) a');
    cloudMap.setHealth('a', 'UNHEALTHY');
    now = 20_000;
    await shows('a b');
    expect(instancesAsked()).toBe(4);
  });

  test('in another order are no change', async () => {
    for (let at = 2; at < 12; at += 1) cloudMap.register(`t${at}`, `http://127.0.0.${at}:1`);
    await discover({ instancesMs: 0 });
    let changes = 0;
    backends.onChange(() => (changes += 1));
    await cloudMap.next(10);
    expect(changes).toBe(0);
  });

  test('at an address of another are other backends, and whoever had it is gone', async () => {
    cloudMap.register('a', A);
    cloudMap.register('b', B);
    await discover();
    const lists: string[] = [];
    backends.onChange(() => lists.push(seen()));
    cloudMap.register('c', A);
    await shows('b c');
    cloudMap.deregister('a');
    await cloudMap.next(5);
    cloudMap.register('d', B);
    cloudMap.deregister('b');
    await shows('c d');
    expect(lists.at(0)).toBe('b c');
    expect(lists.at(-1)).toBe('c d');
  });
});

describe('trouble changes nothing', () => {
  test.each<[Trouble, RegExp]>([
    ['throttled', /^down Cloud Map: RequestLimitExceeded: /],
    ['failing', /^down Cloud Map: InternalFailure: /],
    ['denied', /allow servicediscovery:DiscoverInstances and servicediscovery:DiscoverInstancesRevision$/],
    ['hung up', /^down Cloud Map: ECONNRESET$/],
    ['silent', /^down Cloud Map: ETIMEDOUT$/],
  ])('%s, however long', async (trouble, cause) => {
    cloudMap.register('a', A);
    await discover({ instancesMs: 50 });
    cloudMap.trouble(trouble);
    await until('discovery is down', () => events.length === 1);
    await cloudMap.next(5);
    expect(seen()).toBe('a');
    cloudMap.register('b', B);
    cloudMap.trouble();
    await shows('a b');
    expect(states()).toEqual([expect.stringMatching(cause), 'up']);
  });

  test('slow answers are answers', async () => {
    cloudMap.register('a', A);
    cloudMap.trouble(undefined, 100);
    await discover();
    cloudMap.register('b', B);
    await shows('a b');
    expect(events).toEqual([]);
  });

  test('a start without Cloud Map is a start', async () => {
    cloudMap.register('a', A);
    cloudMap.trouble('hung up');
    await discover();
    expect(seen()).toBe('');
    cloudMap.trouble();
    await shows('a');
    expect(states()).toEqual(['down Cloud Map: ECONNRESET', 'up']);
  });

  test('how old the last good answer is goes with it', async () => {
    cloudMap.register('a', A);
    const before = Date.now();
    await discover();
    cloudMap.trouble('throttled');
    await until('discovery is down', () => events.length === 1);
    const [told] = events;
    if (told?.type !== 'discovery' || told.state !== 'down') throw new Error('Expected that discovery is down');
    expect(told.since).toBeGreaterThanOrEqual(before);
    expect(told.since).toBeLessThanOrEqual(Date.now());
  });
});

describe('nobody', () => {
  test('is believed the third time in a row, and each leaves when it fails', async () => {
    cloudMap.register('a', A);
    cloudMap.register('b', B);
    await discover({ instancesMs: 60_000, lingerMs: 50 });
    const lists: string[] = [];
    backends.onChange(() => lists.push(seen()));
    const before = instancesAsked();
    cloudMap.trouble('empty');
    cloudMap.register('a', A);
    await shows('(a) (b)');
    // A fourth may be on its way by now.
    expect([3, 4]).toContain(instancesAsked() - before);
    await cloudMap.next(20);
    expect(lists).toEqual(['(a) (b)']);
    backends.suspect('a', new Error('refused'));
    expect(seen()).toBe('(b)');
    cloudMap.trouble();
    await shows('a b');
    expect(states()).toEqual(['down no instance is registered in Cloud Map', 'up']);
  });

  test('is asked about again at once, though the revision is the same', async () => {
    cloudMap.register('a', A);
    cloudMap.trouble('empty');
    await discover({ instancesMs: 60_000 });
    expect(seen()).toBe('');
    cloudMap.trouble();
    await shows('a');
  });
});

describe('what is wrong is named, with where to set it right', () => {
  test.each<[string, Options, Readonly<Record<string, string | undefined>>, string]>([
    [
      'a namespace',
      { namespace: 'mcp.tset' },
      {},
      'Cloud Map: there is no namespace "mcp.tset" in this region and account, check --cloud-map (CLOUD_MAP_SERVICE) and AWS_REGION',
    ],
    [
      'a service',
      { service: 'sever' },
      {},
      'Cloud Map: there is no service "sever" in the namespace "mcp.test", check --cloud-map (CLOUD_MAP_SERVICE)',
    ],
    ['no region', {}, { AWS_REGION: undefined }, 'Cloud Map: no region: set AWS_REGION'],
    ['an empty region', {}, { AWS_REGION: '' }, 'Cloud Map: no region: set AWS_REGION'],
    [
      'no credentials',
      {},
      { AWS_ACCESS_KEY_ID: '', AWS_EC2_METADATA_DISABLED: 'true' },
      'Cloud Map: no credentials (Could not load credentials from any providers): give the task a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
    ],
  ])('%s', async (_what, options, env, cause) => {
    for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    await discover(options);
    expect(states()).toEqual([`down ${cause}`]);
  });

  test('no port', async () => {
    cloudMap.register('a', A, { AWS_INSTANCE_PORT: undefined });
    await discover();
    await cloudMap.next(5);
    expect(states()).toEqual([expect.stringContaining('give the port as --backend-port or BACKEND_PORT')]);
  });
});

test('closing ends what is being asked', async () => {
  cloudMap.trouble('silent');
  const client = askCloudMap({ namespace: NAMESPACE, service: SERVICE }, { answerMs: 60_000, questionMs: 60_000 });
  backends = cloudMapBackends(client, { port: undefined, record: (event) => void events.push(event) });
  await cloudMap.next();
  await backends.close();
  await soon('the end of the question', backends.ready, 1_000);
  expect(events).toEqual([]);
});

test('a question ends in its time, whatever the tries take', async () => {
  cloudMap.trouble('silent');
  const client = askCloudMap({ namespace: NAMESPACE, service: SERVICE }, { questionMs: 100 });
  backends = cloudMapBackends(client, { port: undefined, record: (event) => void events.push(event) });
  await soon('the end of the first round', backends.ready, 2_000);
  expect(states()).toEqual(['down Cloud Map: no answer in 100 ms']);
});
