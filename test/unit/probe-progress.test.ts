/** What is seen of the probe while it runs. */

import { expect, test } from 'vitest';
import { createProgress } from '../../client/probe/progress.ts';

function watch(isTTY: boolean, calls: number) {
  let seen = '';
  const progress = createProgress(calls, { isTTY, write: (text: string) => void (seen += text) });
  for (let made = 1; made <= calls; made += 1) progress.show({ made, failed: 0, task: 'a' });
  progress.end();
  return seen;
}

test('a bar on a terminal, on one line that is taken away', () => {
  const seen = watch(true, 3).split('\r\u001B[K');
  expect(seen).toEqual([
    '',
    `[${'#'.repeat(10)}${'-'.repeat(20)}] 1 of 3 calls, 0 failed, a answered last`,
    `[${'#'.repeat(20)}${'-'.repeat(10)}] 2 of 3 calls, 0 failed, a answered last`,
    `[${'#'.repeat(30)}] 3 of 3 calls, 0 failed, a answered last`,
    '',
  ]);
});

test('a line every ten calls elsewhere', () => {
  const line = (made: number) => `probe: ${made} of 25 calls, 0 failed, a answered last\n`;
  expect(watch(false, 25)).toBe(line(10) + line(20));
});
