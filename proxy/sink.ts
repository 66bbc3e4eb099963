/** The client's response as a Sink: back-pressure, keep-alive comments, and what the client has been shown. */
import type { ServerResponse } from 'node:http';
import { CODE } from './contract.ts';
import type { RawHeaders, Sink, SseEvent } from './contract.ts';
import { withCors } from './cors.ts';
import type { Cors } from './cors.ts';
import { cutOff, flushBody, flushHead, writeHead } from './head.ts';
import { isEventStream, unbuffered } from './headers.ts';
import { errorMessage } from './jsonrpc.ts';

/** A line of its own, without a blank one: that would be an event without data, which clients may count (WHATWG HTML, 9.2.5). */
const COMMENT = ': keep-alive\n';

export type ResponseSinkOptions = {
  /** True tells the client to take its next request elsewhere. */
  readonly closing: () => boolean;
  /** What a page of another origin may read of it. */
  readonly cors?: Cors | undefined;
  /**
   * Seconds of silence on a stream before a comment, and one comes right after the head of a listening stream:
   * proxies in front may hold the head until they have a byte of the body. Undefined: none is sent.
   */
  readonly commentSeconds?: number | undefined;
};

export class ResponseSink implements Sink {
  readonly #response: ServerResponse;
  readonly #options: ResponseSinkOptions;
  #shown: Sink['shown'] = 'nothing';
  #betweenEvents = true;
  #over = false;
  #silence: NodeJS.Timeout | undefined;

  constructor(response: ServerResponse, options: ResponseSinkOptions) {
    this.#response = response;
    this.#options = options;
  }

  get shown(): Sink['shown'] {
    return this.#shown;
  }

  /** It was ended, or broken off, by us. */
  get over(): boolean {
    return this.#over;
  }

  head(status: number, fields: RawHeaders, own = false): void {
    const response = this.#response;
    if (this.#shown !== 'nothing' || response.destroyed) return;
    const headers = withCors(fields, this.#options.cors, own);
    this.#shown = isEventStream(headers) && status < 300 ? 'stream' : 'body';
    const sent = this.#shown === 'stream' ? unbuffered(headers) : headers;
    try {
      writeHead(response, status, this.#options.closing() ? [...sent, 'connection', 'close'] : sent);
    } catch {
      return this.#unsendable();
    }
    if (this.#shown !== 'stream') return;
    flushHead(response);
    const { commentSeconds } = this.#options;
    if (commentSeconds === undefined) return;
    this.#silence = setTimeout(() => this.#keepAlive(), commentSeconds * 1000).unref();
    response.once('close', () => clearTimeout(this.#silence));
    if (response.req.method === 'GET') this.#keepAlive();
  }

  /** Somebody's middleware, or a status, that throws must not end the process: what follows of the answer is dropped. */
  #unsendable(): void {
    this.#shown = 'body';
    const body = JSON.stringify(errorMessage(null, CODE.server, 'The answer of the server cannot be sent'));
    try {
      writeHead(this.#response, 502, ['content-type', 'application/json', 'content-length', String(body.length)]);
      this.#response.end(body);
    } catch {
      this.#response.destroy();
    }
  }

  event({ raw }: SseEvent): boolean {
    this.#betweenEvents = endsEvent(raw);
    return this.chunk(raw);
  }

  chunk(bytes: Buffer): boolean {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return true;
    this.#silence?.refresh();
    const more = response.write(bytes);
    if (this.#shown === 'stream') flushBody(response);
    return more;
  }

  drained(): Promise<void> {
    const response = this.#response;
    if (!response.writableNeedDrain || response.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        response.off('drain', done);
        response.off('close', done);
        resolve();
      };
      response.on('drain', done);
      response.on('close', done);
    });
  }

  end(): void {
    this.#over = true;
    clearTimeout(this.#silence);
    this.#response.end();
  }

  cut(): void {
    this.#over = true;
    clearTimeout(this.#silence);
    cutOff(this.#response);
  }

  #keepAlive(): void {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    this.#silence?.refresh();
    if (!this.#betweenEvents || response.writableNeedDrain) return;
    response.write(COMMENT);
    flushBody(response);
  }
}

function endsEvent(raw: Buffer): boolean {
  const tail = raw.subarray(-4).toString('latin1');
  return tail.endsWith('\n\n') || tail.endsWith('\r\n\r\n') || tail.endsWith('\r\r');
}
