/** What an answer of a backend is read with, and what reads it. */
import type { Attempt, Exchange, Session, Sink } from './contract.ts';

/** A body being read, a body being passed through, or a stream of events. */
export interface Answer {
  /** False: wait for the sink's `drained()`. */
  data(chunk: Buffer): boolean;
  /** The backend has ended its answer. */
  end(): Attempt;
  /** The connection broke. */
  broken(cause: Error): Attempt;
  /** Of a stream: whether a request is still unanswered. */
  waits?(): boolean;
  /** How the attempt has ended before the backend's answer has: what follows is of no use. */
  over?(): Attempt | undefined;
}

/** How an answer is to be read: what it belongs to, and where it goes. */
export type Reading = { readonly exchange: Exchange; readonly session: Session | undefined; readonly sink: Sink };
