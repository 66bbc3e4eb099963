/** Requests that come back to a proxy that has sent them on: refused at once, and no client of a good backend notices. */

import { type Socket, connect, createServer } from 'node:net';
import { getServers, setServers } from 'node:dns';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { RoutingEvent } from '../../proxy/events.ts';
import { sessionAffinity } from '../../proxy/index.ts';
import { rawOpen } from '../house/by-hand.ts';
import { startDns } from '../house/dns.ts';
import { INITIALIZE } from '../house/edge.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { listen } from '../house/listen.ts';
import { refusing } from '../house/nasty.ts';
import { askAt, post, request, said } from '../house/raw.ts';
import { call } from '../house/recording.ts';
import { startServers } from '../house/servers.ts';
import { startSite } from '../house/site.ts';
import { startTalk } from '../house/talk.ts';
import { soon, until } from '../house/until.ts';

const LOOP = '508 -32000: Loop detected: the request has passed this proxy before';
const UPGRADE = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

const LISTED = z.object({ backends: z.array(z.object({ id: z.string() })) });

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

/** Another address of whoever is told later, as a load balancer is. */
async function startDetour() {
  const sockets = new Set<Socket>();
  let port = 0;
  let connections = 0;
  let requests = 0;
  const server = createServer((near) => {
    connections += 1;
    const far = connect(port, '127.0.0.1');
    near.on('data', (bytes) => (requests += bytes.toString('latin1').split(' HTTP/1.1\r\n').length - 1));
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {}).once('close', () => [near, far].map((one) => one.destroy()));
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  return {
    origin: `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`,
    lead: (to: string) => (port = Number(new URL(to).port)),
    /** Connections that were made, and requests that came on them. */
    cost: () => ({ connections, requests }),
  };
}

async function proxyOf(origins: readonly string[], flags: readonly string[] = []): Promise<TestProxy> {
  const made = await startProxy(origins, flags);
  undo.push(() => made.stop());
  return made;
}
/** A proxy that is its own backend, beside others. */
async function selfish(others: readonly string[] = [], flags: readonly string[] = []) {
  const detour = await startDetour();
  const proxy = await proxyOf([detour.origin, ...others], flags);
  detour.lead(proxy.url);
  return { proxy, detour };
}
const warnings = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) => (event.type === 'suspect' ? [`${event.backend}: ${event.cause}`] : []));

describe('a proxy that is its own backend', () => {
  test.each([
    ['an initialize', post(INITIALIZE)],
    ['a request without a session', post(call(1))],
    ['a stream without a session', request('GET /mcp', ['accept: text/event-stream'])],
    ['another path', request('GET /other')],
    ['an upload', request('POST /other', [], 'text')],
    ['a WebSocket', request('GET /socket', UPGRADE)],
  ])('%s is refused at once, for a handful of descriptors', async (_what, bytes) => {
    const { proxy, detour } = await selfish([], ['--hold-seconds', '600']);
    const before = detour.cost();
    expect(said(await soon('the answer', askAt(proxy.url, bytes), 3000))).toBe(LOOP);
    const { connections, requests } = detour.cost();
    expect(connections - before.connections).toBeLessThan(8);
    expect(requests).toBe(1);
    const { host } = new URL(detour.origin);
    expect(warnings(proxy.events)).toContain(`${host}: requests that are sent there come back to this proxy`);
    expect(proxy.events.filter(({ type }) => type === 'fault')).toEqual([]);
  });

  test('beside a good one: nobody notices, and nothing is left behind', async () => {
    const servers = await startServers(['a']);
    undo.push(() => servers.close());
    const { proxy } = await selfish(servers.origins);
    const ids = new Set<string>();
    for (let n = 0; n < 40; n += 1) {
      const { status, id } = await rawOpen(proxy.url);
      expect(status).toBe(200);
      ids.add(id);
    }
    expect(ids.size).toBe(40);
    const health: unknown = await (await fetch(`${servers.get('a').origin}/health`)).json();
    expect(health).toMatchObject({ active_sessions: 40 });
    const { origin } = new URL(proxy.url);
    for (let n = 0; n < 10; n += 1) expect((await fetch(`${origin}/health`)).status).toBe(200);
    expect(warnings(proxy.events).length).toBeGreaterThan(0);
  });

  test('its own health check finds that out too', async () => {
    const { proxy } = await selfish([], ['--health-path', '/health']);
    const found = () => proxy.events.find((event) => event.type === 'checks');
    expect(await until('it is not well', found)).toMatchObject({ state: 'ignored', cause: 'status 508' });
  });

  test('by its own address: a fault at start', async () => {
    const port = new URL(await refusing()).port;
    const start = (host: string, backend: string) =>
      startProxy([backend], ['--port', port, '--host', host, '--allowed-host', 'localhost']);
    for (const [host, backend] of [
      ['127.0.0.1', `http://127.0.0.1:${port}`],
      ['127.0.0.1', `http://localhost:${port}`],
      ['0.0.0.0', `http://127.0.0.9:${port}`],
      ['::', `https://[::1]:${port}`],
      ['::1', `http://[0:0::1]:${port}`],
    ] as const) {
      await expect(start(host, backend)).rejects.toThrow("expected another address than the proxy's own");
    }
  });
});

test('two proxies that are each other’s backends', async () => {
  const [to1, to2] = [await startDetour(), await startDetour()];
  const one = await proxyOf([to2.origin], ['--hold-seconds', '600']);
  const two = await proxyOf([to1.origin], ['--hold-seconds', '600']);
  to1.lead(one.url);
  to2.lead(two.url);
  for (const bytes of [post(INITIALIZE), request('GET /other'), request('GET /socket', UPGRADE)]) {
    expect(said(await soon('the answer', askAt(one.url, bytes), 3000))).toBe(LOOP);
  }
  expect([to1.cost().requests, to2.cost().requests]).toEqual([3, 3]);
});

