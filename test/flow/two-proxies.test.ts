/** Two proxies on one registry: whichever a request comes through, a session has one home. */

import { afterEach, expect, onTestFinished, test } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type Flow, type FlowOptions, type TestProxy, metDead, startFlow, startProxy } from '../house/flow.ts';
import { rawCall, rawOpen, rawPing, rawStatus } from '../house/by-hand.ts';
import { CLOCK, startTalk, through } from '../house/talk.ts';
import { until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());
const begin = async (options?: FlowOptions): Promise<Flow> => (flow = await startFlow({ proxies: 2, ...options }));

const outcomes = (events: readonly RoutingEvent[]) =>
  events.flatMap((event) => (event.type === 'migration' ? [event.outcome] : []));
const taskOf = (text: string) => /taskId=(\w+)/.exec(text)?.[1];

/** Every request by the next proxy in turn. */
function alternately({ proxies }: Flow): typeof fetch {
  let at = 0;
  return through(() => proxies[at++ % proxies.length]!.url);
}

test('calls through each in turn go to one home', async () => {
  const begun = await begin();
  const { count } = await begun.talk({ fetch: alternately(begun) });
  const saw = [await count(), await count(), await count(), await count()];
  const home = saw[0]?.[0];
  expect(saw).toEqual([1, 2, 3, 4].map((number) => `${home}${number}`));
});

test('and after a kill, to one new home', async () => {
  const begun = await begin();
  const { count } = await begun.talk({ fetch: alternately(begun) });
  const [home = ''] = await count();
  await begun.kill(home);
  const saw = [await count(), await count(), await count(), await count()];
  const next = saw[0]?.[0];
  expect(next).not.toBe(home);
  expect(saw).toEqual([1, 2, 3, 4].map((number) => `${next}${number}`));
  // The proxy that holds the stream may have tried too.
  const won = begun.proxies.flatMap(({ events }) => outcomes(events)).filter((one) => one === 'migrated');
  expect(won).toHaveLength(1);
});

test('both migrate the same sessions at the same moment: each has one winner, and no orphan is left', async () => {
  const { proxies, backend, kill, sessionsAt } = await begin();
  const ids: string[] = [];
  while (ids.length < 10) {
    const { id } = await rawOpen(proxies[0]!.url);
    if (taskOf(await rawCall(proxies[1]!.url, id, 'ping')) === 'a') ids.push(id);
  }
  const others = (await sessionsAt('b')) + (await sessionsAt('c'));
  await kill('a');
  for (const name of ['b', 'c']) backend(name).pause();
  const calls = ids.map((id) => Promise.all(proxies.map(({ url }) => rawCall(url, id, 'counter'))));
  await until('both have seen that a is dead', () => proxies.every(metDead));
  for (const name of ['b', 'c']) backend(name).resume();

  for (const saw of await Promise.all(calls)) {
    expect(new Set(saw.map(taskOf)).size).toBe(1);
    expect(saw.map((text) => text.replace(/ .*/, '')).toSorted()).toEqual(['counter=1', 'counter=2']);
  }
  const ended = proxies.flatMap(({ events }) => outcomes(events));
  expect(ended.filter((one) => one === 'migrated')).toHaveLength(10);
  expect(ended.filter((one) => one === 'raced').length).toBeGreaterThan(0);
  await until('the orphans are gone', async () => (await sessionsAt('b')) + (await sessionsAt('c')) === others + 10);
  expect(await Promise.all(ids.map(async (id) => (await rawPing(proxies[0]!.url, id)).status))).toEqual(
    ids.map(() => 200),
  );
});

test('a stream held at one proxy follows when the other migrates, though the old home lives', async () => {
  const { redis, servers, proxies, backend, talk } = await begin({ backends: ['a', 'b'] });
  const client = await talk();
  const home = await client.task('ping');
  const next = home === 'a' ? 'b' : 'a';
  await client.client.subscribeResource({ uri: CLOCK });
  const streams = () => proxies[0]!.events.flatMap((event) => (event.type === 'stream' ? [event.change] : []));
  await until('it listens', () => streams().length === 1);
  let listed = ['a', 'b'];
  let tell = () => {};
  const third = await startProxy([backend(next).origin], ['--redis', redis().url], {
    backends: {
      list: () =>
        listed.map((name) => {
          const { origin } = backend(name);
          return { id: new URL(origin).host, origin, draining: false, suspect: false };
        }),
      suspect() {},
      onChange: (f) => ((tell = f), () => {}),
      async close() {},
    },
  });
  try {
    // To this one, the home has left.
    listed = [next];
    tell();
    expect(servers.get(home).running).toBe(true);
    expect(taskOf(await rawCall(third.url, client.sessionId, 'ping'))).toBe(next);
    await until('the stream is at the new home', () => streams().length === 2);
    await client.call('touch_resource');
    await until('an update is heard', () => client.heard.updates.length === 1);
    expect(streams()).toEqual(['opened', 'reattached']);
    expect(await client.task('ping')).toBe(next);
  } finally {
    await third.stop();
  }
});

