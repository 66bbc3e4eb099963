/** One request that is passed through, and its answer: both are streamed, and an answer that breaks is cut, not ended. */
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { lingering } from './body.ts';
import type { Refusal } from './contract.ts';
import { responseHeaders } from './headers.ts';
import type { Journey } from './journey.ts';
import { NO_BACKEND, OUTCOME_UNKNOWN, STOPPING, refuse } from './refusal.ts';
import { ResponseSink } from './sink.ts';

/** What whoever carries the bytes tells of one request. */
export type Passing = {
  /** The request to the backend, as soon as it has a socket. */
  sending(sent: ClientRequest): void;
  answered?(answer: IncomingMessage): void;
  failed(cause: Error): void;
  /** The proxy stops: what has no end of its own ends, the rest may finish. */
  close(): void;
  /** The time to finish is over. */
  cut(): void;
};

/** `go` sends it to the backend that the journey has chosen; without a body it may be called again. */
export function passRequest(
  request: IncomingMessage,
  response: ServerResponse,
  journey: Journey,
  go: () => void,
): Passing & { start(): void } {
  let ending: 'answered' | 'refused' | 'lost' | undefined;
  let answer: IncomingMessage | undefined;
  let closing = false;

  function end(refusal: Refusal, as: 'refused' | 'lost'): void {
    ending = as;
    const sink = new ResponseSink(response, { closing: () => closing || !request.complete });
    refuse(lingering(sink, request), refusal, []);
  }
  function next(): void {
    if (journey.next()) go();
    else end(NO_BACKEND, 'refused');
  }
  function breakOff(): void {
    ending = 'lost';
    response.destroy();
  }
  function endStream(): void {
    if (answer?.headers['content-type']?.startsWith('text/event-stream') !== true) return;
    answer.unpipe(response);
    response.end();
  }

  response.once('close', () => {
    if (ending === undefined || (ending === 'answered' && !response.writableFinished)) journey.end(499, 'abandoned');
    else journey.end(response.statusCode, ending);
  });
  return {
    start: next,
    sending: (sent) => journey.watch(sent),
    answered(it) {
      answer = it;
      ending = 'answered';
      // Before it is cut: then nobody can tell any more who has left.
      it.once('error', () => {
        if (!response.destroyed) breakOff();
      });
      show(it, response, closing);
      if (closing) endStream();
    },
    failed(cause) {
      if (response.destroyed || request.errored || request.socket.destroyed) return;
      // A backend that has answered before the upload was whole may break that off.
      if (answer?.complete === true || ending === 'refused' || ending === 'lost') return;
      if (response.headersSent) return breakOff();
      const refusal = journey.fail(cause);
      if (refusal === NO_BACKEND && isBodyless(request)) {
        // Each attempt leaves its listeners behind.
        request.setMaxListeners(0);
        response.setMaxListeners(0);
        next();
      } else end(refusal, refusal === OUTCOME_UNKNOWN ? 'lost' : 'refused');
    },
    close() {
      closing = true;
      endStream();
    },
    cut() {
      if (response.headersSent) breakOff();
      else end(STOPPING, 'refused');
    },
  };
}

/** Head and body; the head at once, as the body may take its time. Throws when Node will not send it. */
function show(answer: IncomingMessage, response: ServerResponse, closing: boolean): void {
  const headers = responseHeaders(answer.rawHeaders, undefined);
  if (closing) headers.push('connection', 'close');
  response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', headers);
  response.flushHeaders();
  answer.pipe(response);
}

function isBodyless({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0;
}
