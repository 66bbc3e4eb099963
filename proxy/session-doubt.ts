/** Whether an answer may mean that a backend does not know the session, and what its answer to a ping proves. Pure. */
import { CODE } from './contract.ts';
import type { JsonRpcMessage } from './contract.ts';
import { isResponse, parseMessages } from './jsonrpc.ts';

/**
 * - `strong`: it says so, by a status or in words that servers use; always worth a ping
 * - `weak`: it is an error that could hide it; worth a ping where the home has not shown lately that it knows the session
 */
export type Doubt = 'strong' | 'weak';

/** What servers say of a session that they do not know. A hint only: a ping decides. */
const UNKNOWN_SESSION =
  /no (valid |such |active )?(mcp )?session|(valid|missing|unknown|expired|unrecognized|stale) (or (missing|expired) )?(mcp )?session|session ?id\b.{0,60}(required|mismatch|missing|recogni[sz]ed|match)|session\b.{0,100}?(not (found|active|available|initialized)|(not|n't) exist|invalid|expired|unknown|terminated|closed|abandoned|timed out|has ended|no longer|\blost\b|\bgone\b)|(find|locate|know) (the |a |this |that |any )?(mcp )?session|(server|client|session|transport) not initialized|(no|unknown) (active )?transport|transport (was )?not found/i;
/** `sessionNotFound`, `SESSION_NOT_FOUND` and `session-not-found` are words too. */
const IN_WORDS: readonly (readonly [RegExp, string])[] = [
  [/[-_]+/g, ' '],
  [/([a-z])([A-Z])/g, '$1 $2'],
];
/** Longer bodies are results, not complaints. Bytes. */
const COMPLAINT_BYTES = 4096;

export type Answered = { readonly status: number; readonly body: Buffer };

/**
 * MCP 2025-11-25 ("Session Management") has 404 for a session that is not known; servers also say 400, 401, 410, 500 or
 * 503, or 200 with an error. Undefined where the answer says nothing of the session.
 */
export function doubtOf({ status, body }: Answered): Doubt | undefined {
  const complaint = complaintOf(body);
  if (status >= 300 && status < 400) return undefined;
  if (status < 300) return doubtOfResult(complaint);
  if (saysMethodNotFound(complaint.messages)) return undefined;
  if (status === 404 || status === 410 || complaint.namesSession) return 'strong';
  return status === 400 || status >= 500 ? 'weak' : undefined;
}

/** The same for messages that came as an event of a stream. */
export function doubtOfMessages(messages: readonly JsonRpcMessage[], raw: Buffer): Doubt | undefined {
  return doubtOfResult({ messages, ...(raw.length <= COMPLAINT_BYTES && wordsOf(raw.toString('utf8'))) });
}

type Complaint = { readonly messages?: readonly JsonRpcMessage[]; readonly namesSession?: boolean };

function complaintOf(body: Buffer): Complaint {
  if (body.length > COMPLAINT_BYTES) return {};
  const text = body.toString('utf8');
  const parsed = parseMessages(text);
  return { ...(parsed.kind === 'messages' && { messages: parsed.messages }), ...wordsOf(text) };
}

function wordsOf(text: string): { readonly namesSession: boolean } {
  const words = IN_WORDS.reduce((said, [found, instead]) => said.replace(found, instead), text);
  return { namesSession: UNKNOWN_SESSION.test(words) };
}

/** Errors that are about a request's own method, parameters or work. */
const OF_THE_REQUEST: ReadonlySet<number> = new Set([CODE.methodNotFound, CODE.invalidParams, CODE.internal]);

function doubtOfResult({ messages, namesSession = false }: Complaint): Doubt | undefined {
  if (messages === undefined || messages.length === 0) return namesSession ? 'strong' : undefined;
  if (!messages.every((message) => 'error' in message)) return undefined;
  if (namesSession) return 'strong';
  const ofTheRequest = messages.every((message) => 'error' in message && OF_THE_REQUEST.has(message.error.code));
  return ofTheRequest ? undefined : 'weak';
}

function saysMethodNotFound(messages: readonly JsonRpcMessage[] = []): boolean {
  return messages.some((message) => 'error' in message && message.error.code === CODE.methodNotFound);
}

/** An answer to a ping of ours, as it came. */
export type PingAnswer = Answered & {
  readonly messages: readonly JsonRpcMessage[];
  /** The session id that the ping named. */
  readonly sessionId: string;
};

/**
 * What the answer to a ping with the session's id proves. `rejected`: without a word of the session, or with one that
 * may be about a login: it may be what this server says of every ping, or to this caller. `unclear`: it refuses the caller, is overloaded or broken, which
 * says nothing of one session.
 */
export function verdictOf({ status, body, messages }: PingAnswer): 'known' | 'unknown' | 'unclear' | 'rejected' {
  if (saysMethodNotFound(messages)) return 'known';
  if (status < 300 && messages.some((message) => 'result' in message)) return 'known';
  const text = body.length > 0 ? body.subarray(0, COMPLAINT_BYTES).toString('utf8') : JSON.stringify(messages);
  // A login may have expired too.
  if (wordsOf(text).namesSession) return status === 401 || status === 403 ? 'rejected' : 'unknown';
  const complains = status < 300 && messages.some((message) => 'error' in message);
  return status === 404 || status === 410 || status === 400 || complains ? 'rejected' : 'unclear';
}

/** Whether two pings got the same answer, the ids that they named aside. */
export function sameAnswer(one: PingAnswer, other: PingAnswer): boolean {
  return one.status === other.status && meaningOf(one) === meaningOf(other);
}

function meaningOf({ body, messages, sessionId }: PingAnswer): string {
  const responses = messages.filter(isResponse).map((one) => ('error' in one ? one.error : one.result));
  const text = responses.length > 0 ? JSON.stringify(responses) : body.subarray(0, COMPLAINT_BYTES).toString('utf8');
  return text.replaceAll(sessionId, '');
}
