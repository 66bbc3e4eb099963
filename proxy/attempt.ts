/** One attempt at one backend as it goes on: whoever carries the bytes tells it, and it says how the attempt has ended. */
import { readAnswer } from './answer.ts';
import type { Answer } from './reading.ts';
import { silence } from './blame.ts';
import type { Attempt, Exchange, RawHeaders, Session, Sink } from './contract.ts';
import { headerValue, isEventStream } from './headers.ts';
import { idsOf } from './jsonrpc.ts';

/** `redirected`: the same backend is to be asked at another path; nothing ran, and nothing was shown. */
export type Ended = Attempt | { readonly kind: 'redirected'; readonly target: string };

export type Trying = {
  readonly exchange: Exchange;
  readonly session: Session | undefined;
  readonly sink: Sink;
  /** Milliseconds between the parts of an answer that is no event stream; 0 for no limit. */
  readonly answerMs: number;
  /** What a head means: the answer's fields as the client may see them, or the path and query to ask instead. */
  readonly read: (status: number, raw: RawHeaders) => { readonly headers: RawHeaders } | { readonly instead: string };
  /** Whose trouble it was that nothing was sent. */
  readonly blame: (cause: Error) => Extract<Attempt, { kind: 'unsent' }>['blame'];
};

/** The body of a redirect is nobody's; its connection is worth reading so much, and waiting so long. */
const REDIRECT_BYTES = 64 * 1024;
const REDIRECT_MS = 1000;

/** Resolved once. Where the exchange's signal is aborted already, that is before the constructor returns. */
export class RunningAttempt {
  readonly #trying: Trying;
  readonly #resolve: (ended: Ended) => void;
  readonly #timer = newTimer(() => this.breakOff(silence()));
  #settled = false;
  #leave: (() => void) | undefined;
  #answer: Answer | undefined;
  #instead: string | undefined;
  #skipped = 0;

  constructor(trying: Trying, resolve: (ended: Ended) => void) {
    this.#trying = trying;
    this.#resolve = resolve;
    const { signal } = trying.exchange;
    if (signal.aborted) this.#abandon();
    else signal.addEventListener('abort', this.#abandon, { once: true });
  }

  /** It goes out on a connection, which `leave` closes. */
  started(leave: () => void): void {
    this.#leave = leave;
    if (this.#settled) leave();
  }

  /** The head of the answer, a final one. */
  head(status: number, raw: RawHeaders): void {
    const { exchange, read, answerMs } = this.#trying;
    const coding = headerValue(raw, 'transfer-encoding') ?? 'chunked';
    if (coding.trim().toLowerCase() !== 'chunked') return this.breakOff(new Error('an answer in a strange coding'));
    const meant = read(status, raw);
    if ('instead' in meant) {
      this.#instead = meant.instead;
      return this.#timer.start(REDIRECT_MS);
    }
    this.#answer = readAnswer(this.#trying, status, meant.headers);
    if (answerMs > 0 && (!isEventStream(raw) || exchange.intent.kind === 'open')) this.#timer.start(answerMs);
    return undefined;
  }

  /** False: nothing more until the sink is drained; `resumed` then. */
  data(chunk: Buffer): boolean {
    if (this.#instead !== undefined) return this.#skip(chunk.length);
    this.#timer.again();
    const more = this.#answer?.data(chunk);
    if (this.#answer?.waits?.() === false) this.#timer.stop();
    const over = this.#settled ? undefined : this.#answer?.over?.();
    if (over !== undefined) {
      this.#settle(over);
      this.#leave?.();
      return true;
    }
    if (more !== false) return true;
    this.#timer.hold();
    return false;
  }

  resumed(): void {
    this.#timer.again();
  }

  end(): void {
    if (this.#answer === undefined) this.failed(new Error('no answer'));
    else if (!this.#settled) this.#settle(this.#answer.end());
  }

  /** It has failed by itself. */
  failed(cause: Error): void {
    const { exchange, blame } = this.#trying;
    if (this.#settled) return undefined;
    if (exchange.signal.aborted) return this.#abandon();
    if (this.#instead !== undefined) return this.#settle({ kind: 'redirected', target: this.#instead });
    if (this.#leave === undefined) return this.#settle({ kind: 'unsent', cause, blame: blame(cause) });
    return this.#settle(this.#answer?.broken(cause) ?? { kind: 'lost', cause, unanswered: idsOf(exchange) });
  }

  /** It is to end as if the connection had broken. */
  breakOff(cause: Error): void {
    if (this.#settled) return;
    this.failed(cause);
    this.#leave?.();
  }

  #settle(ended: Ended): void {
    this.#settled = true;
    this.#timer.stop();
    this.#trying.exchange.signal.removeEventListener('abort', this.#abandon);
    this.#resolve(ended);
  }

  readonly #abandon = (): void => {
    this.#settle({ kind: 'abandoned' });
    this.#leave?.();
  };

  #skip(bytes: number): true {
    this.#skipped += bytes;
    if (this.#skipped > REDIRECT_BYTES) this.breakOff(new Error('the body of a redirect is too long'));
    return true;
  }
}

/** Tells of a silence; while the sink is full the silence is ours. */
function newTimer(tell: () => void) {
  let timer: NodeJS.Timeout | undefined;
  let due: NodeJS.Immediate | undefined;
  let held = false;
  return {
    start(ms: number): void {
      timer = setTimeout(() => {
        if (held) timer?.refresh();
        // What has come while we were busy is read first.
        else due = setImmediate(tell);
      }, ms);
    },
    again(): void {
      held = false;
      clearImmediate(due);
      timer?.refresh();
    },
    hold(): void {
      held = true;
    },
    stop(): void {
      clearImmediate(due);
      clearTimeout(timer);
      timer = undefined;
    },
  };
}
