/** The head of an answer: byte for byte where Node sends it, and past whatever middleware stands before us. */
import type { ServerResponse } from 'node:http';
import type { RawHeaders } from './contract.ts';

/** What neither a field's value nor a reason phrase may hold (RFC 9110, section 5.5; RFC 9112, section 4). */
const FORBIDDEN = /[^\t\u0020-\u007e\u0080-\u00ff]/g;
/** A field's name (RFC 9110, section 5.6.2). */
const NAME = /^[\w!#$%&'*+.^`|~-]+$/;

/** The fields that Node sends; it throws for the others. */
function sendableHeaders(headers: RawHeaders): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    if (isSendable(name, value)) kept.push(name, value);
  }
  return kept;
}

export function isSendable(name: string, value: string): boolean {
  return NAME.test(name) && value.search(FORBIDDEN) < 0;
}

/**
 * What Node will not send is left out: fields, and characters of `reason`, which is Node's own by default. Throws for a
 * status that is no final one, and when the middleware before us does; then another head may be written.
 */
export function writeHead(response: ServerResponse, status: number, headers: RawHeaders, reason?: string): void {
  if (!(status >= 200 && status <= 999)) throw new RangeError(`${status} is no status of an answer`);
  const fields = sendableHeaders(headers);
  const phrase = reason?.replaceAll(FORBIDDEN, '');
  const replaced = Object.hasOwn(response, 'writeHead');
  try {
    if (replaced) writeToMiddleware(response, status, fields, phrase);
    else if (phrase === undefined) response.writeHead(status, fields);
    else response.writeHead(status, phrase, fields);
  } catch (error) {
    // Node keeps them, and they would spoil the next head too.
    if (!response.headersSent) {
      response.statusMessage = '';
      if (replaced) for (let at = 0; at < fields.length; at += 2) response.removeHeader(fields[at] ?? '');
    }
    throw error;
  }
}

/** on-headers before 1.1, which compression, morgan and express-session bring, would take a flat list for pairs. */
function writeToMiddleware(response: ServerResponse, status: number, fields: RawHeaders, phrase?: string): void {
  for (let at = 0; at + 1 < fields.length; at += 2) response.removeHeader(fields[at] ?? '');
  for (let at = 0; at + 1 < fields.length; at += 2) response.appendHeader(fields[at] ?? '', fields[at + 1] ?? '');
  if (phrase !== undefined) response.statusMessage = phrase;
  response.writeHead(status);
}

const NOTHING = Buffer.alloc(0);

/** Sends on what a compressing middleware before us has gathered (compression, `response.flush`). */
export function flushBody(response: ServerResponse & { flush?: () => void }): void {
  response.flush?.();
}

/** Ends the answer so that nobody takes it for whole: where only the end of the connection ends it, by a reset. */
export function cutOff(response: ServerResponse): void {
  const { req, socket } = response;
  if (req.httpVersion === '1.0') socket?.resetAndDestroy();
  response.destroy();
}

/** Sends the head now. Node's `flushHeaders` writes it as UTF-8, though fields are read as Latin-1. */
export function flushHead(response: ServerResponse): void {
  if (Object.hasOwn(response, 'write')) response.flushHeaders();
  else response.write(NOTHING);
}
