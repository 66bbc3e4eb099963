/** A client's listening stream: it outlives its home's, attached again to whoever holds the session now. */
import { withCursor } from './address.ts';
import { GONE, cancel, certain, hasNewHome, say, untouched } from './aftermath.ts';
import type { Certain } from './aftermath.ts';
import type { Attachment, SendListening } from './attachment.ts';
import { ClientStream } from './client-stream.ts';
import { limited } from './client-limits.ts';
import type { Attempt, Backend, Exchange, Session, Sink } from './contract.ts';
import { listsThatMayDiffer } from './journal.ts';
import { noteOwner } from './owners.ts';
import { pause } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';
import { heldOpen } from './streams.ts';

/** A stream that lived this long has ended its story: the next break is a new one. Milliseconds. */
const STEADY_MS = 1000;
/** What a home asks within this time of the stream's beginning it asks first. Milliseconds. */
const FIRST_MS = 1000;
/** Between two tries of a stream that its home will not take yet, at most. Milliseconds. */
const LONGEST_PAUSE_MS = 30_000;

/** The client's stream outlives the home's: it is attached again, until it is the home's word that it has ended. */
export async function listen(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session,
  to: Backend,
): Promise<Turn> {
  if (story.stream === undefined && rooms.streams.count(session.id) >= rooms.maxStreamsPerSession) {
    return limited(rooms, story, 'streams');
  }
  const stream = (story.stream ??= openStream(rooms, story, session));
  // It may have been attached there already, while the session got its home, or to a later one.
  const attachment = stream.attachedTo(session) ?? (await attach(rooms, story, stream, exchange, session, to));
  return afterAttachment(rooms, story, stream, attachment);
}

async function afterAttachment(
  rooms: Rooms,
  story: Story,
  stream: ClientStream,
  attachment: Attachment,
): Promise<Turn> {
  const { session, to } = attachment;
  const { signal } = story.exchange;
  void attachment.begun.then((status) => status > 0 && status < 300 && mended(story));
  const start = rooms.now();
  const sent = await attachment.ended;
  stream.detach(attachment);
  if (isBreak(sent)) rooms.confirmations.doubt(session);
  const attempt = await doubtless(rooms, story, session, to, sent);
  if (story.sink.shown === 'stream' && rooms.now() - start > STEADY_MS) beginAnew(story);
  switch (attempt.kind) {
    case 'answered':
      return afterListening(rooms, story, session, attempt.status);
    case 'abandoned':
      if (signal.aborted) return { outcome: 'abandoned', status: 499 };
      // The session has another home: no failure, however often.
      beginAnew(story);
      return 'again';
    case 'lost':
      if (attempt.forgotten === true) return untouched(rooms, story, to, GONE);
      story.tried.set(to.id, 'lost');
      if (story.losses > 0) await pause(STEADY_MS * rooms.draw(), signal, rooms.backends);
      story.losses += 1;
      return 'again';
    case 'unsent':
    case 'marked':
      return untouched(rooms, story, to, attempt);
  }
}

/** The home may have been restarted: not where the client has left, or there was no stream. */
function isBreak(sent: Attempt): boolean {
  return sent.kind === 'lost' || (sent.kind === 'answered' && sent.status < 300);
}

/**
 * A server without listening streams says 404 as well as 405, to every client at each of its tries: what it means is
 * asked once.
 */
async function doubtless(rooms: Rooms, story: Story, session: Session, to: Backend, sent: Attempt): Promise<Certain> {
  if (sent.kind !== 'doubtful') return certain(rooms, story, session, to, sent);
  const asked = rooms.streamless.has(session.backendSessionId);
  const attempt = await certain(rooms, story, asked ? undefined : session, to, sent);
  if (attempt.kind === 'answered' && attempt.status === 404) rooms.streamless.add(session.backendSessionId);
  return attempt;
}

