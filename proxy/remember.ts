/** A sink before the sink: holds back an answer that changes the session until the registry has stored the change. */
import { asError } from './as-error.ts';
import { pass } from './attachment.ts';
import type { Backend, Exchange, RawHeaders, Session, Sink, SseEvent } from './contract.ts';
import { createKeeper } from './keeper.ts';
import type { Change, Keeper, KeeperRooms, Kept, Part } from './keeper.ts';
import { remembered } from './journal.ts';

/** Whether an exchange can change the session at all: most cannot, and go straight to the client. */
export function mayChange({ intent }: Exchange): boolean {
  if (intent.kind === 'open') return true;
  if (intent.kind === 'any') return false;
  return intent.verb === 'end' || intent.messages.some((message) => remembered(message) !== undefined);
}

export type Holding = KeeperRooms & {
  /** Told that the attempt is to be broken off: its answer is too long to be held back. */
  readonly tooLong: () => void;
};

/** Held back of one answer, in bytes. */
const HELD_BYTES = 1024 * 1024;
/** What each part costs besides: thousands of the shortest events would take many times what they say. */
const PART_BYTES = 256;

export class RememberingSink implements Sink {
  readonly #sink: Sink;
  readonly #keeper: Keeper;
  /** Parts that the client has not been shown. */
  #queue: Part[] = [];
  #storing: Promise<void> | undefined;
  #kept: Kept = { kind: 'stored' };
  #bug: Error | undefined;
  #more = true;
  #broken = false;
  #heard: RawHeaders = [];
  #bytes = 0;
  readonly #tooLong: () => void;

  constructor(sink: Sink, exchange: Exchange, session: Session | undefined, home: Backend, rooms: Holding) {
    this.#sink = sink;
    this.#tooLong = rooms.tooLong;
    this.#keeper = createKeeper(exchange, session, home, rooms);
  }

  get shown(): Sink['shown'] {
    return this.#sink.shown;
  }

  /** The fields of the backend's head, shown or not; none where none has come. */
  get heardHead(): RawHeaders {
    return this.#heard;
  }

  heard(headers: RawHeaders): void {
    this.#heard = headers;
  }

  head(status: number, headers: RawHeaders): void {
    this.#heard = headers;
    this.#push({ kind: 'head', status, headers });
  }

  event(event: SseEvent): boolean {
    return this.#push({ kind: 'event', event });
  }

  chunk(bytes: Buffer): boolean {
    return this.#push({ kind: 'chunk', bytes });
  }

  answered(): void {
    this.#sink.answered?.();
  }

  end(): void {
    this.#push({ kind: 'end' });
  }

  /** What the client has not begun to see can be replaced. */
  cut(): void {
    this.#broken = true;
    if (this.shown !== 'nothing') this.#sink.cut();
  }

  async drained(): Promise<void> {
    await this.#storing;
    if (this.#more) return;
    await this.#sink.drained();
    this.#more = true;
  }

  /** What became of the change, when the attempt is over. Throws what is a bug. */
  async settled(): Promise<Kept> {
    while (this.#storing !== undefined) await this.#storing;
    if (this.#bug !== undefined) throw this.#bug;
    return this.#kept;
  }

  #push(part: Part): boolean {
    if (this.#broken) return true;
    this.#queue.push(part);
    this.#bytes += bytesOf(part);
    this.#pump();
    return this.#storing === undefined && this.#more;
  }

  #pump(): void {
    while (this.#storing === undefined && !this.#broken) {
      const [part] = this.#queue;
      if (part === undefined) return;
      const wanted = this.#keeper.wants(this.#queue);
      if (wanted === 'more') {
        if (this.#bytes <= HELD_BYTES) return;
        if (this.#keeper.lenient !== true) return this.#giveUp();
      } else if (wanted !== 'nothing') {
        this.#storing = this.#store(wanted);
        return;
      }
      this.#queue.shift();
      this.#bytes -= bytesOf(part);
      this.#more = pass(part, this.#sink);
    }
  }

  #giveUp(): void {
    this.#kept = { kind: 'too-long', cause: new Error('the answer is too long before it says what it must') };
    this.#broken = true;
    this.#queue = [];
    this.#tooLong();
  }

  async #store(change: Change): Promise<void> {
    try {
      this.#kept = await this.#keeper.store(change);
      this.#broken = this.#kept.kind !== 'stored';
    } catch (error) {
      this.#bug = asError(error);
      this.#broken = true;
    }
    this.#storing = undefined;
    this.#pump();
  }
}

function bytesOf(part: Part): number {
  if (part.kind === 'chunk') return PART_BYTES + part.bytes.length;
  return PART_BYTES + (part.kind === 'event' ? part.event.raw.length : 0);
}
