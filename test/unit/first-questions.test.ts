/** A request to a new home waits until that has its answers, where it is known to ask first; and never for long. */

import { hash } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { memoryActivity } from '../../proxy/activity/memory.ts';
import type { Exchange, JsonRpcMessage, Peers, Session } from '../../proxy/contract.ts';
import { createFirstQuestions } from '../../proxy/first-questions.ts';
import { createQuestions } from '../../proxy/questions.ts';
import { createQuiet } from '../../proxy/quiet.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { newNetwork } from '../house/network.ts';
import { migrated, newSession } from '../house/sessions.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const MOST_MS = 1_400;
const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'x' } } as const;
const session = newSession();

function exchangeOf(...messages: readonly JsonRpcMessage[]): Exchange {
  return {
    method: 'POST',
    target: '/mcp',
    headers: [],
    body: undefined,
    intent: { kind: 'continue', id: session.id, verb: 'post', messages },
    signal: new AbortController().signal,
  };
}

let tokens = 0;
const token = () => `t${(tokens += 1)}`;

/** Somebody listens to the session there, as it is `now`, and its home has begun the stream. */
type Listening = { now: Session | undefined; reached: boolean };

function newProxy(sessions: ReturnType<typeof memorySessions>, peers: Peers, listening: Listening) {
  const streams = {
    named: (asked: string) => (asked === hash('sha256', session.id) ? listening.now : undefined),
    reaches: () => listening.reached,
  };
  const activity = memoryActivity();
  const quiet = createQuiet(activity, () => false, token);
  const questions = createQuestions(activity, peers, streams, sessions);
  const first = createFirstQuestions({ questions, quiet, streams, peers, sessions, token, now: Date.now });
  const asks = (by: Session, id: number, method = 'roots/list'): void => {
    const question = { jsonrpc: '2.0', id, method } as const;
    first.hear(by, question);
    questions.asked(by, question);
  };
  return { quiet, questions, first, asks };
}

/** The first proxy has the stream; `calls` is the one that gets the calls. */
async function begin(proxies: 1 | 2, listening = true) {
  const sessions = memorySessions({ ttlSeconds: 60 });
  await sessions.create(session);
  const join = newNetwork();
  const stream: Listening = { now: listening ? session : undefined, reached: true };
  const holder = newProxy(sessions, join(), stream);
  const calls = proxies === 1 ? holder : newProxy(sessions, join(), { now: undefined, reached: false });
  const asksFirst = async () => (await sessions.find(session.id))?.asksFirst;
  /** As it is in the registry, at its next home. */
  async function move(): Promise<Session> {
    const from = (await sessions.find(session.id))!;
    const to = { ...migrated(from, 'b'), homedAt: Date.now() };
    await sessions.replace(from, to);
    if (listening) stream.now = to;
    return to;
  }
  return { holder, calls, asksFirst, move, stream };
}

/** Whether a call may go to the home by now. */
function waiting(wait: Promise<void> | undefined): () => boolean {
  let over = wait === undefined;
  const end = async (): Promise<void> => {
    await wait;
    over = true;
  };
  void end();
  return () => !over;
}

test.each([1, 2] as const)('waits until the client has answered, %i proxies', async (proxies) => {
  const { holder, calls, asksFirst, move } = await begin(proxies);
  holder.asks(session, 0);
  calls.questions.answered(session.id, 0);
  await vi.waitFor(async () => expect(await asksFirst()).toBe(true));
  const housed = await move();
  const waits = waiting(calls.first.answered(housed, exchangeOf(CALL)));
  await vi.advanceTimersByTimeAsync(300);
  holder.asks(housed, 0);
  await vi.advanceTimersByTimeAsync(300);
  expect(waits()).toBe(true);
  calls.questions.answered(session.id, 0);
  await vi.advanceTimersByTimeAsync(100);
  expect(waits()).toBe(false);
  await vi.advanceTimersByTimeAsync(10_000);
  expect([await asksFirst(), calls.first.answered(housed, exchangeOf(CALL))]).toEqual([true, undefined]);
});

test('a ping is no question: neither to learn from, nor to wait for', async () => {
  const { holder, asksFirst, move } = await begin(1);
  holder.asks(session, 0, 'ping');
  await vi.advanceTimersByTimeAsync(0);
  expect(await asksFirst()).toBeUndefined();
  holder.asks(session, 1);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  const waits = waiting(holder.first.answered(housed, exchangeOf(CALL)));
  holder.asks(housed, 0, 'ping');
  holder.questions.answered(session.id, 0);
  await vi.advanceTimersByTimeAsync(300);
  expect(waits()).toBe(true);
  holder.asks(housed, 1);
  holder.questions.answered(session.id, 1);
  await vi.advanceTimersByTimeAsync(100);
  expect(waits()).toBe(false);
});