test('a home that has forgotten the session is not asked for it again, at either', async () => {
  const begun = await begin();
  const client = await begun.talk({ fetch: alternately(begun) });
  const { sessionId } = client;
  const [home = ''] = await client.count();
  expect(await rawStatus(`${begun.backend(home).origin}/mcp`, 'DELETE', sessionId)).toBe(200);
  const next = await client.task('ping');
  const saw = [await client.count(), await client.count(), await client.count()];
  expect(saw).toEqual([1, 2, 3].map((number) => `${next}${number}`));
  expect(client.sessionId).toBe(sessionId);
  const won = begun.proxies.flatMap(({ events }) => outcomes(events)).filter((one) => one === 'migrated');
  expect(won).toHaveLength(1);
});

test('what was promised through one is kept by the other', async () => {
  const { talk, proxies, kill } = await begin();
  let at = 0;
  const client = await talk({ fetch: through(() => proxies[at]!.url) });
  at = 1;
  const home = await client.task('ping');
  at = 0;
  await client.client.setLoggingLevel('error');
  at = 1;
  await kill(home);
  expect(await client.task('ping')).not.toBe(home);
  const change = (event: RoutingEvent) => (event.type === 'stream' ? event.change : undefined);
  await until('the stream is at the new home', () =>
    proxies.some(({ events }) => events.some((event) => change(event) === 'reattached')),
  );
  await client.call('log', { level: 'warning', text: 'not heard' });
  await client.call('log', { level: 'error', text: 'heard' });
  await until('the second is heard', () => client.heard.logs.length > 0);
  expect(client.heard.logs).toEqual([{ text: 'heard', taskId: await client.task('ping') }]);
});

test('a session that ended at one is over at the other', async () => {
  const { proxies } = await begin();
  const [one, other] = proxies.map(({ url }) => url);
  const { id } = await rawOpen(one!);
  expect((await rawPing(other!, id)).status).toBe(200);
  expect(await rawStatus(one!, 'DELETE', id)).toBe(200);
  await until('the other has heard', async () => (await rawPing(other!, id)).status === 404);
  expect(proxies.flatMap(({ events }) => outcomes(events))).toEqual([]);
});

/** Two proxies on one registry: one knows c alone, the other a and b. */
async function apart(...flags: readonly string[]) {
  const begun = await begin({ proxies: 1, redis: true });
  const at = async (...ids: readonly string[]): Promise<TestProxy> => {
    const origins = ids.map((id) => begun.backend(id).origin);
    const proxy = await startProxy(origins, ['--redis', begun.redis().url, ...flags]);
    onTestFinished(() => proxy.stop());
    return proxy;
  };
  return { begun, knows: await at('c'), knowsNot: await at('a', 'b') };
}

test('a home that only the other proxy has heard of yet is asked all the same, and left when it dies', async () => {
  const { begun, knows, knowsNot } = await apart();
  let url = knows.url;
  const talk = await startTalk(url, { fetch: through(() => url) });
  onTestFinished(() => talk.close());
  expect(await talk.count()).toBe('c1');
  url = knowsNot.url;
  expect([await talk.count(), await talk.count()]).toEqual(['c2', 'c3']);
  await begun.kill('c');
  expect(await talk.count()).toMatch(/^[ab]1$/);
  expect(outcomes([...knows.events, ...knowsNot.events])).toEqual(['migrated']);
});

test('nor is one waited for that hangs, for a call or a goodbye', async () => {
  const { begun, knows, knowsNot } = await apart('--health-path', '/health');
  const [calls, ends] = [await rawOpen(knows.url), await rawOpen(knows.url)];
  begun.backend('c').pause();
  expect(taskOf(await rawCall(knowsNot.url, calls.id, 'ping'))).toMatch(/^[ab]$/);
  expect(await rawStatus(knowsNot.url, 'DELETE', ends.id)).toBe(200);
});
