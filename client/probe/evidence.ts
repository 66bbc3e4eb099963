/** What the probe saw, line by line, and what it comes to; no line holds a session id. */

import { createHash } from 'node:crypto';

/** One line: an HTTP exchange at its end, or the failure of a call (or of the opening) that no exchange shows. */
export type Row = {
  /** When it began, ISO 8601. */
  readonly time: string;
  /** From 1; null for what belongs to no call. */
  readonly call: number | null;
  /** Null where the row is no exchange. */
  readonly method: string | null;
  readonly jsonrpc_method: string | null;
  /** Null where no answer came. */
  readonly status: number | null;
  /** Until the last byte of the answer, to a tenth. */
  readonly milliseconds: number;
  readonly task_id: string | null;
  /** The first 8 hex digits of the session id's SHA-256: the id itself is a secret. */
  readonly session: string | null;
  readonly error?: string;
};

/** A row before it is written: with the session's id, and with an error as it was said. */
export type Seen = Omit<Row, 'session' | 'error'> & {
  readonly session: string | undefined;
  readonly error: string | undefined;
};

/** What all rows so far come to. */
export type Sums = {
  readonly statuses: Readonly<Record<string, number>>;
  /** Answers of 404 that say that there is no such session. */
  readonly sessionsNotFound: number;
  readonly errorRows: number;
  /** How many session ids were used. */
  readonly sessions: number;
};

export type Evidence = {
  add(seen: Seen): void;
  sessionNotFound(): void;
  /** To be told before the id can be in any text. */
  sessionUsed(id: string): void;
  /** The text without session ids and secrets, on one line, cut. */
  clean(text: string): string;
  sums(): Sums;
};

const LONGEST_ERROR = 300;

/** What is shorter would hide words of an error rather than a secret, `Bearer` among them. */
const SHORTEST_SECRET = 8;

/** `write` gets each row; of `secrets`, those of 8 characters and more are never in one. */
export function createEvidence(write: (row: Row) => void, secrets: readonly string[]): Evidence {
  const statuses: Record<string, number> = {};
  const sessions = new Set<string>();
  const hidden = secrets.filter(({ length }) => length >= SHORTEST_SECRET);
  let sessionsNotFound = 0;
  let errorRows = 0;

  const clean = (text: string) => {
    let safe = text;
    for (const id of sessions) safe = safe.replaceAll(id, hashed(id));
    for (const secret of hidden) safe = safe.replaceAll(secret, '***');
    return safe.replaceAll(/\s+/g, ' ').trim().slice(0, LONGEST_ERROR);
  };
  return {
    add({ time, call, method, jsonrpc_method, status, milliseconds, task_id, session, error }) {
      if (status !== null) statuses[status] = (statuses[status] ?? 0) + 1;
      if (error !== undefined) errorRows += 1;
      const tenths = Math.round(milliseconds * 10) / 10;
      const row = { time, call, method, jsonrpc_method, status, milliseconds: tenths, task_id };
      const named = { ...row, session: session === undefined ? null : hashed(session) };
      write(error === undefined ? named : { ...named, error: clean(error) });
    },
    sessionNotFound: () => void (sessionsNotFound += 1),
    sessionUsed: (id) => void sessions.add(id),
    clean,
    sums: () => ({ statuses, sessionsNotFound, errorRows, sessions: sessions.size }),
  };
}

function hashed(session: string): string {
  return createHash('sha256').update(session).digest('hex').slice(0, 8);
}
