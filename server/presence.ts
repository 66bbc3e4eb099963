/** What a backend knows of each session that came through a proxy: what runs, what is asked, and whether it waits. */

import type { ServerResponse } from 'node:http';
import { answersIn, type Asking, type Question } from './questions.ts';

/** One request of a session, until its response is closed. */
export type Running = {
  readonly response: ServerResponse;
  /** A GET: it does not keep its session from being quiet. */
  readonly listening: boolean;
};

export type Presence<R extends Running> = {
  readonly id: string;
  /** No request but listening ones is running, and no question to the client is open. */
  readonly quiet: boolean;
  /** A question to the client is open. */
  readonly asking: boolean;
  readonly running: ReadonlySet<R>;
  enter(running: R): void;
  /** Its response is closed; questions asked in it are closed with it, unless it listened. */
  leave(running: R): void;
  /** A handler has answered a request of it with success: it is a session, not only a name. */
  confirm(): void;
  note(asking: Asking, where: R): void;
  /** The client has posted this: parsed JSON, or its text or bytes. */
  answered(body: unknown): void;
};

export type Presences<R extends Running> = {
  /** The session, known and not handed over from now on. */
  use(id: string): Presence<R>;
  find(id: string): Presence<R> | undefined;
  /** After its last request: renews its idle life, or forgets what was only a name. */
  rest(presence: Presence<R>): void;
  handOver(id: string): void;
  forget(presence: Presence<R>): void;
  all(): readonly Presence<R>[];
  /** How many sessions are known and not handed over; those are left out whose idle life is over. */
  waiting(): number;
};

/** More open questions than any client is asked: the oldest is forgotten. */
const MOST_QUESTIONS = 1000;

type Entry<R extends Running> = Presence<R> & { readonly confirmed: boolean };

/** Sessions are forgotten `idleMs` after their last request has ended. `now` is a clock in milliseconds. */
export function createPresences<R extends Running>(idleMs: number, now: () => number): Presences<R> {
  /** In the order of their last use: who is idle for longest stands in front. */
  const entries = new Map<string, { readonly entry: Entry<R>; readonly seen: number }>();
  const waiting = new Set<Presence<R>>();

  const see = (entry: Entry<R>) => {
    entries.delete(entry.id);
    entries.set(entry.id, { entry, seen: now() });
  };
  const forget = (presence: Presence<R>) => {
    waiting.delete(presence);
    if (entries.get(presence.id)?.entry === presence) entries.delete(presence.id);
  };
  const sweep = () => {
    for (const { entry, seen } of entries.values()) {
      if (seen + idleMs > now()) return;
      if (entry.running.size > 0) see(entry);
      else forget(entry);
    }
  };

  return {
    use(id) {
      sweep();
      const entry = entries.get(id)?.entry ?? newEntry<R>(id);
      see(entry);
      waiting.add(entry);
      return entry;
    },
    find: (id) => entries.get(id)?.entry,
    rest(presence) {
      const known = entries.get(presence.id)?.entry;
      if (known !== presence) return;
      if (known.running.size === 0 && !known.confirmed) forget(known);
      else see(known);
    },
    handOver(id) {
      const known = entries.get(id)?.entry;
      if (known) waiting.delete(known);
    },
    forget,
    all: () => [...entries.values()].map(({ entry }) => entry),
    waiting() {
      sweep();
      return waiting.size;
    },
  };
}

function newEntry<R extends Running>(id: string): Entry<R> {
  const running = new Set<R>();
  const questions = new Map<Question, R>();
  let busy = 0;
  let confirmed = false;

  return {
    id,
    running,
    get quiet() {
      return busy === 0 && questions.size === 0;
    },
    get asking() {
      return questions.size > 0;
    },
    get confirmed() {
      return confirmed;
    },
    enter(one) {
      running.add(one);
      if (!one.listening) busy += 1;
    },
    leave(one) {
      if (!running.delete(one) || one.listening) return;
      busy -= 1;
      for (const [question, where] of questions) if (where === one) questions.delete(question);
    },
    confirm() {
      confirmed = true;
    },
    note({ kind, question }, where) {
      questions.delete(question);
      if (kind === 'cancelled') return;
      questions.set(question, where);
      const [oldest] = questions.keys();
      if (questions.size > MOST_QUESTIONS && oldest) questions.delete(oldest);
    },
    answered(body) {
      for (const question of answersIn(body)) questions.delete(question);
    },
  };
}