test('a proxy in front of a proxy is no loop', async () => {
  const servers = await startServers(['a', 'b']);
  undo.push(() => servers.close());
  const inner = await proxyOf(servers.origins);
  const middle = await proxyOf([new URL(inner.url).origin]);
  const outer = await proxyOf([new URL(middle.url).origin]);
  const talk = await startTalk(outer.url);
  undo.push(() => talk.close());
  const first = await talk.count();
  expect([first, await talk.count()]).toEqual([`${first[0]}1`, `${first[0]}2`]);
});

test('so many proxies in a row must be a loop of others', async () => {
  const site = await startSite('a');
  undo.push(() => site.close());
  const proxy = await proxyOf([site.origin]);
  const names = (count: number) => Array.from({ length: count }, (_, at) => `proxy-${at}`).join(', ');
  expect((await askAt(proxy.url, request('GET /json', [`Mcp-Affinity-Via: ${names(7)}`]))).status).toBe(200);
  expect(said(await askAt(proxy.url, request('GET /json', [`Mcp-Affinity-Via: ${names(8)}`])))).toBe(LOOP);
  const [name, ...more] = names(8).split(', ');
  const lines = [`mcp-affinity-via: ${name}`, `MCP-AFFINITY-VIA: ${more.join()}`];
  expect(said(await askAt(proxy.url, request('GET /socket', [...UPGRADE, ...lines])))).toBe(LOOP);
});

test('what proxies say of the way is all that passes of a client’s field', async () => {
  const site = await startSite('a');
  undo.push(() => site.close());
  const proxy = await proxyOf([site.origin]);
  const { body } = await askAt(
    proxy.url,
    request('GET /json', ['mcp-affinity-via: ok, no good, "x", \u00ff', 'mcp-affinity-other: x']),
  );
  const { fields }: { fields: string[] } = JSON.parse(body);
  const ours = fields.flatMap((name, at) =>
    at % 2 === 0 && name.toLowerCase().startsWith('mcp-affinity') ? [fields[at + 1]] : [],
  );
  expect(ours).toEqual([expect.stringMatching(/^ok, [\da-f-]{36}$/)]);
});

test('the middleware in front of servers passes a loop on to who detects it', async () => {
  const detour = await startDetour();
  const affinity = sessionAffinity({ backends: [detour.origin], logger: { write() {} } });
  undo.push(() => affinity.close());
  const { port } = await listen(express().use(affinity));
  const proxy = await proxyOf([`http://127.0.0.1:${port}`], ['--hold-seconds', '600']);
  detour.lead(proxy.url);
  expect(said(await soon('the answer', askAt(proxy.url, post(INITIALIZE)), 3000))).toBe(LOOP);
  expect(detour.cost().requests).toBe(1);
});

describe('discovery', () => {
  const NAME = 'mcp.test';
  const NEVER = ['0.0.0.0', '0.1.2.3', '169.254.169.254', '224.0.0.1', '239.1.2.3', '255.255.255.255'];
  const NEVER_6 = ['::', 'fe80::1', 'ff02::1', 'fd00:ec2::254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe'];

  async function named(v4: readonly string[], v6: readonly string[], port: string, flags: readonly string[]) {
    const dns = await startDns();
    const before = getServers();
    setServers([dns.server]);
    undo.push(
      () => dns.close(),
      () => setServers(before),
    );
    dns.set('A', NAME, [...v4]);
    dns.set('AAAA', NAME, [...v6]);
    const proxy = await proxyOf(
      [],
      ['--dns', `${NAME}:${port}`, '--refresh', '0.1', '--ops-host', '127.0.0.1', ...flags],
    );
    await dns.next(6);
    const listed: unknown = await (await fetch(`${proxy.opsUrl}/backends`)).json();
    const { backends } = LISTED.parse(listed);
    const refused = proxy.events.flatMap((event) => (event.type === 'unusable' ? [event] : []));
    return { proxy, ids: backends.map(({ id }) => id), refused };
  }

  test('takes no address that cannot be a backend’s, nor the proxy’s own, and says so once', async () => {
    const { port } = new URL(await refusing());
    const own = '127.0.0.5';
    const { ids, refused } = await named([...NEVER, own, '127.0.0.2'], [...NEVER_6, '::1'], port, [
      '--port',
      port,
      '--host',
      own,
    ]);
    expect(ids.toSorted()).toEqual([`127.0.0.2:${port}`, `[::1]:${port}`]);
    expect(refused).toHaveLength(NEVER.length + NEVER_6.length + 1);
    expect(refused.find(({ backend }) => backend === `${own}:${port}`)?.cause).toBe('it is where this proxy listens');
    expect(refused.find(({ backend }) => backend.startsWith('169.'))?.cause).toBe('it is a link-local address');
  });

  test('takes loopback addresses only when it may', async () => {
    const { proxy, ids, refused } = await named(['127.0.0.2'], ['::1'], '1', ['--allow-loopback', 'off']);
    expect(ids).toEqual([]);
    expect(refused.map(({ cause }) => cause)).toEqual(
      Array.from({ length: 2 }, () => 'it is a loopback address, and --allow-loopback is off'),
    );
    expect(proxy.events.find(({ type }) => type === 'discovery')).toMatchObject({
      state: 'down',
      cause: 'no address that it names can be a backend',
    });
  });

  test.each([...NEVER, ...NEVER_6.map((address) => `[${address}]`)])(
    '--backend http://%s:1 is a fault',
    async (host) => {
      await expect(startProxy([`http://${host}:1`], [])).rejects.toThrow('expected a backend at the address of a host');
    },
  );
});
