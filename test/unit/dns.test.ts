/** What discovery makes of DNS: a real server on UDP that changes, empties, fails and falls silent. */

import { promises } from 'node:dns';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type DnsOptions, dnsBackends } from '../../proxy/backends/dns.ts';
import type { AskedBackends } from '../../proxy/backends/rounds.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type TestDns, startDns } from '../house/dns.ts';
import { until } from '../house/until.ts';

const NAME = 'mcp.test';
const SRV = '_mcp._tcp.mcp.test';

let dns: TestDns;
let backends: AskedBackends;
let events: RoutingEvent[];
let resolver: promises.Resolver;
beforeEach(async () => {
  dns = await startDns();
  events = [];
});
afterEach(async () => {
  await backends.close();
  resolver.cancel();
  await dns.close();
});

type Resolving = NonNullable<ConstructorParameters<typeof promises.Resolver>[0]>;

async function discover(options: Partial<DnsOptions> = {}, resolving: Resolving = {}): Promise<void> {
  resolver = new promises.Resolver({ timeout: 500, tries: 1, ...resolving });
  resolver.setServers([dns.server]);
  const record = (event: RoutingEvent) => void events.push(event);
  backends = dnsBackends({ name: NAME, port: 3000, refreshMs: 10, lookup: resolver, record, ...options });
  await backends.ready;
}

/** As in `127.0.0.2:3000`, and `(…)` for one that is draining. */
const seen = () =>
  backends
    .list()
    .map(({ id, draining }) => (draining ? `(${id})` : id))
    .toSorted();
const shows = (...ids: string[]) =>
  until(`the list is ${ids.join(' ')}`, () => seen().join(' ') === ids.toSorted().join(' '));
const states = () =>
  events.map((event) => (event.type === 'discovery' && event.state === 'down' ? `down ${event.cause}` : 'up '));

describe('addresses', () => {
  test('of both families are members', async () => {
    dns.set('A', NAME, ['127.0.0.2', '127.0.0.3']);
    dns.set('AAAA', NAME, ['::1']);
    await discover();
    expect(seen()).toEqual(['127.0.0.2:3000', '127.0.0.3:3000', '[::1]:3000']);
    expect(backends.list().find(({ id }) => id.includes('::1'))?.origin).toBe('http://[::1]:3000');
    expect(events).toEqual([]);
  });

  test('that come are listed, that go are draining, that come back are ready', async () => {
    dns.set('A', NAME, ['127.0.0.2']);
    await discover();
    dns.set('A', NAME, ['127.0.0.3']);
    await shows('(127.0.0.2:3000)', '127.0.0.3:3000');
    dns.set('A', NAME, ['127.0.0.2', '127.0.0.3']);
    await shows('127.0.0.2:3000', '127.0.0.3:3000');
    expect(events).toEqual([]);
  });

  test('one that has gone and refuses is dropped', async () => {
    dns.set('A', NAME, ['127.0.0.2', '127.0.0.3']);
    await discover();
    dns.set('A', NAME, ['127.0.0.3']);
    await shows('(127.0.0.2:3000)', '127.0.0.3:3000');
    backends.suspect('127.0.0.2:3000', new Error('refused'));
    expect(seen()).toEqual(['127.0.0.3:3000']);
  });

  test('in another order are no change', async () => {
    dns.set('A', NAME, ['127.0.0.2', '127.0.0.3']);
    await discover();
    let changes = 0;
    backends.onChange(() => (changes += 1));
    dns.set('A', NAME, ['127.0.0.3', '127.0.0.2']);
    await dns.next(10);
    expect(changes).toBe(0);
  });
});

describe('trouble changes nothing', () => {
  test.each(['SERVFAIL', 'silence'] as const)('%s, however long', async (trouble) => {
    dns.set('A', NAME, ['127.0.0.2']);
    await discover();
    dns.all(trouble);
    await until('discovery is down', () => events.length === 1);
    await dns.next(10);
    expect(seen()).toEqual(['127.0.0.2:3000']);
    dns.all();
    dns.set('A', NAME, ['127.0.0.2', '127.0.0.3']);
    await shows('127.0.0.2:3000', '127.0.0.3:3000');
    expect(states()).toEqual([`down ${trouble === 'silence' ? 'ETIMEOUT' : 'ESERVFAIL'}`, 'up ']);
  });

  test('one family that fails takes nothing from the other, nor its own', async () => {
    dns.set('A', NAME, ['127.0.0.2']);
    dns.set('AAAA', NAME, ['::1']);
    await discover();
    dns.set('A', NAME, ['127.0.0.3']);
    dns.set('AAAA', NAME, 'silence');
    await shows('(127.0.0.2:3000)', '127.0.0.3:3000', '[::1]:3000');
    await dns.next(8);
    expect(seen()).toEqual(['(127.0.0.2:3000)', '127.0.0.3:3000', '[::1]:3000']);
    expect(events).toEqual([]);
  });

  test('a start without DNS is a start', async () => {
    dns.all('silence');
    await discover();
    expect(seen()).toEqual([]);
    dns.all();
    dns.set('A', NAME, ['127.0.0.2']);
    await shows('127.0.0.2:3000');
    expect(states()).toEqual(['down ETIMEOUT', 'up ']);
  });
});