test.each([1, 2] as const)('a home that had no stream to ask on is waited for again, %i proxies', async (proxies) => {
  const { holder, calls, asksFirst, move, stream } = await begin(proxies);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  stream.reached = false;
  const waits = waiting(calls.first.answered(housed, exchangeOf(CALL)));
  await vi.advanceTimersByTimeAsync(MOST_MS);
  expect([waits(), await asksFirst()]).toEqual([false, true]);
});

test('beyond so many waits nobody waits', async () => {
  const { holder, asksFirst, move } = await begin(1);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  const others = Array.from({ length: 100 }, (_, at) => ({ ...housed, id: `other-${at}` }));
  const waits = others.filter((one) => holder.first.answered(one, exchangeOf(CALL)) !== undefined);
  expect(waits).toHaveLength(64);
  await vi.advanceTimersByTimeAsync(0);
  expect([holder.first.answered(housed, exchangeOf(CALL)) !== undefined, await asksFirst()]).toEqual([true, true]);
});

test('all answers are waited for', async () => {
  const { holder, move } = await begin(1);
  holder.asks(session, 0);
  holder.questions.answered(session.id, 0);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  holder.asks(housed, 0);
  holder.asks(housed, 1);
  const waits = waiting(holder.first.answered(housed, exchangeOf(CALL)));
  holder.questions.answered(session.id, 0);
  await vi.advanceTimersByTimeAsync(300);
  expect(waits()).toBe(true);
  holder.questions.answered(session.id, 1);
  await vi.advanceTimersByTimeAsync(100);
  expect(waits()).toBe(false);
});

test.each([
  ['a home that does not ask', 1, false],
  ['a home that does not ask', 2, false],
  ['a client that does not answer', 1, true],
  ['a client that does not answer', 2, true],
] as const)('%s is waited for once, %i proxies', async (_what, proxies, asks) => {
  const { holder, calls, asksFirst, move } = await begin(proxies);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  const waits = waiting(calls.first.answered(housed, exchangeOf(CALL)));
  if (asks) holder.asks(housed, 0);
  await vi.advanceTimersByTimeAsync(500);
  expect(waits()).toBe(true);
  await vi.advanceTimersByTimeAsync(MOST_MS - 500);
  expect([waits(), await asksFirst()]).toEqual([false, false]);
  const again = await move();
  holder.asks(again, 0);
  await vi.advanceTimersByTimeAsync(0);
  expect([calls.first.answered(again, exchangeOf(CALL)), await asksFirst()]).toEqual([undefined, false]);
});

test.each([1, 2] as const)('nobody listens: it is not waited for, %i proxies', async (proxies) => {
  const { holder, calls, asksFirst, move } = await begin(proxies, false);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  const waits = waiting(calls.first.answered(await move(), exchangeOf(CALL)));
  await vi.advanceTimersByTimeAsync(0);
  expect([waits(), await asksFirst()]).toEqual([false, true]);
});

test.each([
  ['a tool asks', exchangeOf(CALL), undefined],
  ['a prompt asks', exchangeOf({ ...CALL, method: 'prompts/get' }), undefined],
  ['a list runs', exchangeOf({ ...CALL, method: 'tools/list' }), true],
  ['a ping runs', exchangeOf({ ...CALL, method: 'ping' }), true],
  ['a notification is taken', exchangeOf({ jsonrpc: '2.0', method: 'notifications/initialized' }), true],
])('%s: whether it is learnt', async (_what, exchange, learnt) => {
  const { holder, asksFirst } = await begin(1);
  const leave = holder.quiet.enter(session, exchange);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  expect(await asksFirst()).toBe(learnt);
  if (typeof leave === 'function') leave();
});

test.each([
  ['its roots', { roots: [{ uri: 'file:///home' }] }, true],
  ['none', { roots: [] }, true],
  ['something else', { action: 'accept', content: { roots: [] } }, undefined],
])('an answer to a question in a call says %s: whether it is learnt', async (_what, result, learnt) => {
  const { holder, asksFirst } = await begin(1);
  holder.first.hearAnswer(session, { jsonrpc: '2.0', id: 0, result });
  await vi.advanceTimersByTimeAsync(0);
  expect(await asksFirst()).toBe(learnt);
});

test('the client\u2019s answers, and its notifications, do not wait', async () => {
  const { holder, move } = await begin(1);
  holder.asks(session, 0);
  await vi.advanceTimersByTimeAsync(0);
  const housed = await move();
  const answer = exchangeOf({ jsonrpc: '2.0', id: 0, result: {} });
  const notification = exchangeOf({ jsonrpc: '2.0', method: 'notifications/roots/list_changed' });
  const both = exchangeOf({ jsonrpc: '2.0', id: 0, result: {} }, CALL);
  expect([answer, notification, both].map((one) => holder.first.answered(housed, one))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
