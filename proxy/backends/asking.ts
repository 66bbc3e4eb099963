/** Questions of discovery that are asked together: one that is late holds up none of the others. */

import { type Answer, type Asked, rememberAnswer } from './answers.ts';

export type Question<T> = {
  /** Asks; where it is being asked still, that is waited for. Never rejects. */
  readonly ask: () => Promise<Asked<T>>;
  /** What came of the last asking that has ended. */
  readonly last: () => Asked<T>;
};

/** Its answers are kept as by `rememberAnswer`. */
export function newQuestion<T>(answer: () => Promise<Answer<T>>): Question<T> {
  const remembered = rememberAnswer(answer);
  let last: Asked<T> = { records: [], ttl: Infinity, heard: false };
  let running: Promise<Asked<T>> | undefined;
  async function ask(): Promise<Asked<T>> {
    last = await remembered();
    running = undefined;
    return last;
  }
  return { ask: () => (running ??= ask()), last: () => last };
}

/** A resolver that answers both families does so at about the same time. Milliseconds. */
const GRACE_MS = 200;

/**
 * Resolves when all are answered, or a moment after the first answer that named somebody: with nameservers that drop one
 * kind of question it goes on for many seconds. `late` is told of each answer after that. `known`: enough is known
 * already, nobody is waited for longer than that moment.
 */
export function askTogether(questions: readonly Question<unknown>[], late: () => void, known = false): Promise<void> {
  return new Promise((resolve) => {
    let left = questions.length;
    let over = false;
    let timer: NodeJS.Timeout | undefined;
    function end(): void {
      over = true;
      clearTimeout(timer);
      resolve();
    }
    function hurry(): void {
      timer ??= setTimeout(end, GRACE_MS).unref();
    }
    async function ask(question: Question<unknown>): Promise<void> {
      const { heard } = await question.ask();
      left -= 1;
      if (over) late();
      else if (left === 0) end();
      else if (heard) hurry();
    }
    if (left === 0) return end();
    if (known) hurry();
    for (const question of questions) void ask(question);
  });
}
