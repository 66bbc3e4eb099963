/** What a draining backend remembers of sessions, and that it forgets. */

import { ServerResponse, IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { createPresences, type Running } from '../../server/presence.ts';

const response = new ServerResponse(new IncomingMessage(new Socket()));
const request = (): Running => ({ response, listening: false });
const listening = (): Running => ({ response, listening: true });

/** Ten milliseconds of idle life on a clock that the test sets. */
function start() {
  const clock = { now: 0 };
  const sessions = createPresences<Running>(10, () => clock.now);
  const visit = (id: string, confirmed: boolean) => {
    const session = sessions.use(id);
    const running = request();
    session.enter(running);
    if (confirmed) session.confirm();
    session.leave(running);
    sessions.rest(session);
  };
  const known = () => sessions.all().map(({ id }) => id);
  return { clock, sessions, visit, known };
}

test('a name that no handler has accepted is forgotten with its request', () => {
  const { visit, known } = start();
  visit('a', true);
  visit('b', false);
  visit('a', false);
  expect(known()).toEqual(['a']);
});

test('who is idle too long is forgotten; who listens is not', () => {
  const { clock, sessions, visit, known } = start();
  const a = sessions.use('a');
  const stream = listening();
  a.enter(stream);
  a.confirm();
  visit('b', true);
  clock.now = 10;
  expect([sessions.waiting(), known()]).toEqual([1, ['a']]);
  clock.now = 15;
  a.leave(stream);
  sessions.rest(a);
  clock.now = 24;
  expect(sessions.waiting()).toBe(1);
  clock.now = 25;
  expect([sessions.waiting(), known()]).toEqual([0, []]);
});

test('a session that is handed over waits again when it is used again', () => {
  const { sessions, visit } = start();
  visit('a', true);
  sessions.handOver('a');
  expect(sessions.waiting()).toBe(0);
  visit('a', true);
  expect(sessions.waiting()).toBe(1);
});

test('a session is quiet without requests and questions, and questions end with their request', () => {
  const session = start().sessions.use('a');
  const [call, stream] = [request(), listening()];
  session.enter(stream);
  expect(session.quiet).toBe(true);
  session.enter(call);
  session.note({ kind: 'asked', question: 'number:1' }, call);
  session.note({ kind: 'asked', question: 'number:2' }, stream);
  session.leave(call);
  expect([session.quiet, session.asking]).toEqual([false, true]);
  session.leave(stream);
  expect(session.quiet).toBe(false);
  session.answered({ id: '2', result: {} });
  expect(session.quiet).toBe(false);
  session.answered({ id: 2, result: {} });
  expect(session.quiet).toBe(true);
});

test('of more than 1000 open questions the oldest is forgotten', () => {
  const session = start().sessions.use('a');
  const stream = listening();
  for (let id = 0; id <= 1000; id += 1) session.note({ kind: 'asked', question: `number:${id}` }, stream);
  for (let id = 1; id < 1000; id += 1) session.answered({ id, result: {} });
  expect(session.asking).toBe(true);
  session.answered({ id: 1000, result: {} });
  expect(session.asking).toBe(false);
});
