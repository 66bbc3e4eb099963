/** Requests of the proxy's own on a session's behalf: how they are made of an exchange, and their whole answers. */
import { HEADER } from './contract.ts';
import type {
  Attempt,
  Backend,
  Exchange,
  JsonObject,
  JsonRpcMessage,
  RawHeaders,
  Session,
  Sink,
  SseEvent,
  Upstream,
} from './contract.ts';
import { withoutHeaders } from './headers.ts';
import { idsOf, isResponse, parseMessages, takeAnswers } from './jsonrpc.ts';
import { issuedId } from './session-id.ts';
import type { Issued } from './session-id.ts';

/** A backend's whole answer. */
export type Said = {
  readonly status: number;
  readonly headers: RawHeaders;
  /** Of a stream, its events. */
  readonly body: Buffer;
  readonly messages: readonly JsonRpcMessage[];
  /** Known from the head on, even where the answer was broken off after it. */
  readonly issued: Issued;
  readonly result: JsonObject | undefined;
};

/** How the attempt ended, and what came until then. */
export type Asked = { readonly attempt: Ended; readonly said: Said };
type Ended = Exclude<Attempt, { kind: 'doubtful' | 'declined' }>;

/** A backend that takes longer is as good as dead: the client's exchange waits meanwhile. Milliseconds. */
export const ANSWER_MS = 10_000;
/** A longer answer is broken off: those to our own requests are short. Bytes; each part counts for some more. */
const ANSWER_BYTES = 1024 * 1024;
const PART_BYTES = 256;

/** Of the exchange that caused it, and wrong for ours. Credentials, forwarding fields and `Host` stay. */
const NOT_OURS = new Set<string>([
  HEADER.session,
  HEADER.lastEventId,
  HEADER.protocolVersion,
  'accept',
  'content-type',
  'content-length',
  'content-encoding',
  'mcp-method',
  'mcp-name',
]);

/** What is kept of an exchange where a request may be made on its behalf later. Not its body, which may be large. */
export function credentialsOf({ target, headers }: Exchange): Exchange {
  const intent: Exchange['intent'] = { kind: 'any', messages: [] };
  const kept = withoutHeaders(headers, (name) => NOT_OURS.has(name));
  return { method: '', target, headers: kept, body: undefined, intent, signal: NEVER };
}
const NEVER = new AbortController().signal;

export function ownPost(
  exchange: Exchange,
  intent: Exchange['intent'],
  message: JsonRpcMessage,
  extra: RawHeaders,
): Exchange {
  const { headers, ...kept } = credentialsOf(exchange);
  const accepted = ['content-type', 'application/json', 'accept', 'application/json, text/event-stream'];
  const body = Buffer.from(JSON.stringify(message));
  return { ...kept, method: 'POST', headers: [...headers, ...accepted, ...extra], body, intent };
}

export function ownDelete(exchange: Exchange, id: string): Exchange {
  const { headers, ...kept } = credentialsOf(exchange);
  const intent: Exchange['intent'] = { kind: 'continue', id, verb: 'end', messages: [] };
  return { ...kept, method: 'DELETE', headers: [...headers, 'accept', 'application/json'], intent };
}

/** The first revision whose requests name it (MCP 2025-06-18, "Protocol Version Header"). */
const FIRST_NAMED_REVISION = '2025-06-18';

/** The field that names the session's revision. */
export function versionOf({ protocolVersion }: Session): RawHeaders {
  return protocolVersion >= FIRST_NAMED_REVISION ? [HEADER.protocolVersion, protocolVersion] : [];
}

/** Milliseconds that a stream may go on after it has answered: some servers never end it. */
const ENDING_MS = 200;

/** Sends it, and reads the whole answer. Whatever takes longer than `ms` is broken off. Never throws. */
export async function ask(
  upstream: Upstream,
  exchange: Exchange,
  session: Session | undefined,
  to: Backend,
  ms = ANSWER_MS,
): Promise<Asked> {
  const enough = new AbortController();
  const waited = new Set(idsOf(exchange));
  const take = takeAnswers(waited);
  let ending: NodeJS.Timeout | undefined;
  const onEvent = (messages: readonly JsonRpcMessage[]): void => {
    for (const message of messages.filter(isResponse)) take(message);
    if (waited.size === 0) ending ??= setTimeout(() => enough.abort(), ENDING_MS).unref();
  };
  const { sink, said } = keepingSink(() => enough.abort(), onEvent);
  const signal = AbortSignal.any([AbortSignal.timeout(ms), enough.signal]);
  const sent = await upstream.send({ ...exchange, signal }, session, to, sink);
  clearTimeout(ending);
  const answered = sent.kind === 'abandoned' && ending !== undefined;
  const attempt: Attempt = answered ? { kind: 'answered', status: said().status } : sent;
  const shown = attempt.kind === 'doubtful' || attempt.kind === 'declined' ? attempt.show() : attempt;
  // What was shown once raises no further doubt.
  const ended: Ended = shown.kind === 'doubtful' || shown.kind === 'declined' ? BROKEN_OFF : shown;
  return { attempt: ended, said: said() };
}
const BROKEN_OFF: Ended = { kind: 'abandoned' };

/** A sink that keeps what it gets, up to a bound. */
function keepingSink(
  tooMuch: () => void,
  onEvent: (messages: readonly JsonRpcMessage[]) => void,
): { readonly sink: Sink; readonly said: () => Said } {
  let status = 0;
  let headers: RawHeaders = [];
  let heard: RawHeaders = [];
  let bytes = 0;
  const chunks: Buffer[] = [];
  const messages: JsonRpcMessage[] = [];
  function count(raw: Buffer): boolean {
    bytes += PART_BYTES + raw.length;
    if (bytes > ANSWER_BYTES) tooMuch();
    return bytes <= ANSWER_BYTES;
  }
  const sink: Sink = {
    shown: 'nothing',
    heard(fields) {
      heard = fields;
    },
    head(code, fields) {
      status = code;
      headers = fields;
      heard = fields;
    },
    event(event: SseEvent) {
      if (!count(event.raw)) return true;
      chunks.push(event.raw);
      messages.push(...event.messages);
      onEvent(event.messages);
      return true;
    },
    chunk(raw) {
      if (count(raw)) chunks.push(raw);
      return true;
    },
    drained: () => Promise.resolve(),
    end() {},
    cut() {},
  };
  return { sink, said: () => readSaid(status, headers, heard, Buffer.concat(chunks), messages) };
}

function readSaid(
  status: number,
  headers: RawHeaders,
  heard: RawHeaders,
  body: Buffer,
  events: readonly JsonRpcMessage[],
): Said {
  const parsed = parseMessages(body.toString('utf8'));
  const messages = parsed.kind === 'messages' ? parsed.messages : events;
  const answer = messages.find((message) => 'result' in message);
  return {
    status,
    headers,
    body,
    messages,
    issued: issuedId(heard),
    result: answer !== undefined && 'result' in answer ? answer.result : undefined,
  };
}
