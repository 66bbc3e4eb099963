/** Planned migrations: a draining backend gives its quiet sessions away before it stops, and none notices. */

import { describe, expect, onTestFinished, test } from 'vitest';
import { redisActivity } from '../../proxy/activity/redis.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { type Flow, type FlowOptions, startFlow } from '../house/flow.ts';
import type { Talk } from '../house/talk.ts';
import { until } from '../house/until.ts';

async function begin(options: FlowOptions = {}): Promise<Flow> {
  const flow = await startFlow(options);
  onTestFinished(() => flow.close());
  return flow;
}

/** A client whose session is at home there. */
async function talkAt(flow: Flow, home: string): Promise<Talk> {
  for (;;) {
    const talk = await flow.talk();
    if ((await talk.task('ping')) === home) return talk;
  }
}

describe.each([
  ['one proxy', 1],
  ['two proxies', 2],
])('%s', (_name, proxies) => {
  test('a session migrates at its next exchange, and the old one is deleted', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    const home = await talk.task('ping');
    const id = talk.sessionId;
    await flow.drain(home);
    const next = await until('it has migrated', async () => {
      const task = await talk.task('ping');
      return task !== home && task;
    });
    expect([await talk.count(), await talk.count()]).toEqual([`${next}1`, `${next}2`]);
    expect(talk.sessionId).toBe(id);
    await until('the old session is deleted', async () => (await flow.sessionsAt(home)) === 0);
    expect(flow.migrations()).toEqual([`${home} ${next} drain migrated`]);
  });

  test('new sessions go elsewhere', async () => {
    const flow = await begin({ proxies });
    await flow.drain('a');
    for (let at = 0; at < 6; at += 1) expect(await (await flow.talk({}, at % proxies)).task('ping')).not.toBe('a');
  });

  test('a session that only listens migrates too, and hears of its new home', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    const home = await talk.task('ping');
    await talk.client.subscribeResource({ uri: 'demo://clock' });
    await until('it listens', () =>
      flow.events().some((event) => event.type === 'stream' && event.change === 'opened'),
    );
    await flow.drain(home);
    await until('it listens there', () =>
      flow.events().some((event) => event.type === 'stream' && event.change === 'reattached'),
    );
    const updates = talk.heard.updates.length;
    const next = await talk.task('touch_resource');
    expect(next).not.toBe(home);
    await until('it hears', () => talk.heard.updates.length > updates);
    await flow.kill(home);
    expect(await talk.task('ping')).toBe(next);
    expect(flow.migrations()).toEqual([`${home} ${next} drain migrated`]);
  });

  test('a call that runs keeps the session at home, at every proxy, and is not cut', async () => {
    const flow = await begin({ proxies });
    const talk = await flow.talk();
    const other = await flow.join(talk, proxies - 1);
    const home = await talk.task('ping');
    const call = talk.call('effect', { key: 'long', ms: 4000 });
    await flow.begun('long');
    const quiet = await talkAt(flow, home);
    await flow.drain(home);
    await until('the quiet one has migrated', async () => (await quiet.task('ping')) !== home);
    expect(await other.task('ping')).toBe(home);
    await call;
    expect(flow.runs('long')).toEqual([home]);
    await until('it has migrated', async () => (await other.task('ping')) !== home);
    expect(flow.migrations()).toHaveLength(2);
  });
});

test('a backend that is ordered to drain, hangs and comes back drains still', async () => {
  const flow = await begin({ proxies: 2, flags: ['--health-path', '/health'] });
  await flow.drain('a');
  const heard = (state: 'dead' | 'alive') =>
    until(`every proxy has found it ${state}`, () =>
      flow.proxies.every(({ events }) => events.some((event) => event.type === 'backend' && event.state === state)),
    );
  flow.backend('a').pause();
  await heard('dead');
  flow.backend('a').resume();
  await heard('alive');
  for (let at = 0; at < 6; at += 1) expect(await (await flow.talk({}, at % 2)).task('ping')).not.toBe('a');
});

test('a call that waits for another proxy to give its session a new home is held, then refused', async () => {
  const flow = await begin({ redis: true, flags: ['--hold-seconds', '1'] });
  const talk = await flow.talk();
  const home = await talk.task('ping');
  const redis = connectRedis({ url: flow.redis().url, record() {} });
  const activity = redisActivity(redis);
  onTestFinished(() => (activity.close(), redis.close()));
  const release = await activity.claim(talk.sessionId);
  await flow.drain(home);
  expect(await talk.client.ping().catch((thrown: unknown) => thrown)).toMatchObject({ code: 503 });
  await release?.();
  await talk.client.ping();
});

test.each([1, 2])(
  'a session is migrated once by one order, whichever of %i proxies hears of it how late',
  async (count) => {
    const flow = await begin({ proxies: count, redis: true });
    const [talk, later] = [await flow.talk(), await flow.talk()];
    const others = [await flow.join(talk, count - 1), await flow.join(later, count - 1)];
    for (const one of [talk, later]) {
      const home = await one.task('ping');
      await flow.migrate(one);
      // By the time that the second has migrated, every proxy has looked again at what is ordered.
      await until('it has migrated', async () => {
        await Promise.all([talk, later, ...others].map((each) => each.task('ping')));
        return (await one.task('ping')) !== home;
      });
    }
    expect(flow.migrations().filter((one) => one.endsWith('manual migrated'))).toHaveLength(2);
    expect(flow.migrations()).toHaveLength(2);
  },
);
