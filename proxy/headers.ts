/** Which header fields pass between client and backend, and under which name and value. Pure. */
import { HEADER } from './contract.ts';
import type { RawHeaders } from './contract.ts';
import { FORWARDING } from './forwarded.ts';

/** Fields of one connection, not of the message (RFC 9110, section 7.6.1), and the framing that each side makes anew. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
/**
 * Ours to say towards a backend: the length of what we send, no encoding either way (a parser before us has taken off the
 * one that it had), and no 100-continue as the body is here.
 */
const REQUEST_OWN = new Set(['content-length', 'content-encoding', 'accept-encoding', 'expect']);

/** Whether a field's name is this one, which is in lower case. */
function isField(field: string | undefined, name: string): boolean {
  return field?.length === name.length && field.toLowerCase() === name;
}

/** The first value of a field, by its lower-case name. */
export function headerValue(headers: RawHeaders, name: string): string | undefined {
  for (let at = 0; at + 1 < headers.length; at += 2) {
    if (isField(headers[at], name)) return headers[at + 1];
  }
  return undefined;
}

export function isEventStream(headers: RawHeaders): boolean {
  return headerValue(headers, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true;
}

/** The head of an event stream that proxies in front do not gather: nginx reads the field, and others as well. */
export function unbuffered(headers: RawHeaders): RawHeaders {
  return headerValue(headers, 'x-accel-buffering') === undefined ? [...headers, 'x-accel-buffering', 'no'] : headers;
}

/** What a backend says of its release; undefined for nothing, or nothing that can be compared. */
export function readRelease(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

/** The trace id of a `traceparent` (W3C Trace Context, section 3.2.2), if there is one and it is well formed. */
export function traceOf(headers: RawHeaders): string | undefined {
  return TRACEPARENT.exec(headerValue(headers, 'traceparent') ?? '')?.[1];
}

/** Of any version but ff, which is none; an id of zeros only is none either. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})[\da-f]{16}-[\da-f]{2}(?:-|$)/;

/** How often a field is there, by its lower-case name. */
export function headerCount(headers: RawHeaders, name: string): number {
  let count = 0;
  for (let at = 0; at < headers.length; at += 2) if (isField(headers[at], name)) count += 1;
  return count;
}

/** The same fields but those for which `drop` (given the lower-case name) says so. */
export function withoutHeaders(headers: RawHeaders, drop: (name: string) => boolean): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at];
    const value = headers[at + 1];
    if (name !== undefined && value !== undefined && !drop(name.toLowerCase())) kept.push(name, value);
  }
  return kept;
}

/** Fields that `Connection` names belong to the connection too (RFC 9110, section 7.6.1). */
function namedByConnection(headers: RawHeaders): ReadonlySet<string> {
  let named: Set<string> | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const value = headers[at + 1];
    // Most say just this, and it names no other field.
    if (value === undefined || value === 'keep-alive' || !isField(headers[at], 'connection')) continue;
    named ??= new Set();
    for (const token of value.split(',')) named.add(token.trim().toLowerCase());
  }
  if (named === undefined) return NONE;
  for (const name of NEEDED) named.delete(name);
  return named;
}

const NONE: ReadonlySet<string> = new Set();
/** Fields that every request needs, that we have set, or have told its owner by: naming them must not strip it of them. */
const NEEDED = ['host', 'authorization', 'content-type', 'content-length', ...FORWARDING];

/** A session's two ids; `undefined` leaves the field out. */
export type RequestNames = {
  readonly backendSessionId: string | undefined;
  readonly clientSessionId: string | undefined;
  /** The backend's id. */
  readonly backend: string;
  /** What it gets as `Host`; undefined for the client's. */
  readonly host: string | undefined;
};

/** A client must not speak in our name: every exchange's fields pass through here first. */
export function clientHeaders(headers: RawHeaders): RawHeaders {
  return withoutHeaders(headers, (name) => name.startsWith(HEADER.affinityPrefix) || isDisguised(name));
}

/**
 * CGI, WSGI and what is built on them make one of `X-Real-IP` and `X_Real_IP` (RFC 3875, section 4.1.18): a field that
 * reads there as one that routing, framing or our word about the way depends on is the client's word for it.
 */
function isDisguised(name: string): boolean {
  if (!ODD.test(name)) return false;
  const read = name.replaceAll(ODD_ALL, '-');
  return /^(mcp-|x-forwarded-)/.test(read) || HOP_BY_HOP.has(read) || REQUEST_OWN.has(read) || DECISIVE.has(read);
}
const ODD = /[^a-z\d-]/;
const ODD_ALL = /[^a-z\d-]/g;
const DECISIVE: ReadonlySet<string> = new Set(['host', 'content-type', 'x-real-ip', HEADER.lastEventId, ...FORWARDING]);

/** What is passed through of a request, its length and encodings included; the 100-continue was ours. */
export function endToEnd(headers: RawHeaders): RawHeaders {
  const named = namedByConnection(headers);
  return withoutHeaders(headers, (name) => HOP_BY_HOP.has(name) || named.has(name) || name === 'expect');
}

/**
 * Characters. A backend bounds the head of a request (Node's servers at 16 KiB, others at 8), and its own session id has
 * to fit beside those that it is told.
 */
const LONGEST_TOLD = 2048;

/** One of our fields with a session id in it; none where the id is so long that the field could cost the request. */
export function idField(name: string, id: string): RawHeaders {
  return id.length > LONGEST_TOLD ? [] : [name, id];
}

/** An exchange's end-to-end fields, as a backend gets them. */
export function requestHeaders(headers: RawHeaders, names: RequestNames): string[] {
  const named = namedByConnection(headers);
  const result = withoutHeaders(
    headers,
    (name) =>
      HOP_BY_HOP.has(name) ||
      named.has(name) ||
      REQUEST_OWN.has(name) ||
      name === HEADER.session ||
      (names.host !== undefined && name === 'host') ||
      (names.clientSessionId !== undefined && name === HEADER.affinitySession),
  );
  if (names.host !== undefined) result.push('host', names.host);
  result.push('accept-encoding', 'identity');
  if (names.backendSessionId !== undefined) result.push(HEADER.session, names.backendSessionId);
  if (names.clientSessionId !== undefined) result.push(...idField(HEADER.affinitySession, names.clientSessionId));
  result.push(HEADER.affinityBackend, names.backend);
  return result;
}

/** A backend's end-to-end fields, as the client gets them: a session goes by the id that the client holds. */
export function responseHeaders(headers: RawHeaders, clientSessionId: string | undefined): string[] {
  const named = namedByConnection(headers);
  const result = withoutHeaders(
    headers,
    (name) => HOP_BY_HOP.has(name) || named.has(name) || name.startsWith(HEADER.affinityPrefix),
  );
  const said = new Set<string>();
  for (let at = 0; at < result.length; at += 2) {
    if (!isField(result[at], HEADER.session)) continue;
    const id = clientSessionId ?? result[at + 1] ?? '';
    result[at + 1] = id;
    // A client would join a field that is said twice.
    if (said.has(id)) at -= result.splice(at, 2).length;
    said.add(id);
  }
  return result;
}
