/** One request that is passed through, and its answer: both are streamed, and an answer that breaks is cut, not ended. */
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { asError } from './as-error.ts';
import { isBodyless, lingering } from './body.ts';
import { HEADER } from './contract.ts';
import type { RawHeaders, Refusal } from './contract.ts';
import { preflightFields, withCors } from './cors.ts';
import type { Cors } from './cors.ts';
import { flushHead, writeHead } from './head.ts';
import { responseHeaders } from './headers.ts';
import { limitInterim } from './interim.ts';
import type { Journey } from './journey.ts';
import { Looped, saysLoop } from './loops.ts';
import { LOOP, NO_BACKEND, OUTCOME_UNKNOWN, STOPPING, refuse } from './refusal.ts';
import { preflighting } from './preflight.ts';
import { ResponseSink } from './sink.ts';
import { discardSession, opensSession } from './wrong-path.ts';

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

/** What answers of our own say: the fields for a page's origin, and what MCP gets on a path where it is not served. */
type Own = { readonly cors: Cors | undefined; readonly wrongPath: (status: 404 | 502) => Refusal };

/** Counts itself in the journey when the answer has ended, or the client has left. */
export class PassedRequest implements Passing {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #journey: Journey;
  readonly #cors: Own['cors'];
  readonly #wrongPath: Own['wrongPath'];
  readonly #go: () => void;
  #ending: 'answered' | 'refused' | 'lost' | undefined;
  #answer: IncomingMessage | undefined;
  #closing = false;

  /** `go` sends the request to the backend that the journey has chosen; without a body it may be called again. */
  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    journey: Journey,
    { cors, wrongPath }: Own,
    go: () => void,
  ) {
    this.#request = request;
    this.#response = response;
    this.#journey = journey;
    this.#cors = cors;
    this.#wrongPath = wrongPath;
    this.#go = go;
    response.once('close', () => {
      const left = this.#ending === undefined || (this.#ending === 'answered' && !response.writableFinished);
      if (left) journey.end(499, 'abandoned');
      else journey.end(response.statusCode, this.#ending ?? 'answered');
    });
  }

  /** Never rejects. */
  async start(): Promise<void> {
    const opens = await opensSession(this.#request);
    if (this.#ending !== undefined || this.#response.destroyed) return;
    if (opens) this.#refuse(this.#wrongPath(404), 'refused');
    else if (this.#journey.next()) this.#go();
    else this.#refuse(NO_BACKEND, 'refused');
  }

  sending(sent: ClientRequest): void {
    this.#journey.watch(sent);
    limitInterim(sent);
    sent.once('upgrade', (_answer, socket) => {
      socket.destroy();
      this.failed(new Error('the backend switches protocols, unasked'));
    });
  }

  answered(answer: IncomingMessage): void {
    if (saysLoop(answer.statusCode, answer.rawHeaders)) {
      // To its end: httpxy takes one that breaks for the end of ours.
      answer.resume();
      return this.failed(new Looped());
    }
    const { [HEADER.session]: session } = answer.headers;
    if (session !== undefined && this.#journey.to !== undefined) {
      this.#refuse(this.#wrongPath(502), 'refused');
      answer.destroy();
      return discardSession(this.#journey.to.origin, this.#request, [session].flat()[0] ?? '');
    }
    try {
      show(answer, this.#journey.shown(answer.rawHeaders), this.#response, this.#closing, this.#cors);
    } catch (error) {
      answer.destroy();
      return this.failed(asError(error));
    }
    this.#answer = answer;
    this.#ending = 'answered';
    // Before it is cut: then nobody can tell any more who has left.
    answer.once('error', () => {
      if (!this.#response.destroyed) this.#cut();
    });
    if (this.#closing) this.#endStream();
    return undefined;
  }

  failed(cause: Error): void {
    const request = this.#request;
    const response = this.#response;
    const left = response.destroyed || request.errored !== null || request.socket.destroyed;
    if (left || this.#ending === 'refused' || this.#ending === 'lost') return undefined;
    // A backend that has answered before the upload was whole may break that off.
    if (this.#answer?.complete === true) return undefined;
    if (response.headersSent) return this.#cut();
    const refusal = this.#journey.fail(cause);
    const untouched = refusal === NO_BACKEND || refusal === LOOP;
    if (!untouched || !isBodyless(request) || !this.#journey.next()) {
      return this.#refuse(refusal, refusal === OUTCOME_UNKNOWN ? 'lost' : 'refused');
    }
    // Each attempt leaves its listeners behind.
    request.setMaxListeners(0);
    response.setMaxListeners(0);
    return this.#go();
  }

  close(): void {
    this.#closing = true;
    this.#endStream();
  }

  cut(): void {
    if (this.#response.headersSent) this.#cut();
    else this.#refuse(STOPPING, 'refused');
  }

  #refuse(refusal: Refusal, as: 'refused' | 'lost'): void {
    this.#ending = as;
    const closing = () => this.#closing || !this.#request.complete;
    const sink = preflighting(new ResponseSink(this.#response, { closing, cors: this.#cors }), this.#cors);
    refuse(lingering(sink, this.#request), refusal, []);
  }

  #cut(): void {
    this.#ending = 'lost';
    this.#response.destroy();
  }

  /** Events go on without end: whoever listens comes again, to another proxy. */
  #endStream(): void {
    if (this.#answer?.headers['content-type']?.startsWith('text/event-stream') !== true) return;
    this.#answer.unpipe(this.#response);
    this.#response.end();
  }
}

/**
 * Head and body; the head at once, as the body may take its time. Throws when it cannot be sent: then another answer may
 * be, and this one is to be destroyed.
 */
export function show(
  answer: IncomingMessage,
  raw: RawHeaders,
  response: ServerResponse,
  closing: boolean,
  cors?: Cors,
): void {
  const { 'transfer-encoding': coding } = answer.headers;
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new Error(`the backend's answer is in the coding ${coding}`);
  }
  const { statusCode: status = 502, statusMessage = '' } = answer;
  const own = responseHeaders(raw, undefined);
  const preflight = cors && preflightFields(cors, { status, headers: own, own: false });
  if (preflight !== undefined) {
    writeHead(response, 204, preflight);
    return endOf(answer, response);
  }
  const headers = withCors(own, cors, false);
  writeHead(response, status, closing ? [...headers, 'connection', 'close'] : headers, statusMessage);
  if (status === 204 || status === 304) return endOf(answer, response);
  flushHead(response);
  answer.pipe(response);
  return undefined;
}

/** An answer without a body: what comes all the same is nobody's. */
function endOf(answer: IncomingMessage, response: ServerResponse): void {
  answer.resume();
  response.end();
}
