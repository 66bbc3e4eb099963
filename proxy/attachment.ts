/** One GET of a client's listening stream at one backend. What comes is kept back until somebody takes it. */
import type { Attempt, Backend, RawHeaders, Session, Sink, SseEvent } from './contract.ts';
import type { Part } from './keeper.ts';

/** Kept back before the backend has to wait. Bytes. */
const KEPT_BYTES = 256 * 1024;

/** Sends the GET; resolves when it has ended. Never rejects. */
export type SendListening = (sink: Sink, signal: AbortSignal) => Promise<Attempt>;

export class Attachment {
  /** The session as its home there knows it. */
  readonly session: Session;
  readonly to: Backend;
  /** How the home has begun its answer: a status, or 0 where none came. */
  readonly begun: Promise<number>;
  readonly ended: Promise<Attempt>;
  readonly #gate: Gate;
  readonly #leaving = new AbortController();
  #status: number | undefined;
  #over = false;

  /** `client` is where it will go: what the client was shown decides how an answer is read. */
  constructor(session: Session, to: Backend, client: Sink, send: SendListening) {
    this.session = session;
    this.to = to;
    let begin: (status: number) => void = () => {};
    this.begun = new Promise((resolve) => {
      begin = resolve;
    });
    this.#gate = new Gate(client, (status) => {
      this.#status = status;
      begin(status);
    });
    this.ended = send(this.#gate, this.#leaving.signal).then((attempt) => {
      this.#over = true;
      begin('status' in attempt ? attempt.status : 0);
      return attempt;
    });
  }

  /** The home has begun a stream, and it has not ended. */
  get open(): boolean {
    return !this.#over && this.#status !== undefined && this.#status < 300;
  }

  /** It has ended there, or was left. */
  get over(): boolean {
    return this.#over || this.#leaving.signal.aborted;
  }

  /** What was kept back, and all that comes, goes there. Once. */
  deliver(sink: Sink): void {
    this.#gate.open(sink);
  }

  /** Breaks it off: nothing more is delivered, and `ended` resolves with `abandoned`. Idempotent. */
  leave(): void {
    this.#gate.close();
    this.#leaving.abort();
  }
}

/** Keeps what it gets until it is opened. */
class Gate implements Sink {
  readonly #client: Sink;
  readonly #onHead: (status: number) => void;
  readonly #opened: Promise<void>;
  #markOpened: () => void = () => {};
  #to: Sink | undefined;
  #kept: Part[] = [];
  #keptBytes = 0;
  #closed = false;

  constructor(client: Sink, onHead: (status: number) => void) {
    this.#client = client;
    this.#onHead = onHead;
    this.#opened = new Promise((resolve) => {
      this.#markOpened = resolve;
    });
  }

  get shown(): Sink['shown'] {
    return this.#client.shown;
  }

  open(to: Sink): void {
    if (this.#to !== undefined) return;
    this.#to = to;
    for (const part of this.#kept.splice(0)) pass(part, to);
    this.#markOpened();
  }

  /** What was kept back, and all that comes, is dropped. */
  close(): void {
    this.#closed = true;
    this.#kept = [];
  }

  head(status: number, headers: RawHeaders): void {
    this.#onHead(status);
    this.#take({ kind: 'head', status, headers }, 0);
  }

  event(event: SseEvent): boolean {
    return this.#take({ kind: 'event', event }, event.raw.length);
  }

  chunk(bytes: Buffer): boolean {
    return this.#take({ kind: 'chunk', bytes }, bytes.length);
  }

  async drained(): Promise<void> {
    await this.#opened;
    await this.#to?.drained();
  }

  end(): void {
    this.#take({ kind: 'end' }, 0);
  }

  cut(): void {
    this.#take({ kind: 'cut' }, 0);
  }

  #take(part: Part, bytes: number): boolean {
    if (this.#closed) return true;
    if (this.#to !== undefined) return pass(part, this.#to);
    this.#kept.push(part);
    this.#keptBytes += bytes;
    return this.#keptBytes < KEPT_BYTES;
  }
}

/** False: wait for the sink's `drained()`. */
export function pass(part: Part, sink: Sink): boolean {
  switch (part.kind) {
    case 'head':
      sink.head(part.status, part.headers);
      return true;
    case 'event':
      return sink.event(part.event);
    case 'chunk':
      return sink.chunk(part.bytes);
    case 'end':
      sink.end();
      return true;
    case 'cut':
      sink.cut();
      return true;
  }
}