function openStream(rooms: Rooms, story: Story, session: Session): ClientStream {
  const { exchange, sink } = story;
  const stream = new ClientStream(session, {
    exchange,
    client: sink,
    listenAt: (housed, to) =>
      sending(rooms, { ...exchange, headers: withCursor(exchange.headers, undefined) }, housed, to),
    sinkFor: (now) => listeningSink(rooms, story, now),
  });
  const remove = rooms.streams.add(stream);
  story.closeStream = () => {
    remove();
    stream.close();
  };
  return stream;
}

function sending({ upstream }: Rooms, exchange: Exchange, session: Session, to: Backend): SendListening {
  return (sink, leaving) => {
    const signal = AbortSignal.any([exchange.signal, leaving]);
    return upstream.send({ ...exchange, signal }, session, to, sink);
  };
}

async function attach(
  rooms: Rooms,
  story: Story,
  stream: ClientStream,
  exchange: Exchange,
  session: Session,
  to: Backend,
): Promise<Attachment> {
  const { cursor } = story;
  const attached = story.listening === undefined ? () => {} : await rooms.streams.reattach();
  // The session may have moved while it waited.
  const there = stream.attachedTo(session);
  if (there !== undefined) {
    attached();
    return there;
  }
  const headers =
    cursor === undefined
      ? exchange.headers
      : withCursor(exchange.headers, cursor.epoch === session.epoch ? cursor.id : undefined);
  const attachment = stream.attach(session, to, sending(rooms, { ...exchange, headers }, session, to));
  void attachment.begun.then(attached);
  return attachment;
}

function listeningSink(rooms: Rooms, story: Story, session: Session): Sink {
  story.handedOver = false;
  let since = -Infinity;
  return heldOpen(story.sink, {
    attached() {
      since = rooms.now();
      noteOwner(rooms, session, story.exchange, 200);
      const before = story.listening;
      rooms.telemetry.record({ type: 'stream', change: before === undefined ? 'opened' : 'reattached' });
      story.listening = session;
      if (before !== undefined && before.epoch !== session.epoch) tellOfNewHome(rooms, story.sink, before, session);
    },
    mark(id) {
      story.cursor = { epoch: session.epoch, id };
    },
    asked(request) {
      if (rooms.now() - since < FIRST_MS) rooms.firstQuestions.hear(session, request);
      rooms.questions.asked(session, request);
    },
    withdrew(question) {
      rooms.questions.answered(session.id, question);
    },
    handedOver() {
      story.handedOver = true;
    },
  });
}

/** What the client cannot know: questions that died with the old home, and lists that the new one may have another of. */
function tellOfNewHome({ questions }: Rooms, sink: Sink, before: Session, now: Session): void {
  cancel(sink, questions.takeDead(now));
  for (const method of listsThatMayDiffer(before, now)) say(sink, { jsonrpc: '2.0', method });
}

/** The next loss is another one: the session itself limits how many there may be. */
function mended(story: Story): void {
  story.migrations = 0;
  story.failedMigrations = 0;
  story.diedInHandshake = 0;
  story.newHomesLost = 0;
  story.streamRefusals = 0;
}

function beginAnew(story: Story): void {
  story.tried.clear();
  story.turns = 0;
  story.losses = 0;
  story.heldSince = undefined;
}

/**
 * The home has not seen yet that the stream before this one is closed (TypeScript and Go servers answer 409 then, C# and
 * mcp-go 400, some for minutes), or is busy.
 */
function isForNow(status: number): boolean {
  return status === 400 || status === 409 || status === 429 || status >= 500;
}

async function afterListening(rooms: Rooms, story: Story, session: Session, status: number): Promise<Turn> {
  noteOwner(rooms, session, story.exchange, status);
  const { sink, handedOver } = story;
  const streaming = sink.shown === 'stream';
  if (streaming && isForNow(status)) {
    const most = Math.min(LONGEST_PAUSE_MS, STEADY_MS * 2 ** story.streamRefusals);
    story.streamRefusals += 1;
    await pause(most * (0.5 + rooms.draw() / 2), story.exchange.signal, rooms.backends);
    return 'again';
  }
  if (streaming && status < 300 && (handedOver || (await hasNewHome(rooms, session)))) {
    story.fresh = true;
    return 'again';
  }
  sink.end();
  return { outcome: 'answered', status: streaming ? 200 : status };
}
