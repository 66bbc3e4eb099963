/** The body of a request, bounded: what is over the limit is turned away before it is read. */
import type { IncomingMessage } from 'node:http';
import type { Sink } from './contract.ts';

/** How long a client that was turned away may go on sending, in milliseconds. */
const LINGER_MS = 1000;

/** A status: the body is to be refused, and the rest of it was not read. `left`: the client broke off. */
export function readBody(request: IncomingMessage, limit: number): Promise<Buffer | 413 | 415 | 501 | 'left'> {
  if (isCoded(request)) return Promise.resolve(501);
  const { 'content-length': length, 'content-encoding': encoding = 'identity' } = request.headers;
  if (encoding.toLowerCase() !== 'identity') return Promise.resolve(415);
  if (length !== undefined && Number(length) > limit) return Promise.resolve(413);
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const take = (chunk: Buffer): void => {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= limit) return;
      request.off('data', take);
      resolve(413);
    };
    request.on('data', take);
    request.once('end', () => resolve(Buffer.concat(chunks)));
    request.once('close', () => resolve('left'));
    // A client that breaks off is no fault: `close` follows.
    request.once('error', () => {});
  });
}

/**
 * What a body parser before us made of it, as JSON again; undefined where the bytes are there still: older parsers set an
 * empty body for what they leave alone. Throws when somebody has read them and left nothing.
 */
export function parsedBody(request: IncomingMessage): Buffer | undefined {
  if (!request.readableEnded) return undefined;
  const body: unknown = 'body' in request ? request.body : undefined;
  if (body === undefined && !isBodyless(request))
    throw new Error('the body was read before us, and request.body is not set');
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === 'string' ? body : (JSON.stringify(body) ?? ''));
}

/** Whether what it brings is in a transfer coding that Node leaves as it is (RFC 9112, section 6.1). */
export function isCoded({ headers }: IncomingMessage): boolean {
  const { 'transfer-encoding': coding } = headers;
  return coding !== undefined && coding.toLowerCase() !== 'chunked';
}

/** Whether it is said of a request that it brings nothing. */
export function isBodyless({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
}

/**
 * The same sink, but the connection stays open while the client still sends: closing on unread bytes resets it, and the
 * client may never see its answer (RFC 9112, section 9.6).
 */
export function lingering(sink: Sink, request: IncomingMessage): Sink {
  return {
    head: (status, headers, own) => sink.head(status, headers, own),
    event: (event) => sink.event(event),
    chunk: (bytes) => sink.chunk(bytes),
    drained: () => sink.drained(),
    end() {
      const end = (): void => {
        clearTimeout(late);
        sink.end();
      };
      const late = setTimeout(end, LINGER_MS);
      if (request.complete || request.destroyed) return end();
      request.once('end', end).once('close', end).resume();
      return undefined;
    },
    cut: () => sink.cut(),
    get shown() {
      return sink.shown;
    },
  };
}
