/** One backend's answer on its way to the sink: streams by whole events, everything else as one body where it fits. */
import { CODE, HEADER } from './contract.ts';
import type { Attempt, Exchange, JsonRpcId, JsonRpcMessage, RawHeaders, Session, Sink, SseEvent } from './contract.ts';
import { headerValue, responseHeaders, withoutHeaders } from './headers.ts';
import { findMessages } from './json-text.ts';
import { Looped, saysLoop } from './loops.ts';
import { idsOf, isRequest, isResponse, parseMessages, takeAnswers } from './jsonrpc.ts';
import { toClient } from './rewrite.ts';
import { doubtOf, doubtOfMessages } from './session-doubt.ts';
import type { Doubt } from './session-doubt.ts';
import { eventOf, eventSplitter, readEvent } from './sse.ts';

/** Longer bodies are shown as they come. */
const WHOLE_BYTES = 1024 * 1024;
/** An event id that can be sent back: a header field takes nothing else (RFC 9110, section 5.5). */
const CURSOR = /^[\t\x20-\x7E\x80-\xFF]+$/;
/** Events up to this are read; a larger one is passed on in pieces. */
const EVENT_BYTES = 8 * 1024 * 1024;

/** A body being read, a body being passed through, or a stream of events. */
export interface Answer {
  /** False: wait for the sink's `drained()`. */
  data(chunk: Buffer): boolean;
  /** The backend has ended its answer. */
  end(): Attempt;
  /** The connection broke. */
  broken(cause: Error): Attempt;
  /** How the attempt has ended before the backend's answer has: what follows is of no use. */
  over?(): Attempt | undefined;
}

/** How an answer is to be read: what it belongs to, and where it goes. */
type Reading = { readonly exchange: Exchange; readonly session: Session | undefined; readonly sink: Sink };

export function readAnswer(reading: Reading, status: number, raw: RawHeaders): Answer {
  const { exchange, session, sink } = reading;
  const headers = responseHeaders(raw, session?.id);
  const mark = status === 421 ? headerValue(raw, HEADER.affinityMark) : undefined;
  if (mark === 'draining' || mark === 'misdirected') return unreadAnswer({ kind: 'marked', mark });
  if (saysLoop(status, raw)) return unreadAnswer({ kind: 'unsent', cause: new Looped(), blame: 'backend' });
  if (status >= 300) return bodyAnswer(reading, status, headers, 'whole');
  const encoding = headerValue(raw, 'content-encoding')?.toLowerCase() ?? 'identity';
  // We asked for none: what comes encoded all the same is relayed unread.
  if (encoding !== 'identity') return bodyAnswer(reading, status, headers, 'at once');
  const type = headerValue(raw, 'content-type')?.toLowerCase() ?? '';
  if (!type.startsWith('text/event-stream') || exchange.method === 'HEAD') {
    const text = type === '' || type.startsWith('application/json') || type.startsWith('text/');
    return bodyAnswer(reading, status, headers, text ? 'whole' : 'at once');
  }
  // A stream may go on after this answer breaks, and gets comments: its length is not known.
  sink.head(
    status,
    withoutHeaders(headers, (name) => name === 'content-length'),
  );
  return streamAnswer(reading, status);
}

/** Nothing of it is for the client. */
function unreadAnswer(attempt: Attempt): Answer {
  return { data: () => true, end: () => attempt, broken: () => attempt };
}

type Raised = Doubt | 'declined';

function raisedBy({ messages, raw }: SseEvent, { exchange, session }: Reading): Raised | undefined {
  if (exchange.intent.kind === 'open') return messages.some(isServerTrouble) ? 'declined' : undefined;
  return session === undefined ? undefined : doubtOfMessages(messages, raw);
}

function answeredBy({ messages }: SseEvent): readonly JsonRpcId[] {
  return messages.flatMap((message) => (isResponse(message) ? (message.id ?? []) : []));
}

