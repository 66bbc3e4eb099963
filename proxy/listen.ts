/** A client's listening stream: it outlives its home's, attached again to whoever holds the session now. */
import { withCursor } from './address.ts';
import { cancel, certain, hasNewHome, say, untouched } from './aftermath.ts';
import type { Backend, Exchange, Session, Sink } from './contract.ts';
import { listsThatMayDiffer } from './journal.ts';
import { pause } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';
import { heldOpen } from './streams.ts';

/** A stream that lived this long has ended its story: the next break is a new one. Milliseconds. */
const STEADY_MS = 1000;

/** The client's stream outlives the home's: it is attached again, until it is the home's word that it has ended. */
export async function listen(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session,
  to: Backend,
): Promise<Turn> {
  const leaving = new AbortController();
  const detach = rooms.streams.attach(session, story.exchange, () => leaving.abort());
  const attached = story.listening === undefined ? () => {} : await rooms.streams.reattach();
  const { cursor } = story;
  const headers =
    cursor === undefined
      ? exchange.headers
      : withCursor(exchange.headers, cursor.epoch === session.epoch ? cursor.id : undefined);
  const signal = AbortSignal.any([exchange.signal, leaving.signal]);
  const start = rooms.now();
  const heard: Heard = { handedOver: false };
  const sink = listeningSink(rooms, story, session, heard, attached);
  const sent = await rooms.upstream.send({ ...exchange, headers, signal }, session, to, sink);
  const attempt = await certain(rooms, exchange, session, to, sent);
  attached();
  detach();
  if (story.sink.shown === 'stream' && rooms.now() - start > STEADY_MS) beginAnew(story);
  switch (attempt.kind) {
    case 'answered':
      return afterListening(rooms, story, session, attempt.status, heard);
    case 'abandoned':
      return exchange.signal.aborted ? { outcome: 'abandoned', status: 499 } : 'again';
    case 'lost':
      story.tried.set(to.id, 'lost');
      if (story.losses > 0) await pause(STEADY_MS * rooms.draw(), exchange.signal, rooms.backends);
      story.losses += 1;
      return 'again';
    case 'unsent':
    case 'gone':
    case 'marked':
      return untouched(rooms, story, to, attempt);
  }
}

type Heard = { handedOver: boolean };

function listeningSink(rooms: Rooms, story: Story, session: Session, heard: Heard, attached: () => void): Sink {
  return heldOpen(story.sink, {
    attached() {
      attached();
      const before = story.listening;
      rooms.telemetry.record({ type: 'stream', change: before === undefined ? 'opened' : 'reattached' });
      story.listening = session;
      if (before !== undefined && before.epoch !== session.epoch) tellOfNewHome(rooms, story.sink, before, session);
    },
    mark(id) {
      story.cursor = { epoch: session.epoch, id };
    },
    asked: (id) => rooms.quiet.asked(session, id),
    handedOver() {
      heard.handedOver = true;
    },
  });
}

/** What the client cannot know: questions that died with the old home, and lists that the new one may have another of. */
function tellOfNewHome({ quiet }: Rooms, sink: Sink, before: Session, now: Session): void {
  cancel(sink, quiet.takeDead(now));
  for (const method of listsThatMayDiffer(before, now)) say(sink, { jsonrpc: '2.0', method });
}

function beginAnew(story: Story): void {
  story.tried.clear();
  story.turns = 0;
  story.losses = 0;
  story.heldSince = undefined;
}

async function afterListening(
  rooms: Rooms,
  story: Story,
  session: Session,
  status: number,
  { handedOver }: Heard,
): Promise<Turn> {
  const { sink } = story;
  const streaming = sink.shown === 'stream';
  // The home has not seen yet that the stream before this one is closed (an SDK server answers 409 then), or is busy.
  if (streaming && (status === 409 || status === 429 || status >= 500)) {
    await pause(STEADY_MS * rooms.draw(), story.exchange.signal, rooms.backends);
    return 'again';
  }
  if (streaming && status < 300 && (handedOver || (await hasNewHome(rooms, session)))) {
    story.fresh = true;
    return 'again';
  }
  sink.end();
  return { outcome: 'answered', status: streaming ? 200 : status };
}
