/** A question belongs to the home that asked it: an answer that comes too late never reaches the next one. */

import type { ElicitResult } from '@modelcontextprotocol/sdk/types.js';
import { afterEach, expect, test } from 'vitest';
import { rawPost } from '../house/by-hand.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { type Talk, UNKNOWN } from '../house/talk.ts';
import { until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());

type Asked = {
  readonly question: string;
  readonly say: (yes: boolean) => void;
  readonly cancelled: () => boolean;
};
type Person = {
  readonly client: Talk;
  /** What it was asked, in order: to be answered when the test says so. */
  readonly asked: readonly Asked[];
  /** The ids of the answers that were sent, each with the status it got. */
  readonly sent: readonly (readonly [unknown, number])[];
};

async function meet({ talk }: Flow): Promise<Person> {
  const asked: Asked[] = [];
  const sent: (readonly [unknown, number])[] = [];
  const client = await talk({
    onQuestion: ({ message }, signal) =>
      new Promise<ElicitResult>((resolve) => {
        asked.push({
          question: message,
          cancelled: () => signal.aborted,
          say: (yes) => resolve({ action: 'accept', content: { yes } }),
        });
      }),
    async fetch(url, init) {
      const answer = await fetch(url, init);
      const body: unknown = typeof init?.body === 'string' ? JSON.parse(init.body) : undefined;
      if (typeof body === 'object' && body && 'result' in body && 'id' in body) sent.push([body.id, answer.status]);
      return answer;
    },
  });
  return { client, asked, sent };
}

const begin = async (): Promise<Flow> => (flow = await startFlow());

test('a question is asked and answered', async () => {
  const { client, asked, sent } = await meet(await begin());
  const call = client.call('confirm', { question: 'now?' });
  await until('it is asked', () => asked.length === 1);
  asked[0]?.say(true);
  expect(await call).toMatch(/^said=yes/);
  expect(sent).toEqual([[0, 202]]);
});

test('questions of dead homes are cancelled, and late answers to them never reach the new one, which has its own', async () => {
  const begun = await begin();
  const { client, asked, sent } = await meet(begun);
  const { sessionId } = client;
  const dead: string[] = [];
  for (const question of ['first?', 'second?']) {
    const home = await client.task('ping');
    const call = client.outcome('confirm', { question });
    await until('it is asked', () => asked.at(-1)?.question === question);
    await begun.kill(home);
    dead.push(home);
    expect(await call).toBe(UNKNOWN);
  }
  const call = client.call('confirm', { question: 'third?' });
  await until('it is asked', () => asked.length === 3);

  // The client of SDK v1 overlooks that a request with id 0 is cancelled, and answers it.
  await until('the second question is cancelled', () => asked[1]?.cancelled() === true);
  asked[0]?.say(true);
  await until('the late answer is sent', () => sent.length === 1);
  const result = { action: 'accept', content: { yes: true } };
  expect((await rawPost(begun.url, { id: 'e1|n|0', result }, { 'mcp-session-id': sessionId })).status).toBe(202);
  asked[2]?.say(false);
  const last = ['a', 'b', 'c'].find((name) => !dead.includes(name));
  expect(await call).toBe(`said=no taskId=${last}`);
  // Each home numbers its questions from 0.
  expect(sent).toEqual([
    [0, 202],
    ['e2|n|0', 202],
  ]);
  expect(client.sessionId).toBe(sessionId);
});

test('an unanswered question of a dead home keeps nobody: the session goes on', async () => {
  const begun = await begin();
  const { client, asked } = await meet(begun);
  const home = await client.task('ping');
  const call = client.outcome('confirm', { question: 'never answered' });
  await until('it is asked', () => asked.length === 1);
  await begun.kill(home);
  expect(await call).toBe(UNKNOWN);
  const saw = [await client.count(), await client.count()];
  const next = saw[0]?.[0];
  expect(next).not.toBe(home);
  expect(saw).toEqual([`${next}1`, `${next}2`]);
});
