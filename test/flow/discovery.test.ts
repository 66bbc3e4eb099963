/** Clients go on talking while discovery changes, shrinks, fails and falls silent, and while a backend hangs. */

import { getServers, setServers } from 'node:dns';
import { afterEach, describe, expect, test } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type TestDns, startDns } from '../house/dns.ts';
import { type Flow, type FlowOptions, type TestProxy, startFlow, startProxy } from '../house/flow.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { CLOCK, type Talk, UNKNOWN, keepTalking, startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const NAME = 'mcp.test';
const ADDRESSES = { a: '127.0.0.2', b: '127.0.0.3', c: '127.0.0.4' };
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Named = keyof typeof ADDRESSES;
type Discovered = { readonly dns: TestDns; readonly servers: TestServers; readonly proxy: TestProxy };

/** Three servers at addresses of their own behind one name, which names `first`. */
async function discover(first: readonly Named[] | 'silence'): Promise<Discovered> {
  const servers = await startServers(Object.keys(ADDRESSES), {}, Object.values(ADDRESSES));
  undo.push(() => servers.close());
  const dns = await startDns();
  const before = getServers();
  setServers([dns.server]);
  undo.push(
    () => dns.close(),
    () => setServers(before),
  );
  dns.set('A', NAME, first === 'silence' ? first : first.map((id) => ADDRESSES[id]));
  const port = servers.get('a').port;
  const proxy = await startProxy([], ['--dns', `${NAME}:${port}`, '--refresh', '0.1']);
  undo.push(() => proxy.stop());
  return { dns, servers, proxy };
}

async function talk({ proxy }: Discovered): Promise<Talk> {
  const client = await startTalk(proxy.url);
  undo.push(() => client.close());
  return client;
}

const names = (dns: TestDns, ...ids: readonly Named[]) =>
  dns.set(
    'A',
    NAME,
    ids.map((id) => ADDRESSES[id]),
  );
const states = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) => (event.type === 'discovery' ? [event.state] : []));

describe('by DNS', () => {
  test('no call fails while the answers change, shrink, fail and fall silent', async () => {
    const begun = await discover(['a', 'b']);
    const { dns, servers, proxy } = begun;
    const clients = await Promise.all(Array.from({ length: 4 }, () => talk(begun)));
    const homes = await Promise.all(clients.map((client) => client.task('ping')));
    expect(homes).not.toContain('c');
    const talking = keepTalking(clients);

    names(dns, 'b', 'c');
    await dns.next(4);
    // a has left discovery and not died: it gets no new sessions, and its own leave it when they are quiet.
    const later = await Promise.all(Array.from({ length: 4 }, () => talk(begun)));
    expect(await Promise.all(later.map((client) => client.task('ping')))).not.toContain('a');
    const now = await until('nobody is at a any more', async () => {
      const tasks = await Promise.all(clients.map((client) => client.task('ping')));
      return !tasks.includes('a') && tasks;
    });
    expect(now.filter((task, at) => task !== homes[at] && homes[at] !== 'a')).toEqual([]);

    for (const trouble of ['SERVFAIL', 'silence', 'NXDOMAIN'] as const) {
      const before = states(proxy.events).length;
      dns.all(trouble);
      await until(`${trouble} is noticed`, () => states(proxy.events)[before] === 'down');
      await dns.next(trouble === 'silence' ? 2 : 8);
      expect(await Promise.all(clients.map((client) => client.task('ping')))).toEqual(now);
      dns.all();
      await until('discovery is back', () => states(proxy.events)[before + 1] === 'up');
    }

    await servers.get('a').kill();
    await dns.next(4);
    await talking.stop();
    expect(await Promise.all(clients.map((client) => client.task('ping')))).not.toContain('a');
    expect(talking.said.length).toBeGreaterThan(100);
    expect(proxy.events.filter((event) => event.type === 'exchange' && event.outcome === 'refused')).toEqual([]);
  });

  test('a proxy that starts without DNS serves as soon as it answers', async () => {
    const begun = await discover('silence');
    const waiting = talk(begun);
    await begun.dns.next(2);
    names(begun.dns, 'b');
    expect(await (await waiting).task('ping')).toBe('b');
  });
});

describe('with --health-path', () => {
  async function begin(options: FlowOptions): Promise<Flow> {
    const flow = await startFlow(options);
    undo.push(() => flow.close());
    return flow;
  }
  const events = (flow: Flow, type: RoutingEvent['type']) =>
    flow.proxies.flatMap((proxy) => proxy.events).filter((event) => event.type === type);

  test('what hangs with a stopped backend goes on at another: a safe call, the session, the open stream', async () => {
    const flow = await begin({ backends: ['a', 'b'], flags: ['--health-path', '/health'] });
    const client = await flow.talk();
    await client.client.subscribeResource({ uri: CLOCK });
    await until('it listens', () => events(flow, 'stream').length === 1);
    const home = await client.task('ping');
    const other = home === 'a' ? 'b' : 'a';
    const running = client.outcome('safe_effect', { key: 'k', ms: 1000 });
    const unsafe = client.outcome('effect', { key: 'u', ms: 1000 });
    await Promise.all([flow.begun('k'), flow.begun('u')]);

    flow.backend(home).pause();
    expect(await running).toBe(other);
    expect(await unsafe).toBe(UNKNOWN);
    expect([flow.runs('k'), flow.runs('u')]).toEqual([[home, other], [home]]);
    expect(await client.task('ping')).toBe(other);
    await until('it listens again', () => events(flow, 'stream').length === 2);
    await client.call('touch_resource');
    await until('an update is heard', () => client.heard.updates.length > 0);
    expect(events(flow, 'stream')).toMatchObject([{ change: 'opened' }, { change: 'reattached' }]);

    flow.backend(home).resume();
    await until('it is alive', () => events(flow, 'backend').length === 2);
    expect(events(flow, 'backend')).toMatchObject([{ state: 'dead' }, { state: 'alive' }]);
    expect(await client.task('ping')).toBe(other);
  });

  test('a wrong one takes nothing down', async () => {
    const flow = await begin({ backends: ['a', 'b'], flags: ['--health-path', '/nowhere'] });
    const client = await flow.talk();
    const home = await client.task('ping');
    await until('the checks are ignored', () => events(flow, 'checks').length > 0);
    expect(events(flow, 'checks')).toMatchObject([{ state: 'ignored', cause: 'status 404' }]);
    expect(await client.task('ping')).toBe(home);
    expect(await (await flow.talk()).task('ping')).toMatch(/^[ab]$/);
    await flow.kill(home);
    expect(await client.task('ping')).not.toBe(home);
  });
});
