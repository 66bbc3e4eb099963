/** Which session a message on the channel of changes is about, and whether another proxy wrote it. */

import { hash as digest, randomBytes } from 'node:crypto';
import { BoundedMap } from '../bounded.ts';
import { newListeners } from '../listeners.ts';

/** Sessions whose id is kept to recognise their hash; the oldest go first. */
const MOST_KNOWN = 1_000_000;

/** A session that has ended. */
export type Ending = {
  readonly hash: string;
  /** Tells it from another of the same id, in milliseconds since 1970; undefined where the registry had lost it. */
  readonly createdAt: number | undefined;
};

export type Changes = {
  /** Changes of this session will be heard from now on. Returns the SHA-256 of its id, in hex. */
  readonly know: (id: string) => string;
  /** The id of a session that is known. */
  readonly idOf: (hash: string) => string | undefined;
  /** They need not be heard any more. */
  readonly forget: (id: string) => void;
  /** What this proxy publishes when it changes the session; the registry adds to it that, and which, session it ended. */
  readonly message: (hash: string) => string;
  /** Messages written until now count as another proxy's. */
  readonly renewToken: () => void;
  /** Takes a message from the channel. */
  readonly hear: (message: string) => void;
  /** Another proxy has changed a session that is known. Returns an idempotent undo. */
  readonly onChange: (f: (id: string) => void) => () => void;
  /** A session has ended, whoever ended it, and whether it is known or not. Told before `onChange`. Returns an idempotent undo. */
  readonly onEnd: (f: (ending: Ending) => void) => () => void;
};

/** Between the writer and hash of a message and when the session was created. */
export const ENDED = 'ended';

export function newChanges(): Changes {
  const listeners = newListeners<string>();
  const endings = newListeners<Ending>();
  /** By hash. */
  const ids = new BoundedMap<string>(MOST_KNOWN);
  let token = newToken();

  return {
    know(id) {
      const hash = hashOf(id);
      ids.set(hash, id);
      return hash;
    },
    idOf: (hash) => ids.get(hash),
    forget: (id) => void ids.delete(hashOf(id)),
    message: (hash) => `${token} ${hash}`,
    renewToken() {
      token = newToken();
    },
    hear(message) {
      const [writer, hash = '', what, createdAt] = message.split(' ');
      const id = ids.get(hash);
      if (what === ENDED) endings.tell({ hash, createdAt: createdAt === undefined ? undefined : Number(createdAt) });
      if (writer !== token && id !== undefined) listeners.tell(id);
    },
    onChange: listeners.add,
    onEnd: endings.add,
  };
}

/** The SHA-256 of a session's id, in hex. */
export function hashOf(id: string): string {
  return digest('sha256', id);
}

function newToken(): string {
  return randomBytes(8).toString('hex');
}
