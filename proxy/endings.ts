/** Which sessions their clients are ending, here or at another proxy: what runs in them then is over, and lost nothing. */
import { hash as digest } from 'node:crypto';
import { boundedSet } from './bounded-set.ts';
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
/** Sessions that are remembered. */
const MOST = 20_000;

export function createEndings(peers: Peers): Endings {
  const hashes = boundedSet(MOST);
  const hashOf = ({ hash }: JsonObject): string => (typeof hash === 'string' ? hash : '');
  const hear = (then: () => void): undefined => {
    then();
  };
  const undo = [
    peers.on(BEGUN, (message) => hear(() => hashes.add(hashOf(message)))),
    peers.on(FAILED, (message) => hear(() => hashes.delete(hashOf(message)))),
  ];
  return {
    async begin(id) {
      const hash = digest('sha256', id);
      hashes.add(hash);
      await peers.ask(BEGUN, { hash }, { ms: HEARD_MS });
    },
    failed(id) {
      const hash = digest('sha256', id);
      hashes.delete(hash);
      peers.tell(FAILED, { hash });
    },
    has: (id) => hashes.has(digest('sha256', id)),
    close: () => undo.forEach((one) => one()),
  };
}