function streamAnswer(reading: Reading, status: number): Answer {
  const { exchange, session, sink } = reading;
  const epoch = session?.epoch ?? 0;
  const pending = new Set(idsOf(exchange));
  const take = takeAnswers(pending);
  const listening = exchange.method === 'GET';
  const splitter = eventSplitter(EVENT_BYTES);
  const questions: JsonRpcId[] = [];
  let resumable = false;
  /** An event that may not be the client's answer, and what came after it in the same moment. */
  let held:
    | { readonly raised: Raised; readonly events: SseEvent[]; readonly unanswered: readonly JsonRpcId[] }
    | undefined;

  function deliver(event: SseEvent): boolean {
    const raised = listening || held !== undefined ? undefined : raisedBy(event, reading);
    if (raised !== undefined) held = { raised, events: [], unanswered: answeredBy(event) };
    // Its request waits for an answer still, so what follows may be that.
    else if (held !== undefined && pending.size > 0) release();
    if (held === undefined) return sink.event(event);
    held.events.push(event);
    return true;
  }
  function release(): void {
    const { events } = held ?? { events: [] };
    held = undefined;
    for (const event of events) sink.event(event);
  }
  function unlessHeld(then: () => Attempt): Attempt {
    if (held === undefined) return then();
    const show = (): Attempt => {
      release();
      return then();
    };
    const { raised } = held;
    return raised === 'declined'
      ? { kind: 'declined', status, show }
      : { kind: 'doubtful', doubt: raised, status, show, unanswered: [...held.unanswered, ...pending] };
  }

  function pass(raw: Buffer): boolean {
    const { id, data } = readEvent(raw);
    const cursor = id !== undefined && CURSOR.test(id) ? { id } : {};
    if (cursor.id !== undefined) resumable = true;
    if (listening && epoch === 0 && !mayAsk(data)) return sink.event({ ...cursor, raw, messages: [] });
    const parsed = data === undefined || data === '' ? undefined : parseMessages(data);
    const messages = parsed?.kind === 'messages' ? parsed.messages : [];
    for (const message of messages) {
      if (isResponse(message)) take(message);
    }
    const shown = toClient({ ...cursor, raw, messages }, epoch);
    for (const message of shown.messages) if (isRequest(message)) questions.push(message.id);
    return deliver(shown);
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
    over: () => (held !== undefined && pending.size === 0 ? unlessHeld(finished) : undefined),
    end() {
      if (splitter.torn()) return cut(new Error('the stream ended in the middle of an event'));
      // A stream that can be resumed may end before its answer (2025-11-25, "Sending Messages to the Server", polling).
      if (pending.size === 0 || resumable) return unlessHeld(finished);
      return unlessHeld(() => lost(new Error('the stream ended before its answer')));
    },
    broken(cause) {
      if (splitter.torn()) return cut(cause);
      if (!listening && pending.size === 0) return unlessHeld(finished);
      return unlessHeld(() => lost(cause));
    },
  };
}

/** Whether an event of a listening stream may hold a request of the server: others there need not be read. */
function mayAsk(data: string | undefined): boolean {
  return data !== undefined && data.includes('"id"') && data.includes('"method"');
}

/** `whole`: shown when it is all there, if it fits, so that an answer cut in its middle can still be replaced. */
function bodyAnswer(reading: Reading, status: number, headers: RawHeaders, showing: 'whole' | 'at once'): Answer {
  const { exchange, sink } = reading;
  let chunks: Buffer[] = [];
  let bytes = 0;
  let passing = showing === 'at once' && sink.shown === 'nothing';
  if (passing) sink.head(status, headers);

  return {
    data(chunk) {
      if (passing) return sink.chunk(chunk);
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= WHOLE_BYTES || sink.shown !== 'nothing') return true;
      passing = true;
      sink.head(status, headers);
      const held = Buffer.concat(chunks);
      chunks = [];
      return sink.chunk(held);
    },
    end() {
      if (!passing) return wholeBody(reading, status, headers, Buffer.concat(chunks));
      sink.end();
      return { kind: 'answered', status };
    },
    broken(cause) {
      if (passing) sink.cut();
      return { kind: 'lost', cause, unanswered: idsOf(exchange) };
    },
  };
}

function wholeBody(reading: Reading, status: number, headers: RawHeaders, body: Buffer): Attempt {
  const show = (): Attempt => showWhole(reading, status, headers, body);
  const { exchange, session } = reading;
  if (exchange.intent.kind === 'open') return isDeclined(status, body) ? { kind: 'declined', status, show } : show();
  const doubt = session === undefined ? undefined : doubtOf({ status, body });
  return doubt === undefined ? show() : { kind: 'doubtful', doubt, status, show, unanswered: idsOf(exchange) };
}

/** Trouble of the server's own, which another may not have: JSON-RPC 2.0 keeps -32603 and -32000 to -32099 for it. */
function isDeclined(status: number, body: Buffer): boolean {
  if (status === 429 || status >= 500) return true;
  if (status >= 300) return false;
  const parsed = parseMessages(body.toString('utf8'));
  return parsed.kind === 'messages' && parsed.messages.some(isServerTrouble);
}

function isServerTrouble(message: JsonRpcMessage): boolean {
  if (!('error' in message)) return false;
  const { code } = message.error;
  return code === CODE.internal || (code <= -32_000 && code >= -32_099);
}

function showWhole(reading: Reading, status: number, headers: RawHeaders, body: Buffer): Attempt {
  const { sink } = reading;
  if (sink.shown !== 'nothing') return continuedByBody(reading, status, body);
  sink.head(status, headers);
  if (body.length > 0) sink.chunk(body);
  sink.end();
  return { kind: 'answered', status };
}

/** The client is reading a stream already: a JSON answer goes on it as events; anything else is no answer. */
function continuedByBody({ exchange, sink }: Reading, status: number, body: Buffer): Attempt {
  if (exchange.method === 'GET') return { kind: 'answered', status };
  const parsed = parseMessages(body.toString('utf8'));
  const messages = parsed.kind === 'messages' ? parsed.messages : [];
  if (!messages.some(isResponse)) {
    return { kind: 'lost', cause: new Error(`the new answer has status ${status}`), unanswered: idsOf(exchange) };
  }
  for (const [index, { from, to }] of findMessages(body.toString('latin1')).entries()) {
    const answer = messages[index];
    if (answer === undefined || !isResponse(answer)) continue;
    sink.event({ raw: eventOf(body.subarray(from, to)), messages: [answer] });
  }
  sink.end();
  return { kind: 'answered', status };
}
