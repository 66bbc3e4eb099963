/** One attempt of the corridor, and what follows from how it ended. */
import { unansweredPart, withCursor } from './address.ts';
import { SessionsUnavailable } from './contract.ts';
import type { Attempt, Backend, Exchange, Session, Sink } from './contract.ts';
import type { Kept } from './keeper.ts';
import { idsOf } from './jsonrpc.ts';
import { ID_TAKEN, NO_ANSWER, NO_BACKEND, OUTCOME_UNKNOWN, REGISTRY_DOWN } from './refusal.ts';
import { RememberingSink, mayChange } from './remember.ts';
import { mayReplay } from './replay-safety.ts';
import { pause, refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';
import { heldOpen } from './streams.ts';

/** An exchange that was lost this often is not sent again. */
const MAX_LOSSES = 3;
/** A stream that lived this long has ended its story: the next break is a new one. Milliseconds. */
const STEADY_MS = 1000;

export async function forward(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session | undefined,
  to: Backend,
): Promise<Turn> {
  story.backend = to.id;
  const { intent } = exchange;
  if (session !== undefined && intent.kind === 'continue' && intent.verb === 'listen') {
    return listen(rooms, story, exchange, session, to);
  }
  count(rooms, to, 1);
  try {
    return await exchangeWith(rooms, story, exchange, session, to);
  } finally {
    count(rooms, to, -1);
  }
}

function count({ running }: Rooms, { id }: Backend, change: 1 | -1): void {
  const now = (running.get(id) ?? 0) + change;
  if (now === 0) running.delete(id);
  else running.set(id, now);
}

async function exchangeWith(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session | undefined,
  to: Backend,
): Promise<Turn> {
  if (!mayChange(exchange)) {
    const attempt = await rooms.upstream.send(exchange, session, to, story.sink);
    return settle(rooms, story, session, to, await certain(rooms, exchange, session, to, attempt));
  }
  const memory = new RememberingSink(story.sink, exchange, session, to, rooms);
  const sent = await rooms.upstream.send(exchange, session, to, memory);
  const attempt = await certain(rooms, exchange, session, to, sent);
  const kept = await memory.settled();
  if (kept.kind !== 'stored') return notKept(rooms, story, to, kept);
  if (kept.change !== undefined) rooms.telemetry.record({ type: 'session', change: kept.change });
  return settle(rooms, story, session, to, attempt);
}

type Certain = Exclude<Attempt, { kind: 'doubtful' }>;

/** A home that answers a ping of the session knows it: its words were about something else. */
async function certain(
  rooms: Rooms,
  exchange: Exchange,
  session: Session | undefined,
  to: Backend,
  attempt: Attempt,
): Promise<Certain> {
  if (attempt.kind !== 'doubtful') return attempt;
  if (session === undefined || (await rooms.migrator.knows(session, to, exchange))) {
    return certain(rooms, exchange, session, to, attempt.show());
  }
  if (attempt.of === 'gone') return { kind: 'gone' };
  const cause = new Error('the home does not know the session');
  return { kind: 'lost', cause, unanswered: idsOf(exchange), forgotten: true };
}

function settle(rooms: Rooms, story: Story, session: Session | undefined, to: Backend, attempt: Certain): Turn {
  switch (attempt.kind) {
    case 'answered':
      return { outcome: 'answered', status: attempt.status };
    case 'abandoned':
      return { outcome: 'abandoned', status: 499 };
    case 'lost':
      return afterLoss(rooms, story, session, to, attempt);
    case 'unsent':
    case 'gone':
      return untouched(rooms, story, to, attempt);
  }
}

/** Nothing ran there. Another proxy may have migrated the session already: the registry is asked before we do. */
function untouched(
  rooms: Rooms,
  story: Story,
  to: Backend,
  attempt: Extract<Attempt, { kind: 'unsent' | 'gone' }>,
): Turn {
  if (attempt.kind === 'unsent' && attempt.blame === 'ours') {
    rooms.telemetry.record({ type: 'fault', error: attempt.cause });
    return refused(story, NO_BACKEND);
  }
  if (attempt.kind === 'unsent') {
    if (!to.suspect) rooms.telemetry.record({ type: 'suspect', backend: to.id, cause: attempt.cause.message });
    rooms.backends.suspect(to.id, attempt.cause);
  }
  story.tried.set(to.id, attempt.kind);
  story.fresh = true;
  return 'again';
}

function afterLoss(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  to: Backend,
  { cause, unanswered, forgotten }: Extract<Attempt, { kind: 'lost' }>,
): Turn {
  // The body it was in the middle of has been cut.
  if (story.sink.shown === 'body') return { outcome: 'lost', status: 200 };
  if ('code' in cause && cause.code === 'UND_ERR_HEADERS_TIMEOUT') return refused(story, NO_ANSWER, unanswered);
  story.losses += 1;
  const rest = unansweredPart(story.exchange, unanswered);
  const messages = rest.intent.kind === 'open' ? [rest.intent.initialize] : rest.intent.messages;
  if (story.losses < MAX_LOSSES && mayReplay(messages, session?.safeTools ?? [], rooms.replay)) {
    rooms.telemetry.record({ type: 'replay', verdict: 'again' });
    story.exchange = rest;
    story.tried.set(to.id, forgotten === true ? 'gone' : 'lost');
    story.fresh = forgotten === true;
    return 'again';
  }
  rooms.telemetry.record({ type: 'replay', verdict: 'unknown' });
  if (forgotten === true) {
    // The session is healed all the same, for the next request.
    story.verdict = { refusal: OUTCOME_UNKNOWN, ids: unanswered };
    story.tried.set(to.id, 'gone');
    story.fresh = true;
    return 'again';
  }
  return { ...refused(story, OUTCOME_UNKNOWN, unanswered), outcome: 'lost' };
}

function notKept(rooms: Rooms, story: Story, to: Backend, kept: Exclude<Kept, { kind: 'stored' }>): Turn {
  if (kept.kind === 'superseded') {
    story.fresh = true;
    return 'again';
  }
  if (kept.orphan !== undefined) rooms.migrator.discard(kept.orphan, to, story.exchange);
  return refused(story, kept.kind === 'taken' ? ID_TAKEN : REGISTRY_DOWN);
}

/** The client's stream outlives the home's: it is attached again, until it is the home's word that it has ended. */
async function listen(rooms: Rooms, story: Story, exchange: Exchange, session: Session, to: Backend): Promise<Turn> {
  const leaving = new AbortController();
  const detach = rooms.streams.attach(session, () => leaving.abort());
  const { cursor } = story;
  const headers =
    cursor === undefined
      ? exchange.headers
      : withCursor(exchange.headers, cursor.epoch === session.epoch ? cursor.id : undefined);
  const signal = AbortSignal.any([exchange.signal, leaving.signal]);
  const start = rooms.now();
  const sent = await rooms.upstream.send(
    { ...exchange, headers, signal },
    session,
    to,
    listeningSink(rooms, story, session),
  );
  const attempt = await certain(rooms, exchange, session, to, sent);
  detach();
  if (story.sink.shown === 'stream' && rooms.now() - start > STEADY_MS) beginAnew(story);
  switch (attempt.kind) {
    case 'answered':
      return afterListening(rooms, story, session, attempt.status);
    case 'abandoned':
      return exchange.signal.aborted ? { outcome: 'abandoned', status: 499 } : 'again';
    case 'lost':
      story.tried.set(to.id, 'lost');
      if (story.losses > 0) await pause(STEADY_MS * rooms.draw(), exchange.signal, rooms.backends);
      story.losses += 1;
      return 'again';
    case 'unsent':
    case 'gone':
      return untouched(rooms, story, to, attempt);
  }
}

function listeningSink(rooms: Rooms, story: Story, session: Session): Sink {
  return heldOpen(story.sink, {
    attached() {
      rooms.telemetry.record({ type: 'stream', change: story.listening ? 'reattached' : 'opened' });
      story.listening = true;
    },
    mark(id) {
      story.cursor = { epoch: session.epoch, id };
    },
  });
}

function beginAnew(story: Story): void {
  story.tried.clear();
  story.turns = 0;
  story.losses = 0;
  story.heldSince = undefined;
}

async function afterListening(rooms: Rooms, story: Story, session: Session, status: number): Promise<Turn> {
  const { sink } = story;
  const streaming = sink.shown === 'stream';
  // The home has not seen yet that the stream before this one is closed (an SDK server answers 409 then), or is busy.
  if (streaming && (status === 409 || status === 429 || status >= 500)) {
    await pause(STEADY_MS * rooms.draw(), story.exchange.signal, rooms.backends);
    return 'again';
  }
  if (streaming && status < 300 && (await hasNewHome(rooms, session))) {
    story.fresh = true;
    return 'again';
  }
  sink.end();
  return { outcome: 'answered', status: streaming ? 200 : status };
}

async function hasNewHome({ sessions }: Rooms, session: Session): Promise<boolean> {
  try {
    const now = await sessions.find(session.id, { fresh: true });
    return now !== undefined && (now.epoch !== session.epoch || now.home.id !== session.home.id);
  } catch (error) {
    if (error instanceof SessionsUnavailable) return false;
    throw error;
  }
}
