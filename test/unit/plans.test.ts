/** Which sessions are due to migrate, and when. */

import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type DrainableBackends, type Marks, drainableBackends, memoryMarks } from '../../proxy/backends/drains.ts';
import { staticBackends } from '../../proxy/backends/static.ts';
import { type JsonRpcMessage, SessionsUnavailable } from '../../proxy/contract.ts';
import { type Plans, createPlans } from '../../proxy/plans.ts';
import { newSession } from '../house/sessions.ts';

const SETTLE = 2_500;
const CALL: readonly JsonRpcMessage[] = [{ jsonrpc: '2.0', id: 1, method: 'tools/call' }];
const DONE: readonly JsonRpcMessage[] = [{ jsonrpc: '2.0', method: 'notifications/initialized' }];
const journal = { initialize: {}, initialized: true, subscriptions: [] };
const session = newSession({ home: { id: 'a:1', origin: 'http://a:1' }, journal });
const hash = createHash('sha256').update(session.id).digest('hex');

let backends: DrainableBackends;
let orders: Marks;
let watched: Marks;
let now: number;
beforeEach(() => {
  backends = drainableBackends(staticBackends(['http://a:1', 'http://b:1']), memoryMarks());
  orders = memoryMarks();
  watched = memoryMarks();
  now = 1_000_000;
});
const begin = (chaos = false): Plans =>
  createPlans({ backends, orders, watched, chaos, settleMs: SETTLE, now: () => now });

test('nothing is due by itself', () => {
  const plans = begin();
  expect([plans.due(session, CALL), plans.watches(session), plans.any]).toEqual([undefined, false, false]);
});

describe.each([
  ['drain', () => backends.drain('a:1'), () => backends.undrain('a:1')],
  ['manual', () => orders.set(hash), () => orders.clear(hash)],
] as const)('%s', (reason, order, undo) => {
  test('is watched at once, due when every proxy knows, and not when it is undone', async () => {
    const plans = begin();
    await order();
    expect([plans.due(session, []), plans.watches(session)]).toEqual([undefined, true]);
    now += SETTLE;
    expect(plans.due(session, [])).toBe(reason);
    expect(plans.due({ ...session, id: 'another', home: { id: 'b:1', origin: 'http://b:1' } }, CALL)).toBeUndefined();
    await undo();
    // A migration may be under way still.
    expect([plans.due(session, CALL), plans.watches(session)]).toEqual([undefined, true]);
    now += 30_000;
    await watched.clear('a:1');
    expect(plans.watches(session)).toBe(false);
  });

  test('waits for the handshake to end, for tasks that live, and after a failure', async () => {
    const plans = begin();
    await order();
    now += SETTLE;
    expect(plans.due({ ...session, journal: { ...journal, initialized: false } }, CALL)).toBeUndefined();
    expect(plans.due({ ...session, busyUntil: now + 1 }, CALL)).toBeUndefined();
    expect(plans.due({ ...session, busyUntil: now }, CALL)).toBe(reason);
    plans.postpone(session);
    expect(plans.due(session, CALL)).toBeUndefined();
    now += 10_000;
    expect(plans.due(session, CALL)).toBe(reason);
  });
});

test('where others cannot be told of a drain, they are told a second later', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const first = watched;
  const set = vi.fn<Marks['set']>((id) => first.set(id)).mockRejectedValueOnce(new SessionsUnavailable('away'));
  watched = { ...first, set };
  const plans = begin();
  await backends.drain('a:1');
  await vi.advanceTimersByTimeAsync(999);
  now += SETTLE;
  expect(plans.due(session, [])).toBeUndefined();
  await vi.advanceTimersByTimeAsync(1);
  now += SETTLE;
  expect(plans.due(session, [])).toBe('drain');
  plans.close();
});

test('what was ordered is done once', async () => {
  const plans = begin();
  await orders.set(hash);
  now += SETTLE;
  await plans.done(session);
  expect([[...orders.list()], plans.due(session, CALL)]).toEqual([[], undefined]);
});

test('the drill is due at every request, and at nothing else', () => {
  const plans = begin(true);
  expect([plans.due(session, CALL), plans.due(session, DONE), plans.due(session, [])]).toEqual([
    'chaos',
    undefined,
    undefined,
  ]);
  expect([plans.watches(session), plans.any]).toEqual([true, false]);
});
