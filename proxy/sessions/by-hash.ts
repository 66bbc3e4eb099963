/** Sessions as operators see them: by the SHA-256 of their ids in hex, for an id is a bearer secret. */

import type { Session } from '../contract.ts';
import { isObject } from '../jsonrpc.ts';

/** Neither the client's id of it nor its home's. */
export type SeenSession = Omit<Session, 'id' | 'backendSessionId'> & { readonly hash: string };

export type SessionsPage = {
  readonly sessions: readonly SeenSession[];
  /** The cursor of the next page; undefined: this was the last. */
  readonly next: string | undefined;
};

export type PageOptions = {
  /** The home's id; undefined: all. */
  readonly backend: string | undefined;
  /** At least 1. */
  readonly limit: number;
  readonly after: Cursor | undefined;
};

export type EndedSession = {
  readonly seen: SeenSession;
  /** With its ids, where this proxy has served it and knows them. */
  readonly session: Session | undefined;
};

/** All throw SessionsUnavailable. */
export interface SessionsByHash {
  /** Does not renew its idle life. */
  find(hash: string): Promise<SeenSession | undefined>;
  /**
   * At most `limit`, in the order in which their idle lives end. A session whose life is renewed between two pages may
   * come again, none that lives, and stays at its home, is left out; and a page may be short, or empty, before the last.
   */
  page(options: PageOptions): Promise<SessionsPage>;
  /** Sessions per home, as they are now. */
  count(): Promise<ReadonlyMap<string, number>>;
  /** Every proxy hears of it, this one too. Undefined: there was none. */
  end(hash: string): Promise<EndedSession | undefined>;
}

/** The last session of a page: its home, when its idle life ended then (in milliseconds since 1970), and its hash. */
export type Cursor = { readonly backend: string; readonly until: number; readonly hash: string };

export function writeCursor({ backend, until, hash }: Cursor): string {
  return Buffer.from(JSON.stringify({ backend, until, hash })).toString('base64url');
}

/** Undefined when it is none of ours. */
export function readCursor(text: string): Cursor | undefined {
  try {
    const said: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (!isObject(said)) return undefined;
    const { backend, until, hash } = said;
    if (typeof backend !== 'string' || typeof until !== 'number' || typeof hash !== 'string') return undefined;
    return { backend, until, hash };
  } catch {
    return undefined;
  }
}

export function isAfter(cursor: Cursor, { until, hash }: Omit<Cursor, 'backend'>): boolean {
  return until > cursor.until || (until === cursor.until && hash > cursor.hash);
}

export function seen(hash: string, session: Session): SeenSession {
  const { id: _id, backendSessionId: _theirs, ...rest } = session;
  return { ...rest, hash };
}
