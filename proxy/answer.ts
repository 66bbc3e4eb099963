/** One backend's answer on its way to the sink: streams by whole events, everything else as one body where it fits. */
import { CODE, HEADER } from './contract.ts';
import type { AffinityMark, Attempt, Exchange, JsonRpcId, RawHeaders, Session, Sink } from './contract.ts';
import { headerValue, responseHeaders, withoutHeaders } from './headers.ts';
import { idsOf, isRequest, isResponse, parseMessages } from './jsonrpc.ts';
import { eventIdToClient, toClient } from './rewrite.ts';
import { eventSplitter, formatEvent, readEvent, rewriteEvent } from './sse.ts';

/** Longer bodies are shown as they come. */
const WHOLE_BYTES = 1024 * 1024;
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
}

/** How an answer is to be read: what it belongs to, and where it goes. */
type Reading = { readonly exchange: Exchange; readonly session: Session | undefined; readonly sink: Sink };

export function readAnswer(reading: Reading, status: number, raw: RawHeaders): Answer {
  const { exchange, session, sink } = reading;
  const headers = responseHeaders(raw, session?.id);
  const mark = status === 421 ? headerValue(raw, HEADER.affinityMark) : undefined;
  if (mark === 'draining' || mark === 'misdirected') return markedAnswer(mark);
  const encoding = headerValue(raw, 'content-encoding')?.toLowerCase() ?? 'identity';
  // We asked for none: what comes encoded all the same is relayed unread.
  if (encoding !== 'identity') return bodyAnswer(reading, status, headers, 'at once');
  const type = headerValue(raw, 'content-type')?.toLowerCase() ?? '';
  const ok = status >= 200 && status < 300;
  if (!ok || type === '' || type.startsWith('application/json')) return bodyAnswer(reading, status, headers, 'whole');
  if (!type.startsWith('text/event-stream') || exchange.method === 'HEAD') {
    return bodyAnswer(reading, status, headers, 'at once');
  }
  // A stream may go on after this answer breaks, and gets comments: its length is not known.
  sink.head(
    status,
    withoutHeaders(headers, (name) => name === 'content-length'),
  );
  return streamAnswer(reading, status);
}

/** Nothing of it is for the client. */
function markedAnswer(mark: AffinityMark): Answer {
  const marked: Attempt = { kind: 'marked', mark };
  return { data: () => true, end: () => marked, broken: () => marked };
}

function streamAnswer({ exchange, session, sink }: Reading, status: number): Answer {
  const epoch = session?.epoch ?? 0;
  const pending = new Set(idsOf(exchange));
  const listening = exchange.method === 'GET';
  const splitter = eventSplitter(EVENT_BYTES);
  const questions: JsonRpcId[] = [];
  let resumable = false;

  function pass(raw: Buffer): boolean {
    const { id, data } = readEvent(raw);
    const cursor = id === undefined || id === '' ? {} : { id };
    if (cursor.id !== undefined) resumable = true;
    if (listening && epoch === 0 && !mayAsk(data)) return sink.event({ ...cursor, raw, messages: [] });
    const parsed = data === undefined || data === '' ? undefined : parseMessages(data);
    const messages = parsed?.kind === 'messages' ? parsed.messages : [];
    for (const message of messages) {
      if (isResponse(message) && message.id !== undefined && message.id !== null) pending.delete(message.id);
    }
    const shown = epoch === 0 ? messages : messages.map((message) => toClient(message, epoch));
    for (const message of shown) if (isRequest(message)) questions.push(message.id);
    if (epoch === 0) return sink.event({ ...cursor, raw, messages });
    const renamed = shown.some((message, at) => message !== messages[at]);
    const fields = {
      ...(cursor.id !== undefined && { id: eventIdToClient(cursor.id, epoch) }),
      ...(renamed && { data: JSON.stringify(parsed?.kind === 'messages' && parsed.batch ? shown : shown[0]) }),
    };
    const unchanged = !renamed && cursor.id === undefined;
    return sink.event({ ...cursor, raw: unchanged ? raw : rewriteEvent(raw, fields), messages: shown });
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
    end() {
      if (splitter.torn()) return cut(new Error('the stream ended in the middle of an event'));
      // A stream that can be resumed may end before its answer (2025-11-25, "Sending Messages to the Server", polling).
      if (pending.size === 0 || resumable) return finished();
      return lost(new Error('the stream ended before its answer'));
    },
    broken(cause) {
      if (splitter.torn()) return cut(cause);
      if (!listening && pending.size === 0) return finished();
      return lost(cause);
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
  const { exchange, session } = reading;
  const ends = exchange.intent.kind === 'continue' && exchange.intent.verb === 'end';
  // 404 speaks of the session (MCP 2025-11-25, "Session Management"), but for a method that does not exist.
  if (status === 404 && session !== undefined && !ends && !saysMethodNotFound(body)) return { kind: 'gone' };
  const show = (): Attempt => showWhole(reading, status, headers, body);
  const doubt = session === undefined || ends ? undefined : doubtOf(status, body);
  return doubt === undefined ? show() : { kind: 'doubtful', of: doubt, show };
}

function showWhole(reading: Reading, status: number, headers: RawHeaders, body: Buffer): Attempt {
  const { sink } = reading;
  if (sink.shown !== 'nothing') return continuedByBody(reading, status, body);
  sink.head(status, headers);
  if (body.length > 0) sink.chunk(body);
  sink.end();
  return { kind: 'answered', status };
}

/** What servers say, beside the 404 that they should, when they do not know a session. */
const UNKNOWN_SESSION =
  /no valid session|(invalid|missing|unknown|expired) (or missing )?(mcp[ -])?session|session(?: id)? (was |is |has )?(not found|invalid|expired|unknown|terminated|closed|not initialized)|server not initialized|no transport found for session/i;
/** Longer bodies are results, not complaints. */
const COMPLAINT_BYTES = 4096;

/**
 * A 400 was refused before anything ran. A 200 with an error may be a tool's, which relays another server's words.
 */
function doubtOf(status: number, body: Buffer): 'gone' | 'lost' | undefined {
  if ((status !== 400 && status !== 200) || body.length > COMPLAINT_BYTES) return undefined;
  const text = body.toString('utf8');
  if (!UNKNOWN_SESSION.test(text)) return undefined;
  if (status === 400) return 'gone';
  const parsed = parseMessages(text);
  return parsed.kind === 'messages' && parsed.messages.every((message) => 'error' in message) ? 'lost' : undefined;
}

function saysMethodNotFound(body: Buffer): boolean {
  const parsed = parseMessages(body.toString('utf8'));
  if (parsed.kind !== 'messages') return false;
  return parsed.messages.some((message) => 'error' in message && message.error.code === CODE.methodNotFound);
}

/** The client is reading a stream already: a JSON answer goes on it as events; anything else is no answer. */
function continuedByBody({ exchange, sink }: Reading, status: number, body: Buffer): Attempt {
  if (exchange.method === 'GET') return { kind: 'answered', status };
  const parsed = parseMessages(body.toString('utf8'));
  const answers = parsed.kind === 'messages' ? parsed.messages.filter(isResponse) : [];
  if (answers.length === 0) {
    return { kind: 'lost', cause: new Error(`the new answer has status ${status}`), unanswered: idsOf(exchange) };
  }
  for (const answer of answers) sink.event({ raw: formatEvent(answer), messages: [answer] });
  sink.end();
  return { kind: 'answered', status };
}
