/** A backend that hangs is severed: what runs there ends, and nothing else does. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Attempt, Backend, Exchange, Session } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Nasty, startNasty } from '../house/nasty.ts';
import { RecordingSink, call, listening, note, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon } from '../house/until.ts';

const upstream = createUpstream({ answerSeconds: undefined });
const session = newSession();
let a: Nasty;
let b: Nasty;
beforeAll(async () => {
  [a, b] = [await startNasty(), await startNasty()];
});
afterAll(async () => {
  await upstream.close();
  await Promise.all([a.close(), b.close()]);
});

const at = (origin: string): Backend => ({ id: origin, origin, draining: false, suspect: false });
function send(exchange: Exchange, to: Nasty, of?: Session): { sink: RecordingSink; attempt: Promise<Attempt> } {
  const sink = new RecordingSink();
  return { sink, attempt: soon('the end of the attempt', upstream.send(exchange, of, at(to.origin), sink)) };
}

test('running calls and streams are lost, those of another backend are not', async () => {
  const post = send(posting(call(1)), a);
  const asked = await a.next();
  const answering = send(posting(call(2)), a);
  const answer = (await a.next()).stream().event(note('still here'));
  const stream = send(listening(session), a, session);
  const listened = (await a.next()).stream();
  const other = send(posting(call(3)), b);
  const elsewhere = await b.next();

  upstream.sever(a.origin);
  expect(await post.attempt).toMatchObject({ kind: 'lost', unanswered: [1] });
  expect(await answering.attempt).toMatchObject({ kind: 'lost', unanswered: [2] });
  expect(await stream.attempt).toMatchObject({ kind: 'lost', unanswered: [] });
  await Promise.all([asked, answer, listened].map((request) => soon('the end of a connection', request.left)));

  elsewhere.answer(200, result(3));
  expect(await other.attempt).toEqual({ kind: 'answered', status: 200 });
});

test('what was not sent yet is unsent, and is not sent later', async () => {
  const before = a.requests.length;
  const { attempt } = send(posting(call(1)), a);
  upstream.sever(a.origin);
  expect(await attempt).toMatchObject({ kind: 'unsent', blame: 'backend' });
  const later = send(posting(call(2)), a);
  const request = await a.next();
  expect([a.requests.length, request.body]).toEqual([before + 1, JSON.stringify(call(2))]);
  request.answer(200, result(2));
  expect(await later.attempt).toEqual({ kind: 'answered', status: 200 });
});

test('an answer that has come whole stays answered', async () => {
  const { attempt } = send(posting(call(1)), a);
  (await a.next()).answer(200, result(1));
  expect(await attempt).toEqual({ kind: 'answered', status: 200 });
  upstream.sever(a.origin);
  upstream.sever('http://127.0.0.1:1');
});
