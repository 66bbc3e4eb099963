/** One attempt of the corridor, and what follows from how it ended. */
import { unansweredPart } from './address.ts';
import { cancel, certain, hasNewHome, sayGoodbye, untouched } from './aftermath.ts';
import type { Certain } from './aftermath.ts';
import type { Attempt, Backend, Exchange, Session } from './contract.ts';
import { isResponse } from './jsonrpc.ts';
import type { Kept } from './keeper.ts';
import { listen } from './listen.ts';
import type { Quiet } from './quiet.ts';
import { ID_TAKEN, NO_ANSWER, NO_BACKEND, OUTCOME_UNKNOWN, REGISTRY_DOWN } from './refusal.ts';
import { RememberingSink, mayChange } from './remember.ts';
import { mayReplay } from './replay-safety.ts';
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
  const leave = session && (await begin(rooms, session));
  if (leave === 'moving') return moving(rooms, story);
  count(rooms.running, to, 1);
  try {
    return await exchangeWith(rooms, story, exchange, session, to);
  } finally {
    count(rooms.running, to, -1);
    story.giveBack();
    leave?.();
    if (session !== undefined) hearAnswers(rooms, session, story.exchange);
  }
}

/** Between our reading of a watched session and our entering it, another proxy may have given it a new home. */
async function begin(rooms: Rooms, session: Session): Promise<ReturnType<Quiet['enter']>> {
  const entered = rooms.quiet.enter(session);
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

function hearAnswers({ quiet }: Rooms, session: Session, { intent }: Exchange): void {
  if (intent.kind !== 'continue') return;
  for (const message of intent.messages) {
    if (isResponse(message) && message.id !== undefined && message.id !== null) quiet.answered(session.id, message.id);
  }
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
  const memory = new RememberingSink(story.sink, exchange, session, to, { ...rooms, stored: story.giveBack });
  const sent = await rooms.upstream.send(exchange, session, to, memory);
  const attempt = await certain(rooms, exchange, session, to, sent);
  const kept = await memory.settled();
  if (kept.kind !== 'stored') return notKept(rooms, story, to, kept);
  sayGoodbye(rooms, story, session, kept.ended);
  if (kept.change !== undefined) rooms.telemetry.record({ type: 'session', change: kept.change });
  return settle(rooms, story, session, to, attempt);
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
    case 'marked':
      return untouched(rooms, story, to, attempt);
  }
}

function afterLoss(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  to: Backend,
  { cause, unanswered, forgotten, questions = [] }: Extract<Attempt, { kind: 'lost' }>,
): Turn {
  // The body it was in the middle of has been cut.
  if (story.sink.shown === 'body') return { outcome: 'lost', status: 200 };
  if ('code' in cause && cause.code === 'UND_ERR_HEADERS_TIMEOUT') return refused(story, NO_ANSWER, unanswered);
  story.losses += 1;
  cancel(story.sink, questions);
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