describe('a question that is late holds up no other', () => {
  /** The resolver waits a minute at first, and a moment each time when it has seen how fast the server is. */
  const NEVER = { timeout: 60_000, tries: 50 };
  const asked = (question: string) => dns.asked.filter((one) => one === question).length;

  test('of two families, from the start on, and it is not asked twice', async () => {
    dns.set('A', NAME, ['127.0.0.2']);
    dns.set('AAAA', NAME, 'silence');
    await discover({}, NEVER);
    expect(seen()).toEqual(['127.0.0.2:3000']);
    dns.set('A', NAME, ['127.0.0.3']);
    await shows('(127.0.0.2:3000)', '127.0.0.3:3000');
    expect(asked(`AAAA ${NAME}`)).toBe(1);
    expect(events).toEqual([]);
  });

  test('and is believed when it comes, not at the next round', async () => {
    dns.set('A', NAME, ['127.0.0.2'], 3600);
    dns.set('AAAA', NAME, 'silence');
    await discover({ refreshMs: 60_000 }, { timeout: 600, tries: 5 });
    expect(seen()).toEqual(['127.0.0.2:3000']);
    dns.set('AAAA', NAME, ['::1'], 3600);
    await shows('127.0.0.2:3000', '[::1]:3000');
    expect(asked(`A ${NAME}`)).toBe(1);
  });

  test('what it said last stays meanwhile', async () => {
    dns.set('A', NAME, ['127.0.0.2']);
    dns.set('AAAA', NAME, ['::1']);
    await discover({}, NEVER);
    dns.set('AAAA', NAME, 'silence');
    await dns.next(4);
    dns.set('A', NAME, ['127.0.0.3']);
    await shows('(127.0.0.2:3000)', '127.0.0.3:3000', '[::1]:3000');
    expect(events).toEqual([]);
  });

  test('of several SRV targets, from the start on', async () => {
    const [a, b] = ['a.mcp.test', 'b.mcp.test'];
    dns.set('SRV', SRV, [
      { target: a, port: 3001 },
      { target: b, port: 3002 },
    ]);
    dns.set('A', a, ['127.0.0.2']);
    dns.set('A', b, 'silence');
    await discover({ name: SRV, port: undefined }, NEVER);
    expect(seen()).toEqual(['127.0.0.2:3001']);
    dns.set('A', a, ['127.0.0.3']);
    await shows('(127.0.0.2:3001)', '127.0.0.3:3001');
  });

  test('that is for a new SRV target, the others are known', async () => {
    const [a, b] = ['a.mcp.test', 'b.mcp.test'];
    dns.set('SRV', SRV, [{ target: a, port: 3001 }]);
    dns.set('A', a, ['127.0.0.2']);
    dns.set('A', b, 'silence');
    await discover({ name: SRV, port: undefined }, NEVER);
    dns.set('SRV', SRV, [
      { target: a, port: 3001 },
      { target: b, port: 3002 },
    ]);
    await until('b is asked for', () => asked(`A ${b}`) === 1);
    dns.set('A', a, ['127.0.0.3']);
    await shows('(127.0.0.2:3001)', '127.0.0.3:3001');
    expect(events).toEqual([]);
  });

  test('that is for the SRV records themselves, their targets are known', async () => {
    dns.set('SRV', SRV, [{ target: 'a.mcp.test', port: 3001 }]);
    dns.set('A', 'a.mcp.test', ['127.0.0.2']);
    await discover({ name: SRV, port: undefined }, NEVER);
    dns.set('SRV', SRV, 'silence');
    await dns.next(4);
    dns.set('A', 'a.mcp.test', ['127.0.0.3']);
    await shows('(127.0.0.2:3001)', '127.0.0.3:3001');
    expect(events).toEqual([]);
  });
});

describe('nobody', () => {
  test.each<'NXDOMAIN' | readonly []>(['NXDOMAIN', []])('is believed the third time in a row: %j', async (reply) => {
    dns.set('A', NAME, ['127.0.0.2']);
    await discover({ refreshMs: 100 });
    const lists: string[] = [];
    backends.onChange(() => lists.push(seen().join(' ')));
    const before = dns.asked.filter((one) => one.startsWith('A ')).length;
    dns.set('A', NAME, reply);
    await shows('(127.0.0.2:3000)');
    expect(dns.asked.filter((one) => one.startsWith('A '))).toHaveLength(before + 3);
    expect(lists).toEqual(['(127.0.0.2:3000)']);
    expect(states()).toEqual([`down ${reply === 'NXDOMAIN' ? 'ENOTFOUND' : 'ENODATA'}`]);
  });
});

