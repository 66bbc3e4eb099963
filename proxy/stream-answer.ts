/** A backend's event stream on its way to the sink, by whole events. */
import type { Attempt, JsonRpcId } from './contract.ts';
import { newHeldEvents } from './held-events.ts';
import { idsOf, isRequest, isResponse, parseMessages, takeAnswers } from './jsonrpc.ts';
import type { Answer, Reading } from './reading.ts';
import { toClient } from './rewrite.ts';
import { eventSplitter, readEvent, withoutMark } from './sse.ts';

/** An event id that can be sent back: a header field takes nothing else (RFC 9110, section 5.5). */
const CURSOR = /^[\t\x20-\x7E\x80-\xFF]+$/;
/** Events up to this are read; a larger one is passed on in pieces. */
const EVENT_BYTES = 8 * 1024 * 1024;
/** Of the answer to an `initialize`, which is held back, and short. */
const OPENING_BYTES = 1024 * 1024;

/** The last of a stream, which its client is told to cancel when the server is lost. */
const MOST_QUESTIONS = 1_000;

export function streamAnswer(reading: Reading, status: number): Answer {
  const { exchange, session, sink } = reading;
  const epoch = session?.epoch ?? 0;
  const pending = new Set(idsOf(exchange));
  const take = takeAnswers(pending);
  const listening = exchange.method === 'GET';
  const splitter = withoutMark(eventSplitter(exchange.intent.kind === 'open' ? OPENING_BYTES : EVENT_BYTES));
  const questions: JsonRpcId[] = [];
  let resumable = false;
  const doubtful = newHeldEvents(reading, status);

  function pass(raw: Buffer): boolean {
    const { id, data } = readEvent(raw);
    const cursor = id !== undefined && CURSOR.test(id) ? { id } : {};
    if (cursor.id !== undefined) resumable = true;
    if (listening && epoch === 0 && !mayAsk(data)) return sink.event({ ...cursor, raw, messages: [] });
    const parsed = data === undefined || data === '' ? undefined : parseMessages(data);
    const messages = parsed?.kind === 'messages' ? parsed.messages : [];
    const answers = messages.filter(isResponse);
    // What holds requests or notifications alone raises no doubt.
    const waited = answers.length === 0 && messages.length > 0 ? [] : [...pending];
    for (const answer of answers) take(answer);
    const shown = toClient({ ...cursor, raw, messages }, epoch);
    for (const message of shown.messages) if (isRequest(message)) questions.push(message.id);
    if (questions.length > MOST_QUESTIONS) questions.splice(0, questions.length - MOST_QUESTIONS);
    if (listening) return sink.event(shown);
    const more = doubtful.event(shown, waited, pending.size === 0);
    if (answers.length > 0 && pending.size === 0 && !doubtful.any) sink.answered?.();
    return more;
  }

  function finished(): Attempt {
    sink.end();
    return { kind: 'answered', status };
  }
  const lost = (cause: Error): Attempt => ({ kind: 'lost', cause, unanswered: [...pending], questions });

  /** Nothing can follow half an event. */
  function cut(cause: Error): Attempt {
    sink.cut();
    return { kind: 'lost', cause, unanswered: idsOf(exchange) };
  }

  return {
    data(chunk) {
      let more = true;
      for (const split of splitter.feed(chunk)) {
        // What is over the bound cannot be read: it is taken for the answer.
        if (split.kind === 'piece') pending.clear();
        more = split.kind === 'piece' ? sink.event({ raw: split.raw, messages: [] }) : pass(split.raw);
      }
      return more;
    },
    waits: () => pending.size > 0,
    over: () => (doubtful.any && pending.size === 0 ? doubtful.orShow(finished) : undefined),
    end() {
      if (splitter.torn()) return cut(new Error('the stream ended in the middle of an event'));
      // A stream that can be resumed may end before its answer (2025-11-25, "Sending Messages to the Server", polling).
      if (pending.size === 0 || resumable) return doubtful.orShow(finished);
      return doubtful.orShow(() => lost(new Error('the stream ended before its answer')));
    },
    broken(cause) {
      if (splitter.torn()) return cut(cause);
      if (!listening && pending.size === 0) return doubtful.orShow(finished);
      return doubtful.orShow(() => lost(cause));
    },
  };
}

/** Whether an event of a listening stream may ask the client, or withdraw a question: others there need not be read. */
function mayAsk(data: string | undefined): boolean {
  return data !== undefined && data.includes('"method"') && (data.includes('"id"') || data.includes('"requestId"'));
}
