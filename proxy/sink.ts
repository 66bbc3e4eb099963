/** The client's response as a Sink: back-pressure, keep-alive comments, and what the client has been shown. */
import type { ServerResponse } from 'node:http';
import type { RawHeaders, Sink } from './contract.ts';
import { headerValue } from './headers.ts';

/** An ALB closes what is silent for 60 s; TCP keep-alive and HTTP/2 PING do not count (AWS, "Connection idle timeout"). */
export const KEEP_ALIVE_MS = 20_000;
const COMMENT = ': keep-alive\n\n';

/** `closing` answers tell the client to take its next request elsewhere. */
export function responseSink(
  response: ServerResponse,
  { closing, keepAliveMs = KEEP_ALIVE_MS }: { closing: () => boolean; keepAliveMs?: number },
): Sink {
  let shown: Sink['shown'] = 'nothing';
  let betweenEvents = true;
  let silence: NodeJS.Timeout | undefined;

  function write(bytes: Buffer): boolean {
    if (response.destroyed || response.writableEnded) return true;
    silence?.refresh();
    return response.write(bytes);
  }

  function keepAlive(): void {
    silence?.refresh();
    if (betweenEvents && !response.writableNeedDrain && !response.destroyed) response.write(COMMENT);
  }

  function over(): void {
    clearTimeout(silence);
    silence = undefined;
  }

  response.once('close', over);

  return {
    head(status: number, headers: RawHeaders) {
      if (shown !== 'nothing' || response.destroyed) return;
      const streams = headerValue(headers, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true;
      shown = streams && status < 300 ? 'stream' : 'body';
      response.writeHead(status, closing() ? [...headers, 'connection', 'close'] : [...headers]);
      if (shown !== 'stream') return;
      response.flushHeaders();
      silence = setTimeout(keepAlive, keepAliveMs).unref();
    },
    event({ raw }) {
      betweenEvents = endsEvent(raw);
      return write(raw);
    },
    chunk: write,
    drained() {
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
    },
    end() {
      over();
      response.end();
    },
    cut() {
      over();
      response.destroy();
    },
    get shown() {
      return shown;
    },
  };
}

function endsEvent(raw: Buffer): boolean {
  const tail = raw.subarray(-4).toString('latin1');
  return tail.endsWith('\n\n') || tail.endsWith('\r\n\r\n') || tail.endsWith('\r\r');
}