describe('SRV', () => {
  const target = (host: string, port: number, priority = 1) => ({ target: `${host}.mcp.test`, port, priority });

  test('brings hosts and ports, of the lowest priority', async () => {
    dns.set('SRV', SRV, [target('a', 3001), target('b', 3002), target('b', 3003), target('c', 3004, 2)]);
    dns.set('A', 'a.mcp.test', ['127.0.0.2']);
    dns.set('A', 'b.mcp.test', ['127.0.0.3']);
    dns.set('A', 'c.mcp.test', ['127.0.0.4']);
    await discover({ name: SRV, port: undefined });
    expect(seen()).toEqual(['127.0.0.2:3001', '127.0.0.3:3002', '127.0.0.3:3003']);
    dns.set('SRV', SRV, [target('b', 3003)]);
    await shows('(127.0.0.2:3001)', '(127.0.0.3:3002)', '127.0.0.3:3003');
  });

  test('brings the next priority where the lowest has no address at all, and only there', async () => {
    const [a, b, c] = ['a.mcp.test', 'b.mcp.test', 'c.mcp.test'];
    dns.set('SRV', SRV, [target('a', 3001), target('b', 3002), target('c', 3003, 2)]);
    dns.set('A', a, 'NXDOMAIN');
    dns.set('A', b, 'SERVFAIL');
    dns.set('A', c, ['127.0.0.4']);
    await discover({ name: SRV, port: undefined });
    expect(seen()).toEqual(['127.0.0.4:3003']);
    dns.set('A', b, ['127.0.0.3']);
    await shows('127.0.0.3:3002', '(127.0.0.4:3003)');
    dns.set('A', b, 'SERVFAIL');
    await dns.next(20);
    expect(seen()).toEqual(['(127.0.0.4:3003)', '127.0.0.3:3002']);
    dns.set('A', b, 'NXDOMAIN');
    await shows('(127.0.0.3:3002)', '127.0.0.4:3003');
  });

  test('brings the next priority while the lowest is silent', async () => {
    dns.set('SRV', SRV, [target('a', 3001), target('c', 3003, 2)]);
    dns.set('A', 'a.mcp.test', 'silence');
    dns.set('A', 'c.mcp.test', ['127.0.0.4']);
    await discover({ name: SRV, port: undefined });
    expect(seen()).toEqual(['127.0.0.4:3003']);
  });

  test('stays while it, or a target, cannot be asked', async () => {
    dns.set('SRV', SRV, [target('a', 3001), target('b', 3002)]);
    dns.set('A', 'a.mcp.test', ['127.0.0.2']);
    dns.set('A', 'b.mcp.test', ['127.0.0.3']);
    await discover({ name: SRV, port: undefined });
    dns.set('A', 'b.mcp.test', 'SERVFAIL');
    await dns.next(10);
    expect(seen()).toEqual(['127.0.0.2:3001', '127.0.0.3:3002']);
    expect(events).toEqual([]);
    dns.set('SRV', SRV, 'silence');
    await until('discovery is down', () => events.length === 1);
    expect(seen()).toEqual(['127.0.0.2:3001', '127.0.0.3:3002']);
  });

  test('with the target "." is nobody', async () => {
    dns.set('SRV', SRV, [{ target: '.', port: 0 }]);
    await discover({ name: SRV, port: undefined });
    expect(seen()).toEqual([]);
    expect(states()).toEqual(['down ENODATA']);
  });
});

describe('how often', () => {
  const gap = async () => {
    await dns.next(2);
    const start = performance.now();
    await dns.next(2);
    return performance.now() - start;
  };

  test('at the refresh, whatever the TTL allows', async () => {
    dns.set('A', NAME, ['127.0.0.2'], 3600);
    await discover({ refreshMs: 300, draw: () => 0.5 });
    expect(await gap()).toBeGreaterThan(250);
  });

  test('sooner than the refresh when the TTL is shorter', async () => {
    dns.set('A', NAME, ['127.0.0.2'], 1);
    await discover({ refreshMs: 60_000, draw: () => 0.5 });
    await dns.next(2);
    expect(dns.asked).toHaveLength(4);
  });

  test('never two rounds at once', async () => {
    dns.all('silence');
    await discover({ refreshMs: 1 });
    const before = dns.asked.length;
    await dns.next(2);
    expect(dns.asked.length).toBe(before + 2);
  });
});
