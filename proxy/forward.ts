/** One attempt of the corridor, and what follows from how it ended. */
import { unansweredPart } from './address.ts';
import {
  GONE,
  cancel,
  certain,
  hasNewHome,
  isEnding,
  noteNewHomeLost,
  sayGoodbye,
  suspect,
  untouched,
} from './aftermath.ts';
import type { Certain } from './aftermath.ts';
import { askBefore } from './ask-before.ts';
import { backendSessionOf } from './backend-sessions.ts';
import { isTimeout } from './blame.ts';
import type { Attempt, Backend, Exchange, Session, Sink } from './contract.ts';
import { idsOf, isRequest, isResponse, messagesOf } from './jsonrpc.ts';
import type { Kept } from './keeper.ts';
import { listen } from './listen.ts';
import type { Quiet } from './quiet.ts';
import { open } from './open.ts';
import { challenging, noteOwner } from './owners.ts';
import { standingOf } from './owner.ts';
import { outlasting } from './outlasting.ts';
import { NO_ANSWER, NO_BACKEND, OUTCOME_UNKNOWN, REGISTRY_DOWN } from './refusal.ts';
import { RememberingSink, mayChange } from './remember.ts';
import { mayReplay } from './replay-safety.ts';
import { endAsDirectly, endedMeanwhile } from './session-end.ts';
import { count, pause, refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** An exchange that was lost this often is not sent again. */
const MAX_LOSSES = 3;

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
  const first = session && rooms.firstQuestions.answered(session, exchange);
  if (first !== undefined) await first;
  const leave = session && (await begin(rooms, session, exchange));
  if (leave === 'moving') return moving(rooms, story);
  const counts = !isSubscription(exchange);
  if (counts) count(rooms.running, to, 1);
  story.answered = () => leave?.();
  try {
    const turn = await exchangeWith(rooms, story, exchange, session, to);
    if (session !== undefined && turn !== 'again' && turn.outcome === 'answered' && turn.status < 300) {
      hearAnswers(rooms, session, story.exchange);
    }
    return turn;
  } finally {
    if (counts) count(rooms.running, to, -1);
    story.giveBack();
    leave?.();
  }
}

/** A stream without a session that stays open for as long as its client listens (MCP 2026-07-28): no work for its backend. */
function isSubscription({ method, intent }: Exchange): boolean {
  if (intent.kind !== 'any') return false;
  return method === 'GET' || intent.messages.some((one) => isRequest(one) && one.method === 'subscriptions/listen');
}

/** Between our reading of a watched session and our entering it, another proxy may have given it a new home. */
async function begin(rooms: Rooms, session: Session, exchange: Exchange): Promise<ReturnType<Quiet['enter']>> {
  const entered = rooms.quiet.enter(session, exchange);
  if (!(entered instanceof Promise)) return entered;
  const leave = await entered;
  if (leave === 'moving' || !(await hasNewHome(rooms, session))) return leave;
  leave();
  return 'moving';
}

/** Milliseconds: about what a planned migration takes. */
const MOVING_MS = 20;

/** Another proxy gives the session a new home. */
async function moving(rooms: Rooms, story: Story): Promise<Turn> {
  story.movingSince ??= rooms.now();
  if (rooms.now() - story.movingSince > rooms.holdSeconds * 1000) return refused(story, NO_BACKEND);
  await pause(MOVING_MS * (1 + rooms.draw()), story.exchange.signal, rooms.backends);
  story.turns -= 1;
  story.fresh = true;
  return 'again';
}

function hearAnswers({ questions, firstQuestions }: Rooms, session: Session, { intent }: Exchange): void {
  if (intent.kind !== 'continue') return;
  for (const message of intent.messages) {
    if (!isResponse(message) || message.id === undefined || message.id === null) continue;
    firstQuestions.hearAnswer(session, message);
    questions.answered(session.id, message.id);
  }
}

/** A client that ends its session need not wait for the answer: its home gets the DELETE all the same. Milliseconds. */
const ENDING_MS = 10_000;

async function exchangeWith(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session | undefined,
  to: Backend,
): Promise<Turn> {
  if (exchange.intent.kind === 'open') return open(rooms, story, exchange, to);
  if (session === undefined) return settle(rooms, story, undefined, to, await plain(rooms, story, exchange, to));
  if (standingOf(session, exchange) !== 'owner') return inSession(rooms, story, exchange, session, to);
  if (isEnding(exchange)) {
    story.ending = true;
    await rooms.endings.begin(session.id);
  }
  const asked = await askBefore(rooms, story, exchange, session, to);
  return asked.kind === 'turn' ? asked.turn : inSession(rooms, story, exchange, asked.session, to);
}

