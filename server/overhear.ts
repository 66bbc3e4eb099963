/** Hears the body of a request on its way to the handlers, who read it as if nobody had listened. */

import type { IncomingMessage } from 'node:http';

/** As much as an SDK takes, in bytes; of a longer body nothing is told. */
const LONGEST_BODY = 4 * 1024 * 1024;

/**
 * Calls `then` once with the body, before a handler can have it whole: what a parser has left in `request.body` where
 * one has read the stream, else the bytes. Never calls it for no body, one over 4 MiB, or one that breaks off. The
 * stream's mode, pace and bytes stay as they are: nothing is read that the handlers do not read.
 */
export function overhearBody(
  request: IncomingMessage & { readonly body?: unknown },
  then: (body: unknown) => void,
): void {
  if (request.readableEnded) return then(request.body);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const hear = (chunk: unknown) => {
    if (!(chunk instanceof Uint8Array)) return;
    size += chunk.byteLength;
    if (size <= LONGEST_BODY) chunks.push(chunk);
    else chunks.length = 0;
  };
  const finish = () => {
    if (size > 0 && size <= LONGEST_BODY) then(Buffer.concat(chunks));
  };

  if (request.readableLength > 0) {
    const early: unknown = request.read();
    hear(early);
    // In the same turn as the read: a tick later the stream would have ended.
    request.unshift(early);
  }
  if (request.complete) return finish();
  // The parser of Node hands the body over here, piece by piece, and null at its end.
  const push = request.push.bind(request);
  request.push = (chunk, encoding) => {
    if (chunk === null) finish();
    else hear(chunk);
    return push(chunk, encoding);
  };
}
