/** A home is killed with -9 at each moment of a call: what may run again does, what may not is never run twice. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Flow, startFlow } from '../house/flow.ts';
import { type Talk, UNKNOWN } from '../house/talk.ts';

let flow: Flow;
beforeAll(async () => {
  flow = await startFlow();
});
afterEach(() => flow.revive());
afterAll(() => flow.close());

async function begin(): Promise<{ readonly client: Talk; readonly home: string; readonly id: string }> {
  const client = await flow.talk();
  return { client, home: await client.task('ping'), id: client.sessionId };
}

describe.each(['effect', 'safe_effect'])('killed before the call, %s', (tool) => {
  test('runs once, elsewhere', async () => {
    const { client, home, id } = await begin();
    await flow.kill(home);
    const saw = await client.outcome(tool, { key: id });
    expect(saw).not.toBe(home);
    expect(flow.runs(id)).toEqual([saw]);
    expect(await client.task('ping')).toBe(saw);
    expect(client.sessionId).toBe(id);
  });
});

const MOMENTS = [
  'before the answer',
  'in the headers',
  'in a body',
  'after the headers',
  'in an event',
  'between events',
];
describe.each(MOMENTS)('killed %s', (when) => {
  test('an unsafe call has run once, and the client is told that its outcome is unknown', async () => {
    const { client, home, id } = await begin();
    await client.call('die', { when });
    expect(await client.outcome('effect', { key: id })).toBe(UNKNOWN);
    expect(flow.runs(id)).toEqual([home]);
    await flow.died(home);
    const saw = [await client.count(), await client.count()];
    const next = saw[0]?.[0];
    expect(next).not.toBe(home);
    expect(saw).toEqual([`${next}1`, `${next}2`]);
    expect(client.sessionId).toBe(id);
    expect(flow.runs(id)).toEqual([home]);
  });

  test('a safe call is answered by another backend', async () => {
    const { client, home, id } = await begin();
    await client.call('die', { when });
    const saw = await client.outcome('safe_effect', { key: id });
    expect(saw).not.toBe(home);
    expect(flow.runs(id)).toEqual([home, saw]);
    expect(await client.task('ping')).toBe(saw);
    expect(client.sessionId).toBe(id);
  });
});

test('what the home said before it died was heard, once', async () => {
  const { client, id } = await begin();
  await client.call('die', { when: 'between events' });
  await client.outcome('safe_effect', { key: id });
  expect(client.heard.logs).toEqual(['last words']);
});

test('many calls in flight at the kill: each unsafe one has run once, each safe one is answered', async () => {
  const { client, home, id } = await begin();
  const keys = (kind: string) => Array.from({ length: 10 }, (_, at) => `${kind}${at}`);
  const call = (tool: string) => (key: string) => client.outcome(tool, { key, ms: 1_000 });
  const unsafe = keys('u').map(call('effect'));
  const safe = keys('s').map(call('safe_effect'));
  await Promise.all([...keys('u'), ...keys('s')].map(flow.begun));
  await flow.kill(home);
  expect(await Promise.all(unsafe)).toEqual(keys('u').map(() => UNKNOWN));
  const saw = new Set(await Promise.all(safe));
  const [next] = saw;
  expect(saw).toEqual(new Set([next]));
  expect(next).not.toBe(home);
  expect(keys('u').map(flow.runs)).toEqual(keys('u').map(() => [home]));
  expect(keys('s').map(flow.runs)).toEqual(keys('s').map(() => [home, next]));
  expect(client.sessionId).toBe(id);
});

test('home after home may die, while one is left', async () => {
  const { client, home, id } = await begin();
  await flow.kill(home);
  const second = await client.count();
  await flow.kill(second.slice(0, 1));
  const third = await client.count();
  expect([home, second, third].map((name) => name.slice(0, 1)).toSorted()).toEqual(['a', 'b', 'c']);
  expect([second.slice(1), third.slice(1)]).toEqual(['1', '1']);
  expect(client.sessionId).toBe(id);
});