async function inSession(rooms: Rooms, story: Story, exchange: Exchange, session: Session, to: Backend): Promise<Turn> {
  const { sink, settled } = challenging(rooms, session, exchange, withAnswered(story.sink, story.answered));
  if (!mayChange(exchange)) {
    const sent = await rooms.upstream.send(exchange, session, to, sink);
    const attempt = await certain(rooms, story, session, to, sent);
    await settled();
    return settle(rooms, story, session, to, attempt);
  }
  const { signal, done, abort } = outlasting(exchange.signal, isEnding(exchange) ? ENDING_MS : 0);
  const told = { stored: story.giveBack, tooLong: abort };
  const memory = new RememberingSink(sink, exchange, session, to, { ...rooms, ...told });
  const sent = await rooms.upstream.send({ ...exchange, signal }, session, to, memory);
  done();
  const attempt = await certain(rooms, story, session, to, sent);
  const kept = await memory.settled();
  await settled();
  if (kept.kind === 'too-long') {
    rooms.telemetry.record({ type: 'limited', limit: 'answers' });
    const lost = { kind: 'lost', cause: kept.cause, unanswered: idsOf(exchange) } as const;
    return afterLoss(rooms, story, session, to, lost);
  }
  // Its home has ended it: nothing of it must stay.
  if (kept.kind === 'unavailable' && isEnding(exchange)) {
    story.endedAtHome = true;
    // It may have got another home meanwhile.
    void rooms.unregister(session.id, (ended) => sayGoodbye(rooms, story, session, ended));
  }
  if (kept.kind !== 'stored') return notKept(story, kept);
  if (kept.change === 'ended') rooms.backendSessions.closed(backendSessionOf(session));
  sayGoodbye(rooms, story, session, kept.ended);
  if (kept.change !== undefined) rooms.telemetry.record({ type: 'session', change: kept.change });
  return settle(rooms, story, session, to, attempt);
}

/** Some servers keep the stream of a call open for ever: the session is quiet all the same once it has its answer. */
function withAnswered(sink: Sink, answered: () => void): Sink {
  return {
    heard: (headers) => sink.heard?.(headers),
    head: (status, headers, own) => sink.head(status, headers, own),
    event: (event) => sink.event(event),
    chunk: (bytes) => sink.chunk(bytes),
    drained: () => sink.drained(),
    end: () => sink.end(),
    cut: () => sink.cut(),
    answered,
    get shown() {
      return sink.shown;
    },
  };
}

async function plain(rooms: Rooms, story: Story, exchange: Exchange, to: Backend): Promise<Certain> {
  const { intent } = exchange;
  const asked = intent.kind === 'continue' ? { ...exchange, ownId: intent.id } : exchange;
  const sink = intent.kind === 'any' ? rooms.requestStates.hear(story.sink, to.id) : story.sink;
  return certain(rooms, story, undefined, to, await rooms.upstream.send(asked, undefined, to, sink));
}

function settle(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  to: Backend,
  attempt: Certain,
): Turn | Promise<Turn> {
  switch (attempt.kind) {
    case 'answered':
      if (session !== undefined && attempt.doubted !== true) {
        noteOwner(rooms, session, story.exchange, attempt.status);
        if (attempt.status < 300) rooms.confirmations.confirm(session);
      }
      return { outcome: 'answered', status: attempt.status };
    case 'abandoned':
      // Its connection is closed: a restart of the home would not be noticed.
      if (session !== undefined) rooms.confirmations.doubt(session);
      return { outcome: 'abandoned', status: 499 };
    case 'lost':
      // The home has begun to answer.
      if (session !== undefined && story.sink.shown === 'stream') noteOwner(rooms, session, story.exchange, 200);
      return afterLoss(rooms, story, session, to, attempt);
    case 'unsent':
    case 'marked':
      return untouched(rooms, story, to, attempt);
  }
}

async function afterLoss(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  to: Backend,
  lost: Extract<Attempt, { kind: 'lost' }>,
): Promise<Turn> {
  const { cause, unanswered, forgotten, questions = [] } = lost;
  // The body it was in the middle of has been cut.
  if (story.sink.shown === 'body') return { outcome: 'lost', status: 200 };
  // It is over, as its client wants it.
  if (forgotten === true && isEnding(story.exchange)) return untouched(rooms, story, to, GONE);
  if (session !== undefined && (await endedMeanwhile(rooms, story, session))) return endAsDirectly(story);
  if (isTimeout(cause)) {
    suspect(rooms, to, cause);
    return { ...refused(story, NO_ANSWER, unanswered), outcome: 'lost' };
  }
  story.losses += 1;
  cancel(story.sink, questions);
  if (forgotten === true) noteNewHomeLost(rooms, story, 'forgotten');
  const rest = unansweredPart(story.exchange, unanswered);
  const fate = forgotten === true ? 'gone' : 'lost';
  if (story.losses < MAX_LOSSES && mayReplay(messagesOf(rest), session?.safeTools ?? [], rooms.replay)) {
    rooms.telemetry.record({ type: 'replay', verdict: 'again' });
    story.exchange = rest;
    story.tried.set(to.id, fate);
    story.fresh = forgotten === true;
    return 'again';
  }
  rooms.telemetry.record({ type: 'replay', verdict: 'unknown' });
  if (forgotten === true) {
    // The session is healed all the same, for the next request.
    story.verdict = { refusal: OUTCOME_UNKNOWN, ids: unanswered };
    story.tried.set(to.id, fate);
    story.fresh = true;
    return 'again';
  }
  return { ...refused(story, OUTCOME_UNKNOWN, unanswered), outcome: 'lost' };
}

function notKept(story: Story, kept: Exclude<Kept, { kind: 'stored' | 'too-long' }>): Turn {
  if (kept.kind !== 'superseded') return refused(story, REGISTRY_DOWN);
  story.fresh = true;
  return 'again';
}
