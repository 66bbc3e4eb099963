/** What can be said of an id without asking the registry: that it was unknown a moment ago, or that some proxy has its session. */

import { BoundedMap } from '../bounded.ts';
import { type Peers, REDIS, type Sessions } from '../contract.ts';
import { UNKNOWN_MS } from '../guesses.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { ENDED, hashOf } from './changes.ts';

/** Told with the hash of its id when a session is opened. */
const OPENED = 'session/opened';
/** Ids that were unknown, and sessions that were heard of: hashes, the oldest go first. */
const MOST_UNKNOWN = 10_000;
const MOST_HEARD = 20_000;

export type RecallOptions = {
  /** Whether this proxy knows the session itself, so that looking for it costs nothing. */
  readonly knows: (id: string) => boolean;
  readonly peers: Pick<Peers, 'tell' | 'on'>;
  /** What others change; undefined: there is nobody else. */
  readonly link?: Pick<RedisConnection['link'], 'hear' | 'onLink'>;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
};

export type RecallingSessions = Sessions & Required<Pick<Sessions, 'known'>>;

/** The same sessions, with `known`. Closes `sessions`. */
export function recallingSessions(sessions: Sessions, options: RecallOptions): RecallingSessions {
  const { knows, peers, link, now = Date.now } = options;
  const recall = newRecall(now);
  const undo = [
    peers.on(OPENED, ({ hash }) => {
      if (typeof hash === 'string') recall.heard(hash);
      return undefined;
    }),
    ...(link === undefined ? [] : [link.hear(REDIS.changes, recall.changed), link.onLink(recall.linked)]),
  ];
  if (link === undefined) recall.linked(true);

  return {
    ...sessions,
    async find(id, how) {
      const since = recall.moment();
      const found = await sessions.find(id, how);
      if (found === undefined) recall.missed(hashOf(id), since);
      else if (recall.doubts()) recall.found(hashOf(id));
      return found;
    },
    async create(session) {
      const created = await sessions.create(session);
      if (created === 'created') {
        const hash = hashOf(session.id);
        recall.heard(hash);
        peers.tell(OPENED, { hash });
      }
      return created;
    },
    known(id) {
      if (recall.isNowhere(id)) return 'nowhere';
      return knows(id) || recall.hasHeard(id) ? 'here' : 'unclear';
    },
    async close() {
      for (const one of undo) one();
      await sessions.close();
    },
  };
}

function newRecall(now: () => number) {
  const unknown = new BoundedMap<number>(MOST_UNKNOWN);
  /** By when it was heard of, in steps of `moment`. */
  const heard = new BoundedMap<number>(MOST_HEARD);
  let linked = false;
  let moment = 0;

  function hearOf(hash: string): void {
    unknown.delete(hash);
    heard.set(hash, (moment += 1));
  }
  return {
    heard: hearOf,
    /** A message of the channel of changes. */
    changed: (message: string): void => {
      const [, hash = '', what] = message.split(' ');
      if (what === ENDED) heard.delete(hash);
      else hearOf(hash);
    },
    /** Nothing holds that might have changed unheard. */
    linked: (heardNow: boolean): void => {
      linked = heardNow;
      unknown.clear();
      if (!linked) heard.clear();
    },
    moment: () => moment,
    /** It was looked for in vain, since then; it may have been opened meanwhile. */
    missed(hash: string, since: number): void {
      if (!linked || (heard.get(hash) ?? 0) > since) return;
      heard.delete(hash);
      unknown.set(hash, now());
    },
    doubts: () => unknown.size > 0,
    found: (hash: string): void => void unknown.delete(hash),
    // Nearly always nothing was unknown: then it costs no hash.
    isNowhere: (id: string): boolean => unknown.size > 0 && now() - (unknown.get(hashOf(id)) ?? -Infinity) < UNKNOWN_MS,
    hasHeard: (id: string): boolean => heard.has(hashOf(id)),
  };
}
