/** What clients and backends make the proxy remember has an end. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { newInsisting } from '../../proxy/activity/insist.ts';
import { memoryActivity } from '../../proxy/activity/memory.ts';
import { createConfirmations } from '../../proxy/confirmations.ts';
import { type Exchange, SessionsUnavailable } from '../../proxy/contract.ts';
import { withForwarding } from '../../proxy/forwarded.ts';
import { mayCall } from '../../proxy/guard.ts';
import { newLeaving } from '../../proxy/migrate.ts';
import { noPeers } from '../../proxy/peers/memory.ts';
import { createQuestions } from '../../proxy/questions.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { newSession } from '../house/sessions.ts';

afterEach(() => void vi.useRealTimers());

setFlagsFromString('--expose-gc');
const collect: unknown = runInNewContext('gc');

/** Megabytes that are left of what `f` has made. */
async function keptOf(f: (time: number) => void, times: number): Promise<number> {
  const used = (): number => {
    if (typeof collect === 'function') Reflect.apply(collect, undefined, []);
    return process.memoryUsage().heapUsed;
  };
  const before = used();
  for (let time = 0; time < times; time += 1) f(time);
  return (used() - before) / 1e6;
}

/** So long as a head may be. */
const long = (time: number): string => Buffer.from(`${time}`.padEnd(60_000, 'x')).toString();

describe('what is as long as the client likes', () => {
  test('hosts that are no names', async () => {
    const tell = (time: number) => withForwarding([], { peer: '10.0.0.9', scheme: 'http', host: long(time) }, 0);
    expect(await keptOf(tell, 900)).toBeLessThan(10);
  });

  test('origins and hosts of pages', async () => {
    const rules = { host: '0.0.0.0', allowedHosts: undefined, allowedOrigins: undefined, cors: undefined };
    const ask = (time: number) => mayCall(`http://${long(time)}`, 'x', rules);
    expect(await keptOf(ask, 90)).toBeLessThan(3);
  });

  test('ids of sessions', async () => {
    const confirmations = createConfirmations(() => 0);
    const kept = await keptOf((time) => confirmations.confirm(newSession({ id: long(time) })), 900);
    expect(kept).toBeLessThan(10);
    expect(confirmations.holds(newSession({ id: long(899) }), 1)).toBe(true);
    expect(confirmations.holds(newSession({ id: long(900) }), 1)).toBe(false);
  });
});

describe('questions that nobody answers', () => {
  const begin = () => {
    vi.useFakeTimers();
    const activity = memoryActivity();
    const questions = createQuestions(
      activity,
      noPeers(),
      { named: () => undefined },
      memorySessions({ ttlSeconds: 60 }),
    );
    const ask = (session: ReturnType<typeof newSession>, id: string | number) =>
      questions.asked(session, { jsonrpc: '2.0', id, method: 'sampling/createMessage' });
    return { questions, activity, ask };
  };

  test('of one session the last hundred are open', () => {
    const { questions, ask } = begin();
    const session = newSession();
    for (let id = 0; id < 1_000; id += 1) ask(session, id);
    expect(vi.getTimerCount()).toBe(100);
    const dead = questions.takeDead({ ...session, epoch: 1 });
    expect([dead.length, dead.at(0), dead.at(-1)]).toEqual([100, 900, 999]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('of all sessions so many are', () => {
    const { ask } = begin();
    for (let at = 0; at < 21_000; at += 1) ask(newSession(), 1);
    expect(vi.getTimerCount()).toBe(20_000);
  });

  test('one that is asked again is one, and one with an endless id is none', async () => {
    const { questions, activity, ask } = begin();
    const session = newSession();
    for (const id of [1, 1, 'x'.repeat(5_000)]) ask(session, id);
    expect(vi.getTimerCount()).toBe(1);
    questions.answered(session.id, 1);
    expect(vi.getTimerCount()).toBe(0);
    await vi.runAllTimersAsync();
    expect(await activity.claim(session.id)).toBeDefined();
  });
});

test('words that Redis must hear: while it is away the last ten thousand wait', async () => {
  vi.useFakeTimers();
  let away = true;
  const said = new Set<number>();
  const insisting = newInsisting(60_000, Date.now);
  const word = (number: number) => async () => {
    if (away) throw new SessionsUnavailable('away');
    said.add(number);
  };
  for (let at = 0; at < 10_500; at += 1) await insisting.say(`word ${at}`, word(at));
  away = false;
  await vi.advanceTimersByTimeAsync(1_000);
  expect([said.size, said.has(499), said.has(500), said.has(10_499)]).toEqual([10_000, false, true, true]);
  insisting.close();
});

test('old homes that are told a minute after a crash: the first ten thousand in it', () => {
  vi.useFakeTimers();
  let told = 0;
  const home = { id: 'a', origin: 'http://a:3000', draining: false, suspect: false };
  const leave = newLeaving({
    backends: { list: () => [home], suspect() {}, onChange: () => () => {}, close: async () => {} },
    orphans: { close: () => void (told += 1), stop() {} },
  });
  const signal = new AbortController().signal;
  const intent = { kind: 'any', messages: [] } as const;
  const exchange: Exchange = { method: 'POST', target: '/mcp', headers: [], body: undefined, intent, signal };
  const session = newSession();
  for (let at = 0; at < 10_001; at += 1) leave(session, exchange, 'crash');
  leave(session, exchange, 'drain');
  expect([told, vi.getTimerCount()]).toEqual([1, 10_000]);
  vi.advanceTimersByTime(60_000);
  leave(session, exchange, 'crash');
  expect([told, vi.getTimerCount()]).toEqual([10_001, 1]);
});
