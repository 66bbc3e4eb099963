/** Which sessions their clients are ending, here or at another proxy: what runs in them then is over, and lost nothing. */
import { hash as digest } from 'node:crypto';
import { BoundedMap } from './bounded.ts';
import type { JsonObject, Peers } from './contract.ts';

export interface Endings {
  /** A DELETE of the session is to go to its home. Resolves when all proxies know. */
  begin(id: string): Promise<void>;
  /** The home has not ended it. */
  failed(id: string): void;
  has(id: string): boolean;
  close(): void;
}

const BEGUN = 'session-ending';
const FAILED = 'session-kept';
/** Milliseconds that a DELETE waits for the other proxies. */
const HEARD_MS = 200;
/** Sessions that are remembered, and for how many milliseconds: by then the registry says whether they are over. */
const MOST = 20_000;
const KEPT_MS = 60_000;

/** `now` is in milliseconds. */
export function createEndings(peers: Peers, now: () => number): Endings {
  const begun = new BoundedMap<number>(MOST);
  const add = (hash: string): void => void begun.set(hash, now());
  const remove = (hash: string): void => void begun.delete(hash);
  const hashOf = ({ hash }: JsonObject): string => (typeof hash === 'string' ? hash : '');
  const hear = (then: () => void): undefined => {
    then();
  };
  const undo = [
    peers.on(BEGUN, (message) => hear(() => add(hashOf(message)))),
    peers.on(FAILED, (message) => hear(() => remove(hashOf(message)))),
  ];
  return {
    async begin(id) {
      const hash = digest('sha256', id);
      add(hash);
      await peers.ask(BEGUN, { hash }, { ms: HEARD_MS });
    },
    failed(id) {
      const hash = digest('sha256', id);
      remove(hash);
      peers.tell(FAILED, { hash });
    },
    has: (id) => now() - (begun.get(digest('sha256', id)) ?? -Infinity) < KEPT_MS,
    close: () => undo.forEach((one) => one()),
  };
}
