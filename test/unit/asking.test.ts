/** When a round of questions is over: answers come when the test says so, the clock is fake. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Answer } from '../../proxy/backends/answers.ts';
import { type Question, askTogether, newQuestion } from '../../proxy/backends/asking.ts';

type Asker = {
  readonly question: Question<string>;
  readonly asked: () => number;
  readonly answer: (...of: string[]) => void;
};

function asker(): Asker {
  const waiting: ((answer: Answer<string>) => void)[] = [];
  let asked = 0;
  const question = newQuestion(() => {
    asked += 1;
    return new Promise<Answer<string>>((resolve) => waiting.push(resolve));
  });
  return { question, asked: () => asked, answer: (...records) => waiting.shift()?.({ records, ttl: 1 }) };
}

let a: Asker;
let b: Asker;
let said: string[];
beforeEach(() => {
  vi.useFakeTimers();
  [a, b, said] = [asker(), asker(), []];
});
afterEach(() => void vi.useRealTimers());

async function round(known = false): Promise<void> {
  await askTogether([a.question, b.question], () => said.push('late'), known);
  said.push('over');
}
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test('it is over when all are answered, and no clock runs any more', async () => {
  void round();
  a.answer('1');
  b.answer();
  await pass(0);
  expect([said, vi.getTimerCount()]).toEqual([['over'], 0]);
});

test('it waits a moment after the first that named somebody, and no longer', async () => {
  void round();
  await pass(5_000);
  a.answer('1');
  await pass(199);
  expect(said).toEqual([]);
  await pass(1);
  expect(said).toEqual(['over']);
});

test('it waits for all while nobody was named', async () => {
  void round();
  a.answer();
  await pass(20_000);
  expect(said).toEqual([]);
  b.answer();
  await pass(0);
  expect(said).toEqual(['over']);
});

test('it waits a moment where enough is known', async () => {
  void round(true);
  await pass(200);
  expect(said).toEqual(['over']);
});

test('one that is late is told of, and is asked again only then', async () => {
  void round();
  a.answer('1');
  await pass(200);
  void round();
  a.answer('1');
  await pass(200);
  expect([a.asked(), b.asked()]).toEqual([2, 1]);
  expect(b.question.last().records).toEqual([]);
  b.answer('2');
  await pass(0);
  expect([said, b.question.last().records]).toEqual([['over', 'over', 'late', 'late'], ['2']]);
  void round();
  expect(b.asked()).toBe(2);
});

test('no questions are over at once', async () => {
  await askTogether([], () => said.push('late'));
  expect(said).toEqual([]);
});
