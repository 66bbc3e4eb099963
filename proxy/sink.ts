/** The client's response as a Sink: back-pressure, keep-alive comments, and what the client has been shown. */
import type { ServerResponse } from 'node:http';
import { CODE } from './contract.ts';
import type { RawHeaders, Sink, SseEvent } from './contract.ts';
import { withCors } from './cors.ts';
import type { Cors } from './cors.ts';
import { flushHead, writeHead } from './head.ts';
import { isEventStream } from './headers.ts';
import { errorMessage } from './jsonrpc.ts';

/** An ALB closes what is silent for 60 s; TCP keep-alive and HTTP/2 PING do not count (AWS, "Connection idle timeout"). */
const KEEP_ALIVE_MS = 20_000;
const COMMENT = ': keep-alive\n\n';

export type ResponseSinkOptions = {
  /** True tells the client to take its next request elsewhere. */
  readonly closing: () => boolean;
  /** What a page of another origin may read of it. */
  readonly cors?: Cors | undefined;
  /** Milliseconds of silence on a stream before a comment: 20,000 by default. */
  readonly keepAliveMs?: number;
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
    try {
      writeHead(response, status, this.#options.closing() ? [...headers, 'connection', 'close'] : headers);
    } catch {
      return this.#unsendable();
    }
    if (this.#shown !== 'stream') return;
    flushHead(response);
    this.#silence = setTimeout(() => this.#keepAlive(), this.#options.keepAliveMs ?? KEEP_ALIVE_MS).unref();
    response.once('close', () => clearTimeout(this.#silence));
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
    return response.write(bytes);
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
    this.#response.destroy();
  }

  #keepAlive(): void {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    this.#silence?.refresh();
    if (this.#betweenEvents && !response.writableNeedDrain) response.write(COMMENT);
  }
}

function endsEvent(raw: Buffer): boolean {
  const tail = raw.subarray(-4).toString('latin1');
  return tail.endsWith('\n\n') || tail.endsWith('\r\n\r\n') || tail.endsWith('\r\r');
}
