/** Two hundred conversations through two proxies, in peace and while every backend is killed in turn. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Flow, startFlow } from '../house/flow.ts';
import { type Talk, UNKNOWN, through } from '../house/talk.ts';
import { until } from '../house/until.ts';

const SESSIONS = 200;
const CALLS = 20;
const BACKENDS = ['a', 'b', 'c'];

let flow: Flow;
let talks: readonly Talk[];
let inPeace = '';

beforeAll(async () => {
  flow = await startFlow({ backends: BACKENDS, proxies: 2 });
  const { proxies, talk } = flow;
  const anyProxy = through(() => proxies[Math.floor(Math.random() * proxies.length)]!.url);
  const all: Talk[] = [];
  // In small groups, as clients come.
  while (all.length < SESSIONS)
    all.push(...(await Promise.all(Array.from({ length: 10 }, () => talk({ fetch: anyProxy })))));
  talks = all;
}, 120_000);
afterAll(() => flow.close(), 30_000);

test('in peace: one task per session, no error, an even spread', { timeout: 180_000 }, async () => {
  const saw = await Promise.all(
    talks.map(async ({ count }) => {
      const answers: string[] = [];
      for (let call = 0; call < CALLS; call += 1) answers.push(await count());
      return answers;
    }),
  );
  const homes = saw.map(([first]) => first?.[0] ?? '');
  expect(saw).toEqual(homes.map((home) => Array.from({ length: CALLS }, (_, at) => `${home}${at + 1}`)));
  const spread = BACKENDS.map((name) => homes.filter((home) => home === name).length);
  inPeace = `in peace ${SESSIONS * CALLS} calls, 0 errors, homes ${spread.join(' ')}`;
  // Each proxy evens out what it opens, at once; a blind draw is as even as this in one run of three.
  expect(Math.max(...spread) - Math.min(...spread)).toBeLessThanOrEqual(10);
});

type Tally = {
  /** Calls that have ended, by session. */
  readonly done: number[];
  /** Keys of unsafe calls that were answered, and of those whose outcome is unknown. */
  readonly answered: string[];
  readonly unknown: string[];
  over: boolean;
};

test('every backend is killed in turn, and started again: all go on', { timeout: 240_000 }, async () => {
  const ids = talks.map(({ sessionId }) => sessionId);
  const tally: Tally = { done: talks.map(() => 0), answered: [], unknown: [], over: false };
  const talking = Promise.all(
    talks.map(async (talk, at) => {
      while (!tally.over) await callOnce(talk, at, tally);
    }),
  );
  const kills = async () => {
    await everybodyGoesOn(tally);
    for (const name of BACKENDS) {
      await flow.kill(name);
      await everybodyGoesOn(tally);
      await flow.revive();
      await everybodyGoesOn(tally);
    }
    tally.over = true;
  };
  // Whoever is told anything but an answer or "the outcome is unknown" ends the test at once.
  await Promise.all([kills(), talking]);

  const effects = flow.servers.effects();
  const runs = (key: string) => effects.filter((effect) => effect.key === key).length;
  const { answered, unknown, done } = tally;
  expect(talks.map(({ sessionId }) => sessionId)).toEqual(ids);
  expect(answered.filter((key) => runs(key) !== 1)).toEqual([]);
  expect(unknown.filter((key) => runs(key) > 1)).toEqual([]);
  const migrated = flow.proxies.flatMap(({ events }) =>
    events.filter((event) => event.type === 'migration' && event.outcome === 'migrated'),
  );
  expect(migrated.length).toBeGreaterThanOrEqual(SESSIONS);
  const calls = done.reduce((sum, one) => sum + one);
  process.stdout.write(
    `crowd: ${SESSIONS} sessions went on; ${inPeace}; each backend killed: ${calls} calls, ` +
      `${unknown.length} of ${answered.length + unknown.length} unsafe ones unknown, none run twice, ${migrated.length} migrations\n`,
  );
});

/** Every third call must not be repeated; the others must be answered. */
async function callOnce(talk: Talk, at: number, { done, answered, unknown }: Tally): Promise<void> {
  const number = done[at] ?? 0;
  if (number % 3 === 2) {
    const key = `session ${at} call ${number}`;
    const saw = await talk.outcome('effect', { key });
    (saw === UNKNOWN ? unknown : answered).push(key);
  } else {
    await (number % 3 === 0 ? talk.task('ping') : talk.task('safe_effect', { key: `safe ${at} ${number}` }));
  }
  done[at] = number + 1;
}

/** Each session has ended two calls more: one of them began after now. */
async function everybodyGoesOn({ done }: Tally): Promise<void> {
  const before = [...done];
  await until('every session goes on', () => done.every((number, at) => number >= before[at]! + 2), 90_000);
}
