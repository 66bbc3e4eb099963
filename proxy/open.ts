/** One attempt of an `initialize`: it may be repeated, so the trouble of one backend is no answer while there is another. */
import { certain, suspect, untouched } from './aftermath.ts';
import type { Certain } from './aftermath.ts';
import { isTimeout } from './blame.ts';
import type { Attempt, Backend, Exchange } from './contract.ts';
import { opened } from './journal.ts';
import type { Kept } from './keeper.ts';
import { ANSWER_TOO_LONG, ID_TAKEN, ID_UNUSABLE, NO_ANSWER, OUTCOME_UNKNOWN, REGISTRY_DOWN } from './refusal.ts';
import { RememberingSink } from './remember.ts';
import { idsOfIssued, issuedId } from './session-id.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Backends that take the request and fail it, one after the other: each may keep the client waiting. */
const MOST_LOST = 3;
/** How long the answer is waited for after the client has left, to close what the backend opens. Milliseconds. */
const LATE_MS = 30_000;

export async function open(rooms: Rooms, story: Story, exchange: Exchange, to: Backend): Promise<Turn> {
  const { signal, done, breakOff } = outlasting(exchange.signal);
  const storing = { ...rooms, stored: story.giveBack };
  const memory = new RememberingSink(story.sink, exchange, undefined, to, storing, breakOff);
  const sent = await rooms.upstream.send({ ...exchange, signal }, undefined, to, memory);
  done();
  if (sent.kind === 'declined') return declined(rooms, story, to, memory, sent);
  const attempt = await certain(rooms, story, undefined, to, sent);
  const kept = await memory.settled();
  if (kept.kind !== 'stored') return notStored(rooms, story, to, kept);
  if (attempt.kind !== 'answered') return failed(rooms, story, to, memory, attempt);
  return answered(rooms, story, to, attempt.status, kept);
}

type Outlasting = { readonly signal: AbortSignal; readonly done: () => void; readonly breakOff: () => void };

/** Aborted some time after the given one. */
function outlasting(signal: AbortSignal): Outlasting {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const left = (): void => {
    timer = setTimeout(() => late.abort(), LATE_MS).unref();
  };
  if (signal.aborted) left();
  else signal.addEventListener('abort', left, { once: true });
  const done = (): void => {
    signal.removeEventListener('abort', left);
    clearTimeout(timer);
  };
  return { signal: late.signal, done, breakOff: () => late.abort() };
}

async function answered(
  rooms: Rooms,
  { exchange }: Story,
  to: Backend,
  status: number,
  kept: Extract<Kept, { kind: 'stored' }>,
): Promise<Turn> {
  if (status < 300) rooms.ejections.succeeded(to.id);
  if (kept.change === 'opened' || kept.issuesNone === true) rooms.issuers.learn(to.id, kept.issuesNone === undefined);
  if (kept.change !== 'opened') return { outcome: 'answered', status };
  rooms.telemetry.record({ type: 'session', change: 'opened' });
  const { opened: session } = kept;
  if (session !== undefined) rooms.confirmations.confirm(session);
  if (!exchange.signal.aborted || session === undefined) return { outcome: 'answered', status };
  // The client has left without the id: nobody will ever end it.
  await rooms.sessions.end(session.id).catch(() => {});
  rooms.migrator.discard(session, to, exchange);
  return { outcome: 'abandoned', status: 499 };
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
  memory: RememberingSink,
  attempt: Exclude<Certain, { kind: 'answered' }>,
): Turn | Promise<Turn> {
  if (attempt.kind === 'abandoned') return brokenOff(rooms, story, to, memory);
  if (attempt.kind !== 'lost') {
    if (attempt.kind === 'unsent') rooms.ejections.failed(to.id);
    return untouched(rooms, story, to, attempt);
  }
  blame(rooms, to, attempt.cause);
  closeIssued(rooms, story, to, memory);
  story.losses += 1;
  story.tried.set(to.id, 'lost');
  const refusal = isTimeout(attempt.cause) ? NO_ANSWER : OUTCOME_UNKNOWN;
  const refuseIt = (): Turn => ({ ...refused(story, refusal, attempt.unanswered), outcome: 'lost' });
  if (story.sink.shown !== 'nothing' || story.losses >= MOST_LOST || rooms.replay === 'never') return refuseIt();
  rooms.telemetry.record({ type: 'replay', verdict: 'again' });
  story.declined = () => Promise.resolve(refuseIt());
  return 'again';
}

/** By us: the client has left, or the answer has no end. */
function brokenOff(rooms: Rooms, story: Story, to: Backend, memory: RememberingSink): Turn {
  closeIssued(rooms, story, to, memory);
  if (story.exchange.signal.aborted) return { outcome: 'abandoned', status: 499 };
  blame(rooms, to, new Error('its answer to initialize is too long'));
  return refused(story, ANSWER_TOO_LONG);
}

function blame(rooms: Rooms, to: Backend, cause: Error): void {
  suspect(rooms, to, cause);
  rooms.ejections.failed(to.id);
}

function notStored(rooms: Rooms, story: Story, to: Backend, kept: Exclude<Kept, { kind: 'stored' }>): Turn {
  if (kept.kind === 'unusable') {
    rooms.telemetry.record({ type: 'unusable-id', backend: to.id, cause: kept.why });
    for (const orphan of kept.orphans) rooms.migrator.discard(orphan, to, story.exchange);
    return refused(story, ID_UNUSABLE);
  }
  if (kept.kind !== 'superseded' && kept.orphan !== undefined) {
    rooms.migrator.discard(kept.orphan, to, story.exchange);
  }
  return refused(story, kept.kind === 'taken' ? ID_TAKEN : REGISTRY_DOWN);
}

/** What a backend has opened and then failed is nobody's. */
function closeIssued(rooms: Rooms, { exchange }: Story, to: Backend, { heldHead }: RememberingSink): void {
  const { intent } = exchange;
  if (heldHead === undefined || intent.kind !== 'open') return;
  const nothing = { jsonrpc: '2.0', id: intent.initialize.id, result: {} } as const;
  for (const id of idsOfIssued(issuedId(heldHead))) {
    const orphan = opened(intent.initialize, nothing, { id, home: to, revision: '', now: 0, text: '' });
    rooms.migrator.discard(orphan, to, exchange);
  }
}
