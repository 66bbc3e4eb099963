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

/** Of an answer that is held back. */
const HELD_BYTES = 1024 * 1024;

function bytesOf(part: Part): number {
  if (part.kind === 'event') return part.event.raw.length;
  return part.kind === 'chunk' ? part.bytes.length : 0;
}

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
  #heldBytes = 0;
  readonly #tooMuch: (() => void) | undefined;

  /** `tooMuch` is called when an answer has to be held back that is longer than can be: it is to be broken off. */
  constructor(
    sink: Sink,
    exchange: Exchange,
    session: Session | undefined,
    home: Backend,
    rooms: KeeperRooms,
    tooMuch?: () => void,
  ) {
    this.#sink = sink;
    this.#tooMuch = tooMuch;
    this.#keeper = createKeeper(exchange, session, home, rooms);
  }

  get shown(): Sink['shown'] {
    return this.#sink.shown;
  }

  /** The fields of a head that the client has not been shown. */
  get heldHead(): RawHeaders | undefined {
    const [first] = this.#queue;
    return first?.kind === 'head' ? first.headers : undefined;
  }

  head(status: number, headers: RawHeaders): void {
    this.#push({ kind: 'head', status, headers });
  }

  event(event: SseEvent): boolean {
    return this.#push({ kind: 'event', event });
  }

  chunk(bytes: Buffer): boolean {
    return this.#push({ kind: 'chunk', bytes });
  }

  end(): void {
    this.#push({ kind: 'end' });
  }

  cut(): void {
    this.#broken = true;
    this.#sink.cut();
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
    this.#heldBytes += bytesOf(part);
    this.#pump();
    if (this.#tooMuch && this.#storing === undefined && this.#heldBytes > HELD_BYTES) {
      this.#broken = true;
      this.#tooMuch();
    }
    return this.#storing === undefined && this.#more;
  }

  #pump(): void {
    while (this.#storing === undefined && !this.#broken) {
      const [part] = this.#queue;
      if (part === undefined) return;
      const wanted = this.#keeper.wants(this.#queue);
      if (wanted === 'more') return;
      if (wanted !== 'nothing') {
        this.#storing = this.#store(wanted);
        return;
      }
      this.#queue.shift();
      this.#heldBytes -= bytesOf(part);
      this.#more = pass(part, this.#sink);
    }
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
