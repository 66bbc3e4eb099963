/** What is kept of earlier answers of discovery. */

import { expect, test } from 'vitest';
import { rememberAnswer } from '../../proxy/backends/answers.ts';

test('two odd answers and a good one are no change', async () => {
  const [good, odd] = [['a'], []];
  const script = [good, odd, odd, good, odd, odd, good, odd, odd, odd];
  const ask = rememberAnswer(async () => ({ records: script.shift() ?? [], ttl: 1 }));
  const said: string[] = [];
  while (script.length > 0) said.push((await ask()).records.join(''));
  expect(said).toEqual([...Array<string>(9).fill('a'), '']);
});

test('a failure between empty answers begins their count anew', async () => {
  const script = ['a', '', '', 'fails', '', '', ''];
  const ask = rememberAnswer(async () => {
    const next = script.shift() ?? '';
    if (next === 'fails') throw Object.assign(new Error('queryA ESERVFAIL'), { code: 'ESERVFAIL' });
    return { records: next.split(''), ttl: 1 };
  });
  const said: string[] = [];
  while (script.length > 0) {
    const { records, heard, cause } = await ask();
    said.push(`${records.join('')}${heard ? '' : ` ${cause}`}`);
  }
  expect(said).toEqual(['a', 'a ENODATA', 'a ENODATA', 'a ESERVFAIL', 'a ENODATA', 'a ENODATA', ' ENODATA']);
});
