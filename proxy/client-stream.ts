/** A client's listening stream: attached to its session's home, and before it moves to a new one, to both. */
import { Attachment } from './attachment.ts';
import type { SendListening } from './attachment.ts';
import type { Backend, Exchange, Session, Sink } from './contract.ts';

/** How the stream of one client's GET is made and shown. */
export type ClientStreamParts = {
  readonly exchange: Exchange;
  readonly client: Sink;
  /** Asks a backend for its stream from now on. */
  readonly listenAt: (session: Session, to: Backend) => SendListening;
  /** The client's sink for what comes from this home; called once for each, when the client is to get it. */
  readonly sinkFor: (session: Session) => Sink;
};

/** Possible homes that it is attached to at once: more proxies than that seldom migrate one session. */
const MOST_PREPARED = 4;

export class ClientStream {
  readonly exchange: Exchange;
  readonly #parts: ClientStreamParts;
  #session: Session;
  #current: Attachment | undefined;
  /** What may become the new home, by backend session id: several proxies may migrate a session at once. */
  readonly #prepared = new Map<string, Attachment>();

  constructor(session: Session, parts: ClientStreamParts) {
    this.#session = session;
    this.#parts = parts;
    this.exchange = parts.exchange;
  }

  /** As its home of now knows it, or the last one did. */
  get session(): Session {
    return this.#session;
  }

  /**
   * What it is attached to: this home, for which it may have been prepared, or a later one; undefined where it must be
   * attached first.
   */
  attachedTo(session: Session): Attachment | undefined {
    if (this.#prepared.has(session.backendSessionId)) this.moved(session);
    const { epoch, home } = session;
    const there = this.#current?.session;
    if (there === undefined || there.epoch < epoch) return undefined;
    return there.epoch > epoch || there.home.id === home.id ? this.#current : undefined;
  }

  /** The home has begun the stream, so the client can be reached through it. */
  reaches(session: Session): boolean {
    return this.#current?.session.backendSessionId === session.backendSessionId && this.#current.open;
  }

  attach(session: Session, to: Backend, send: SendListening): Attachment {
    this.#current?.leave();
    this.#session = session;
    this.#current = new Attachment(session, to, this.#parts.client, send);
    this.#current.deliver(this.#parts.sinkFor(session));
    return this.#current;
  }

  /** It has ended there. */
  detach(attachment: Attachment): void {
    if (this.#current === attachment) this.#current = undefined;
  }

  /**
   * Listens at what may become the new home too, and keeps back what comes; a stream that is open there already stays.
   * Resolves with the status that it began with.
   */
  prepare(housed: Session, to: Backend): Promise<number> {
    const { backendSessionId } = housed;
    const there = this.#prepared.get(backendSessionId);
    if (there !== undefined && !there.over) return there.begun;
    const [oldest] = this.#prepared.keys();
    if (oldest !== undefined && this.#prepared.size >= MOST_PREPARED) this.discard(oldest);
    const attachment = new Attachment(housed, to, this.#parts.client, this.#parts.listenAt(housed, to));
    this.#prepared.set(backendSessionId, attachment);
    return attachment.begun;
  }

  /** It does not become the home, or will not have the stream. */
  discard(backendSessionId: string): void {
    this.#prepared.get(backendSessionId)?.leave();
    this.#prepared.delete(backendSessionId);
  }

  /** The session has this home now, or none: the old one is left. What was true earlier changes nothing. */
  moved(now: Session | undefined): void {
    const { epoch, home } = this.#session;
    if (now !== undefined && (now.epoch < epoch || (now.epoch === epoch && now.home.id === home.id))) return;
    const next = now && this.#prepared.get(now.backendSessionId);
    const left = this.#current;
    if (now !== undefined && next !== undefined) {
      this.#session = now;
      this.#current = next;
      this.#prepared.delete(now.backendSessionId);
    }
    left?.leave();
    if (now !== undefined) next?.deliver(this.#parts.sinkFor(now));
  }

  close(): void {
    this.#current?.leave();
    for (const backendSessionId of this.#prepared.keys()) this.discard(backendSessionId);
  }
}
