/** Sessions in memory whose equal parts are kept once, and how many bytes they take. */

import { hash as digest } from 'node:crypto';
import type { JsonObject, Session } from '../contract.ts';
import { sizeOf, sizeOfText } from './size.ts';

/** Bytes: what a session takes apart from its parts and its ids, and a part apart from its value. */
const [SESSION, PART] = [800, 400];

/** Of many sessions, for many are of the same client program at the same server. */
export class SharedParts {
  readonly #objects = new Parts<JsonObject>();
  readonly #homes = new Parts<Session['home']>();
  readonly #lists = new Parts<readonly string[]>();
  readonly #texts = new Parts<string>();
  #ownBytes = 0;

  /** Of all sessions that are kept: an estimate that is rather too high. */
  get bytes(): number {
    const parts = [this.#objects, this.#homes, this.#lists, this.#texts];
    return parts.reduce((sum, { bytes }) => sum + bytes, this.#ownBytes);
  }

  /** The session to keep in place of an equal one, until it is dropped. */
  keep(session: Session): Session {
    this.#ownBytes += ownBytesOf(session);
    const { path, journal } = session;
    const { initializeText } = journal;
    const parts = {
      home: this.#homes.use(session.home),
      protocolVersion: this.#texts.use(session.protocolVersion),
      capabilities: this.#objects.use(session.capabilities),
      serverInfo: this.#objects.use(session.serverInfo),
      safeTools: this.#lists.use(session.safeTools),
      ...(path !== undefined && { path: this.#texts.use(path) }),
    };
    const told = {
      initialize: this.#objects.use(journal.initialize),
      subscriptions: journal.subscriptions.length === 0 ? NONE : journal.subscriptions,
      ...(initializeText !== undefined && { initializeText: this.#texts.use(initializeText) }),
    };
    return { ...session, ...parts, journal: { ...journal, ...told } };
  }

  /** `session` is what `keep` has returned. */
  drop({ home, protocolVersion, capabilities, serverInfo, safeTools, path, journal, ...rest }: Session): void {
    this.#ownBytes -= ownBytesOf({ ...rest, journal });
    this.#homes.release(home);
    for (const one of [capabilities, serverInfo, journal.initialize]) this.#objects.release(one);
    for (const one of [protocolVersion, path, journal.initializeText]) if (one !== undefined) this.#texts.release(one);
    this.#lists.release(safeTools);
  }
}

const NONE: readonly string[] = [];

function ownBytesOf({
  id,
  backendSessionId,
  journal: { subscriptions },
}: Pick<Session, 'id' | 'backendSessionId' | 'journal'>): number {
  const ids = sizeOfText(id) + (backendSessionId === id ? 0 : sizeOfText(backendSessionId));
  return SESSION + ids + (subscriptions.length === 0 ? 0 : sizeOf(subscriptions));
}

/** Characters of a text that is as good as its hash. */
const SHORT = 256;

type Part<T> = { readonly value: T; readonly content: string; readonly bytes: number; uses: number };

/** Equal values of one kind: each is kept while somebody uses it. */
class Parts<T> {
  readonly #byContent = new Map<string, Part<T>>();
  readonly #byValue = new Map<T, Part<T>>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** The value to be used in place of an equal one, until it is released. */
  use(value: T): T {
    const part = this.#byValue.get(value) ?? this.#partOf(value);
    part.uses += 1;
    return part.value;
  }

  release(value: T): void {
    const part = this.#byValue.get(value);
    if (part === undefined) return;
    part.uses -= 1;
    if (part.uses > 0) return;
    this.#byValue.delete(part.value);
    this.#byContent.delete(part.content);
    this.#bytes -= part.bytes;
  }

  #partOf(value: T): Part<T> {
    const text = JSON.stringify(value);
    const content = text.length < SHORT ? text : digest('sha256', text, 'base64');
    const there = this.#byContent.get(content);
    if (there !== undefined) return there;
    const part = { value, content, bytes: PART + sizeOf(value), uses: 0 };
    this.#byContent.set(content, part);
    this.#byValue.set(value, part);
    this.#bytes += part.bytes;
    return part;
  }
}
