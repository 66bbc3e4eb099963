/** One backend's answer on its way to the sink: streams by whole events, everything else as one body where it fits. */
import { HEADER } from './contract.ts';
import type { Attempt, RawHeaders } from './contract.ts';
import { headerValue, responseHeaders, withoutHeaders } from './headers.ts';
import { findMessages } from './json-text.ts';
import { Looped, saysLoop } from './loops.ts';
import { idsOf, isResponse, isServerTrouble, parseMessages } from './jsonrpc.ts';
import type { Answer, Reading } from './reading.ts';
import { doubtOf } from './session-doubt.ts';
import { eventOf } from './sse.ts';
import { streamAnswer } from './stream-answer.ts';

/** Longer bodies are shown as they come; on an open stream they cannot be shown. */
const WHOLE_BYTES = 1024 * 1024;

export function readAnswer(reading: Reading, status: number, raw: RawHeaders): Answer {
  const { exchange, session, sink } = reading;
  const headers = responseHeaders(raw, session?.id);
  sink.heard?.(headers);
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

/** `whole`: shown when it is all there, if it fits, so that an answer cut in its middle can still be replaced. */
function bodyAnswer(reading: Reading, status: number, headers: RawHeaders, showing: 'whole' | 'at once'): Answer {
  const { exchange, sink } = reading;
  let chunks: Buffer[] = [];
  let bytes = 0;
  let passing = showing === 'at once' && sink.shown === 'nothing';
  let tooLong: Error | undefined;
  if (passing) sink.head(status, headers);

  return {
    data(chunk) {
      if (passing) return sink.chunk(chunk);
      if (tooLong !== undefined) return true;
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= WHOLE_BYTES) return true;
      if (sink.shown !== 'nothing') {
        chunks = [];
        tooLong = new Error('the answer is too long to go on an open stream');
        return true;
      }
      passing = true;
      sink.head(status, headers);
      const held = Buffer.concat(chunks);
      chunks = [];
      return sink.chunk(held);
    },
    over: () => tooLong && { kind: 'lost', cause: tooLong, unanswered: idsOf(exchange) },
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
