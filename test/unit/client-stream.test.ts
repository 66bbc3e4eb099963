/** A client's stream at its home and at what may become its home: what it is shown, and what is left. */

import { afterEach, expect, test } from 'vitest';
import { ClientStream } from '../../proxy/client-stream.ts';
import type { Attempt, Backend, Session, Sink } from '../../proxy/contract.ts';
import { listening, note, RecordingSink } from '../house/recording.ts';
import { migrated, newSession } from '../house/sessions.ts';

type Get = { readonly session: Session; readonly sink: Sink; readonly signal: AbortSignal; end(): void };

const client = new RecordingSink();
afterEach(() => void client.events.splice(0));

const backend = ({ home }: Session): Backend => ({ ...home, draining: false, suspect: false });
const say = ({ sink }: Get, text: string) => sink.event({ raw: Buffer.from(text), messages: [note(text)] });
const heard = () => client.events.map(({ raw }) => String(raw));

/** A stream that is attached to its session's home, and all the GETs that were made for it. */
function begin(session: Session) {
  const gets: Get[] = [];
  const listenAt = (at: Session) => (sink: Sink, signal: AbortSignal) =>
    new Promise<Attempt>((resolve) => {
      signal.addEventListener('abort', () => resolve({ kind: 'abandoned' }));
      gets.push({ session: at, sink, signal, end: () => resolve({ kind: 'answered', status: 200 }) });
      sink.head(200, ['content-type', 'text/event-stream']);
    });
  const parts = { exchange: listening(session), client, listenAt, sinkFor: () => client };
  const stream = new ClientStream(session, parts);
  stream.attach(session, backend(session), listenAt(session));
  return { stream, gets };
}
const open = (gets: readonly Get[]) =>
  gets.filter(({ signal }) => !signal.aborted).map(({ session }) => session.home.id);

test('two proxies migrate its session: whichever wins, its home was prepared', async () => {
  const session = newSession();
  const [b, c] = [migrated(session, 'b'), migrated(session, 'c')];
  for (const [wins, loses] of [
    [b, c],
    [c, b],
  ] as const) {
    const { stream, gets } = begin(session);
    await Promise.all([stream.prepare(b, backend(b)), stream.prepare(c, backend(c))]);
    for (const one of gets) say(one, one.session.home.id);
    stream.moved(wins);
    expect([heard(), open(gets)]).toEqual([
      ['a', wins.home.id],
      ['b', 'c'],
    ]);
    stream.discard(loses.backendSessionId);
    expect(open(gets)).toEqual([wins.home.id]);
    stream.close();
    client.events.splice(0);
  }
});

test('what is open already at what may become its home is not asked for again, what has ended there is', async () => {
  const session = newSession();
  const next = migrated(session, 'b');
  const { stream, gets } = begin(session);
  await stream.prepare(next, backend(next));
  await stream.prepare(next, backend(next));
  expect(gets).toHaveLength(2);
  gets[1]?.end();
  await new Promise(setImmediate);
  await stream.prepare(next, backend(next));
  expect(gets).toHaveLength(3);
});

test('it takes what was prepared, though it hears of its new home only when it is to be attached there', async () => {
  const session = newSession();
  const next = migrated(session, 'b');
  const { stream, gets } = begin(session);
  await stream.prepare(next, backend(next));
  say(gets[1]!, 'hello');
  expect(stream.attachedTo(next)?.session).toBe(next);
  expect([heard(), open(gets)]).toEqual([['hello'], ['b']]);
});

test('what was true before its last migration moves it nowhere', async () => {
  const session = newSession();
  const next = migrated(session, 'b');
  const { stream, gets } = begin(session);
  await stream.prepare(next, backend(next));
  stream.moved(next);
  stream.moved(session);
  expect(stream.attachedTo(session)?.session).toBe(next);
  expect(open(gets)).toEqual(['b']);
});

test('what is left is heard no more, and after the end of the client’s stream nothing is open', async () => {
  const session = newSession();
  const [b, c] = [migrated(session, 'b'), migrated(session, 'c')];
  const { stream, gets } = begin(session);
  await Promise.all([stream.prepare(b, backend(b)), stream.prepare(c, backend(c))]);
  stream.moved(b);
  say(gets[0]!, 'late word of a');
  stream.close();
  for (const one of gets) say(one, 'late');
  expect([heard(), open(gets)]).toEqual([[], []]);
});

test('possible homes are few: the oldest is left', async () => {
  const session = newSession();
  const { stream, gets } = begin(session);
  for (const home of ['b', 'c', 'd', 'e', 'f']) {
    const next = migrated(session, home);
    await stream.prepare(next, backend(next));
  }
  expect(open(gets)).toEqual(['a', 'c', 'd', 'e', 'f']);
});
