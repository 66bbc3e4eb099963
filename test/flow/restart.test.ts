/** A home is started again in place, with an empty memory: the session goes on, and all it was promised holds. */

import { afterEach, expect, test } from 'vitest';
import { type Flow, startFlow } from '../house/flow.ts';
import { rawCall, rawOpen } from '../house/by-hand.ts';
import { CLOCK } from '../house/talk.ts';
import { until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());
const begin = async (backends: readonly string[]): Promise<Flow> => (flow = await startFlow({ backends }));

test('the only backend is restarted: it gets its session again, under the same id', async () => {
  const { talk, backend, sessionsAt, proxies } = await begin(['a']);
  const client = await talk();
  const { sessionId } = client;
  const saw = [await client.count(), await client.count()];
  await backend('a').restart();
  saw.push(await client.count(), await client.count());
  expect(saw).toEqual(['a1', 'a2', 'a1', 'a2']);
  expect(client.sessionId).toBe(sessionId);
  expect(await sessionsAt('a')).toBe(1);
  expect(proxies[0]?.events.filter(({ type }) => type === 'migration')).toHaveLength(1);
});

test('level, subscription and the listening stream are there again after each restart', async () => {
  const { talk, backend, proxies } = await begin(['a']);
  const client = await talk();
  await client.client.setLoggingLevel('warning');
  await client.client.subscribeResource({ uri: CLOCK });
  for (let life = 1; life <= 3; life += 1) {
    const streams = () => proxies[0]?.events.filter((event) => event.type === 'stream' && event.change !== 'closed');
    await until('the stream is attached', () => streams()?.length === life);
    await client.call('touch_resource');
    await until('the update is heard', () => client.heard.updates.length === life);
    await client.call('log', { level: 'info', text: `not heard ${life}` });
    await client.call('log', { level: 'error', text: `heard ${life}` });
    await until('the log message is heard', () => client.heard.logs.length === life);
    await backend('a').restart();
  }
  expect(client.heard.logs).toEqual([1, 2, 3].map((life) => ({ text: `heard ${life}`, taskId: 'a' })));
  expect(client.heard.updates).toEqual([CLOCK, CLOCK, CLOCK]);
});

test('an ended subscription is not made again', async () => {
  const { talk, backend, proxies } = await begin(['a']);
  const { client, call, heard } = await talk();
  await client.subscribeResource({ uri: CLOCK });
  await client.unsubscribeResource({ uri: CLOCK });
  await client.subscribeResource({ uri: 'demo://other' });
  await backend('a').restart();
  await until('the stream is there again', () =>
    proxies[0]?.events.some((event) => event.type === 'stream' && event.change === 'reattached'),
  );
  await call('touch_resource');
  await call('log', { level: 'error', text: 'after the touch' });
  await until('what came after it is heard', () => heard.logs.length === 1);
  expect(heard.updates).toEqual([]);
});

test('an unsafe call to the restarted home runs there, once', async () => {
  const { talk, backend, runs } = await begin(['a']);
  const client = await talk();
  await backend('a').restart();
  expect(await client.outcome('effect', { key: 'k' })).toBe('a');
  expect(runs('k')).toEqual(['a']);
});

test('one of three is restarted: its sessions go on there or elsewhere, the others stay', async () => {
  const { talk, backend, sessionsAt } = await begin(['a', 'b', 'c']);
  const talks = [];
  for (let at = 0; at < 9; at += 1) talks.push(await talk());
  const ids = talks.map(({ sessionId }) => sessionId);
  const first = await Promise.all(talks.map(({ count }) => count()));
  await backend('a').restart();
  const second = await Promise.all(talks.map(({ count }) => count()));
  const stayed = (at: number) => first[at] !== 'a1';
  second.forEach((saw, at) => expect(saw).toMatch(stayed(at) ? `${first[at]?.[0]}2` : /^[abc]1$/));
  expect(talks.map(({ sessionId }) => sessionId)).toEqual(ids);
  const living = await Promise.all(['a', 'b', 'c'].map(sessionsAt));
  expect(living.reduce((sum, one) => sum + one)).toBe(9);
});

test('a new home is told that the client is initialized, if the client has said so', async () => {
  const { talk, backend, url } = await begin(['a']);
  const client = await talk();
  const { id } = await rawOpen(url);
  await backend('a').restart();
  expect(await client.call('told')).toBe('initialized=true taskId=a');
  expect(await rawCall(url, id, 'told')).toBe('initialized=false taskId=a');
});
