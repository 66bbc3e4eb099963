/** One attempt of an `initialize`: it may be repeated, so the trouble of one backend is no answer while there is another. */
import { certain, suspect, untouched } from './aftermath.ts';
import type { Certain } from './aftermath.ts';
import { isTimeout } from './blame.ts';
import { HEADER } from './contract.ts';
import type { Attempt, Backend, Exchange, Refusal, Session } from './contract.ts';
import { headerValue } from './headers.ts';
import { opened } from './journal.ts';
import { idsOf } from './jsonrpc.ts';
import type { Kept } from './keeper.ts';
import { outlasting } from './outlasting.ts';
import { ID_TAKEN, ID_UNUSABLE, NO_ANSWER, OUTCOME_UNKNOWN, REGISTRY_DOWN, TOO_LONG } from './refusal.ts';
import { RememberingSink } from './remember.ts';
import { idsOfIssued, issuedId } from './session-id.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Backends that take the request and fail it, one after the other: each may keep the client waiting. */
const MOST_LOST = 3;
/** How long the answer is waited for after the client has left, to close what the backend opens. Milliseconds. */
const LATE_MS = 30_000;
/** Not of one whose body would cost too much meanwhile. Bytes. */
const LATE_BYTES = 64 * 1024;

export async function open(rooms: Rooms, story: Story, exchange: Exchange, to: Backend): Promise<Turn> {
  const { signal, done, abort } = outlasting(exchange.signal, lateMs(exchange));
  const { giveBack } = story;
  const memory = new RememberingSink(story.sink, exchange, undefined, to, {
    ...rooms,
    stored(session) {
      giveBack();
      if (session !== undefined) for (const place of story.places) place.fill(session.id);
    },
    tooLong: abort,
  });
  const sent = await rooms.upstream.send({ ...exchange, signal }, undefined, to, memory);
  done();
  if (sent.kind === 'declined') return declined(rooms, story, to, memory, sent);
  const attempt = await certain(rooms, story, undefined, to, sent);
  const kept = await memory.settled();
  if (kept.kind === 'too-long') {
    closeIssued(rooms, story, to, memory);
    rooms.telemetry.record({ type: 'limited', limit: 'answers' });
    return failed(rooms, story, to, { kind: 'lost', cause: kept.cause, unanswered: idsOf(exchange) }, TOO_LONG);
  }
  if (kept.kind !== 'stored') return notStored(rooms, story, to, kept);
  if (kept.opened === undefined) closeIssued(rooms, story, to, memory);
  else if (story.sink.shown === 'nothing') await takeBack(rooms, kept.opened, to, exchange);
  else rooms.telemetry.record({ type: 'session', change: 'opened' });
  if (kept.opened !== undefined || kept.issuesNone === true) rooms.issuers.learn(to.id, kept.opened !== undefined);
  if (attempt.kind !== 'answered') return failed(rooms, story, to, attempt);
  if (attempt.status < 300) rooms.ejections.succeeded(to.id);
  if (kept.opened !== undefined) rooms.confirmations.confirm(kept.opened);
  if (exchange.signal.aborted) return { outcome: 'abandoned', status: 499 };
  return { outcome: 'answered', status: attempt.status };
}

function lateMs({ body }: Exchange): number {
  return (body?.length ?? 0) > LATE_BYTES ? 0 : LATE_MS;
}

/** The client has not seen the id, and never will: nobody would end it. */
async function takeBack(rooms: Rooms, session: Session, to: Backend, exchange: Exchange): Promise<void> {
  await rooms.unregister(session.id);
  rooms.migrator.discard(session, to, exchange);
}

async function declined(
  rooms: Rooms,
  story: Story,
  to: Backend,
  memory: RememberingSink,
  sent: Extract<Attempt, { kind: 'declined' }>,
): Promise<Turn> {
  const { status } = sent;
  blame(rooms, to, new Error(`initialize was declined with status ${status}`));
  closeIssued(rooms, story, to, memory);
  story.tried.set(to.id, 'unsent');
  story.declined = async () => {
    const shown = await certain(rooms, story, undefined, to, sent.show());
    await memory.settled();
    return { outcome: 'answered', status: shown.kind === 'answered' ? shown.status : status };
  };
  return 'again';
}

function failed(
  rooms: Rooms,
  story: Story,
  to: Backend,
  attempt: Exclude<Certain, { kind: 'answered' }>,
  tooLong?: Refusal,
): Turn | Promise<Turn> {
  if (attempt.kind === 'abandoned') return { outcome: 'abandoned', status: 499 };
  if (attempt.kind !== 'lost') {
    if (attempt.kind === 'unsent') rooms.ejections.failed(to.id);
    return untouched(rooms, story, to, attempt);
  }
  blame(rooms, to, attempt.cause);
  story.losses += 1;
  story.tried.set(to.id, 'lost');
  const refusal = tooLong ?? (isTimeout(attempt.cause) ? NO_ANSWER : OUTCOME_UNKNOWN);
  const refuseIt = (): Turn => ({ ...refused(story, refusal, attempt.unanswered), outcome: 'lost' });
  if (story.sink.shown !== 'nothing' || story.losses >= MOST_LOST || rooms.replay === 'never') return refuseIt();
  rooms.telemetry.record({ type: 'replay', verdict: 'again' });
  story.declined = () => Promise.resolve(refuseIt());
  return 'again';
}

function blame(rooms: Rooms, to: Backend, cause: Error): void {
  suspect(rooms, to, cause);
  rooms.ejections.failed(to.id);
}

function notStored(
  rooms: Rooms,
  story: Story,
  to: Backend,
  kept: Exclude<Kept, { kind: 'stored' | 'too-long' }>,
): Turn {
  if (kept.kind === 'unusable') {
    rooms.telemetry.record({ type: 'unusable-id', backend: to.id, cause: kept.why });
    for (const orphan of kept.orphans) rooms.migrator.discard(orphan, to, story.exchange);
    return refused(story, ID_UNUSABLE);
  }
  if (kept.kind !== 'superseded' && kept.orphan !== undefined) {
    // The registry may have stored it all the same.
    void rooms.unregister(kept.orphan.id);
    rooms.migrator.discard(kept.orphan, to, story.exchange);
  }
  return refused(story, kept.kind === 'taken' ? ID_TAKEN : REGISTRY_DOWN);
}

/** What a backend has opened, and then failed or refused, is nobody's. */
function closeIssued(rooms: Rooms, { exchange }: Story, to: Backend, { heardHead }: RememberingSink): void {
  const { intent } = exchange;
  if (intent.kind !== 'open') return;
  const nothing = { jsonrpc: '2.0', id: intent.initialize.id, result: {} } as const;
  const named = headerValue(exchange.headers, HEADER.session);
  for (const id of idsOfIssued(issuedId(heardHead))) {
    // It only repeats what it was asked with.
    if (id === named) continue;
    const orphan = opened(intent.initialize, nothing, { id, home: to, revision: '', now: 0, text: '' });
    rooms.migrator.discard(orphan, to, exchange);
  }
}
