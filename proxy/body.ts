/** The body of a request, bounded: what is over the limit is turned away before it is read. */
import type { IncomingMessage } from 'node:http';
import type { BodyCount } from './body-budget.ts';
import type { Sink } from './contract.ts';

/** How long a client that was turned away may go on sending, in milliseconds. */
const LINGER_MS = 1000;

/** A status: the body is to be refused, and the rest of it was not read. `left`: the client broke off. */
export type Unread = 408 | 413 | 415 | 501 | 503 | 'left';

export type BodyRules = {
  /** Bytes of the largest body that is taken. */
  readonly limit: number;
  /** What it has to fit into besides. */
  readonly count: BodyCount;
  /** Milliseconds that it may take to arrive; undefined for no limit here. */
  readonly ms: number | undefined;
};

export function readBody(request: IncomingMessage, { limit, count, ms }: BodyRules): Promise<Buffer | Unread> {
  if (isCoded(request)) return Promise.resolve(501);
  const { 'content-length': length = 0, 'content-encoding': encoding = 'identity' } = request.headers;
  if (encoding.toLowerCase() !== 'identity') return Promise.resolve(415);
  if (Number(length) > limit) return Promise.resolve(413);
  if (!count.fits(Number(length))) return Promise.resolve(503);
  return new Promise((resolve) => {
    const parts = newParts();
    let late: NodeJS.Timeout | undefined;
    const settle = (read: Buffer | Unread): void => {
      clearTimeout(late);
      request.off('data', take);
      parts.clear();
      resolve(read);
    };
    const take = (chunk: Buffer): void => {
      if (parts.bytes + chunk.length > limit) settle(413);
      else if (count.add(chunk.length)) parts.push(chunk);
      else settle(503);
    };
    if (ms !== undefined && !isBodyless(request)) late = setTimeout(() => settle(408), ms);
    request.on('data', take);
    request.once('end', () => settle(parts.whole()));
    request.once('close', () => settle('left'));
    // A client that breaks off is no fault: `close` follows.
    request.once('error', () => {});
  });
}

/** Small parts that are kept loose. Each is an object of its own: a body in chunks of a byte would take hundreds for it. */
const MOST_LOOSE = 64;
const SMALL_BYTES = 1024;

function newParts() {
  let parts: Buffer[] = [];
  let loose = 0;
  let bytes = 0;
  return {
    get bytes() {
      return bytes;
    },
    push(part: Buffer): void {
      bytes += part.length;
      parts.push(part);
      loose = part.length < SMALL_BYTES ? loose + 1 : 0;
      if (loose < MOST_LOOSE) return;
      parts.push(Buffer.concat(parts.splice(-MOST_LOOSE)));
      loose = 0;
    },
    whole: () => Buffer.concat(parts),
    clear(): void {
      parts = [];
    },
  };
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
