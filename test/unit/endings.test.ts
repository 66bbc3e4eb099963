/** Which sessions their clients are ending, at this proxy or another. */

import { expect, test } from 'vitest';
import type { JsonObject, Peers } from '../../proxy/contract.ts';
import { createEndings } from '../../proxy/endings.ts';

/** Two proxies that hear each other. */
function begin() {
  let now = 0;
  type Heard = (message: JsonObject) => unknown;
  const handlers: Map<string, Heard>[] = [new Map(), new Map()];
  const peersOf = (at: number): Peers => {
    const tell = (topic: string, message: JsonObject) => void handlers[1 - at]?.get(topic)?.(message);
    return {
      ask(topic, message) {
        tell(topic, message);
        return Promise.resolve({ answers: [], complete: true });
      },
      tell,
      on(topic, handler) {
        handlers[at]?.set(topic, handler);
        return () => void handlers[at]?.delete(topic);
      },
      close() {},
    };
  };
  const clock = () => now;
  const [one, other] = [createEndings(peersOf(0), clock), createEndings(peersOf(1), clock)];
  return { one, other, known: () => [one.has('s'), other.has('s')], pass: (ms: number) => void (now += ms) };
}

test('all proxies know what one ends, and that its home has not', async () => {
  const { one, known } = begin();
  await one.begin('s');
  expect([...known(), one.has('t')]).toEqual([true, true, false]);
  one.failed('s');
  expect(known()).toEqual([false, false]);
});

test('after a minute the registry says it', async () => {
  const { one, known, pass } = begin();
  await one.begin('s');
  pass(59_000);
  expect(known()).toEqual([true, true]);
  pass(1_000);
  expect(known()).toEqual([false, false]);
});

test('of very many the oldest is forgotten', async () => {
  const { one, other } = begin();
  for (let at = 0; at <= 20_000; at += 1) await one.begin(`session ${at}`);
  expect([one, other].map((each) => [0, 1, 20_000].map((at) => each.has(`session ${at}`)))).toEqual([
    [false, true, true],
    [false, true, true],
  ]);
});
