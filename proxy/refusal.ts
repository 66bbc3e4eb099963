/** Answers of our own: fixed sentences, in whatever state the client's answer is. */
import { CODE, HEADER } from './contract.ts';
import type { JsonRpcId, RawHeaders, Refusal, Sink } from './contract.ts';
import { WHOLE_TEXT } from './json-bounds.ts';
import { findMessages } from './json-text.ts';
import { errorMessage } from './jsonrpc.ts';
import { eventOf } from './sse.ts';

export const REGISTRY_DOWN: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: the session registry cannot be reached, try again',
  retryAfter: 1,
};
export const NO_BACKEND: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: no server can take the request now, try again',
  retryAfter: 1,
};
export const CROWDED: Refusal = {
  ...NO_BACKEND,
  message: 'Service unavailable: too many requests wait for a server, try again',
};
export const OUTCOME_UNKNOWN: Refusal = {
  kind: 'refuse',
  status: 502,
  code: CODE.server,
  message: 'The server was lost while it worked on this request: the outcome is unknown',
  answers: true,
};
export const NO_ANSWER: Refusal = {
  kind: 'refuse',
  status: 504,
  code: CODE.server,
  message: 'The server did not answer in time: the outcome is unknown',
  answers: true,
};
export const INTERNAL: Refusal = { kind: 'refuse', status: 500, code: CODE.internal, message: 'Internal error' };
export const STOPPING: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'The proxy stopped before the answer came: the outcome is unknown',
  retryAfter: 1,
  answers: true,
};
/** Nothing of it has run. */
export const CLOSED: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: the proxy is stopping, try again',
  retryAfter: 1,
};
/** Nothing of it has run. */
export const LOOP: Refusal = {
  kind: 'refuse',
  status: 508,
  code: CODE.server,
  message: 'Loop detected: the request has passed this proxy before',
  mark: 'loop',
};
export const TOO_LONG: Refusal = {
  kind: 'refuse',
  status: 502,
  code: CODE.server,
  message: "The server's answer to initialize is too long",
};
export const ID_TAKEN: Refusal = {
  kind: 'refuse',
  status: 502,
  code: CODE.server,
  message: 'The server issued a session id that is in use',
};
export const ID_UNUSABLE: Refusal = {
  kind: 'refuse',
  status: 502,
  code: CODE.server,
  message: 'The server issued a session id that cannot be used',
};

/**
 * Of an answer that nothing was shown of. At a 5xx clients give up their connection, and proxies in front send the request
 * again, or a page of their own.
 */
export function statusOf(
  { status, answers }: Pick<Refusal, 'answers'> & { status: number },
  ids: readonly JsonRpcId[],
) {
  return answers === true && ids.length > 0 ? 200 : status;
}

/**
 * Ends the client's answer with an error for each request in `ids`: as the whole answer when nothing was shown, as
 * events on an open stream. A body that was begun can only be cut. `asked`: the client's own text, whose ids are said
 * back as they stand there.
 */
export function refuse(
  sink: Sink,
  refusal: Omit<Refusal, 'kind' | 'status' | 'ends'> & { readonly status: number },
  ids: readonly JsonRpcId[],
  extra: RawHeaders = [],
  asked?: Buffer,
): void {
  const { code, message, retryAfter, mark } = refusal;
  const status = statusOf(refusal, ids);
  if (sink.shown === 'body') return sink.cut();
  const texts = numberTexts(ids, asked);
  const error = JSON.stringify({ code, message });
  const write = (id: JsonRpcId | null): string =>
    `{"jsonrpc":"2.0","id":${texts.get(id) ?? JSON.stringify(id)},"error":${error}}`;
  if (sink.shown === 'stream') {
    for (const id of ids) {
      sink.event({ raw: eventOf(Buffer.from(write(id))), messages: [errorMessage(id, code, message)] });
    }
    return sink.end();
  }
  const errors = (ids.length === 0 ? [null] : ids).map(write);
  const body = Buffer.from(errors.length === 1 ? errors.join('') : `[${errors.join(',')}]`);
  const more = [...extra];
  if (retryAfter !== undefined && status !== 200) more.push('retry-after', String(retryAfter));
  if (mark !== undefined) more.push(HEADER.affinityMark, mark);
  sink.head(status, ['content-type', 'application/json', 'content-length', String(body.length), ...more], true);
  sink.chunk(body);
  return sink.end();
}

/** How the client wrote the ids that are numbers: a parsed one may be another number, as of 9007199254740993. */
function numberTexts(ids: readonly JsonRpcId[], asked: Buffer | undefined): ReadonlyMap<JsonRpcId | null, string> {
  const texts = new Map<JsonRpcId | null, string>();
  if (asked === undefined || !ids.some((id) => typeof id === 'number' && mayDiffer(id, asked))) return texts;
  const text = asked.toString('latin1');
  for (const { names } of findMessages(text)) {
    for (const { from, to, place } of names) {
      if (place === 'id' && text.charAt(from) !== '"') texts.set(Number(text.slice(from, to)), text.slice(from, to));
    }
  }
  return texts;
}

/** Of a long text only those that would be wrong are looked for: to go through megabytes takes milliseconds. */
function mayDiffer(id: number, asked: Buffer): boolean {
  return asked.length <= WHOLE_TEXT || !Number.isSafeInteger(id);
}
