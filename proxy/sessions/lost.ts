/** Sessions that the registry has lost: asked for among the other proxies, and put back by those that know them. */

import { BoundedMap } from '../bounded.ts';
import type { JsonObject, Peers, Session } from '../contract.ts';
import type { LinkedSessions } from './cached.ts';
import { hashOf } from './changes.ts';
import { newLimit } from '../limit.ts';
import type { Endings } from './endings.ts';

/** What the proxies ask each other, with the hash of the session's id: whether they know it, and to put it back. */
export const TOPIC = { whoKnows: 'session/who-knows', putBack: 'session/put-back' } as const;
/** Milliseconds until others are not waited for any longer. */
const OTHERS_TAKE = 300;
/** Sessions that are asked for at the same time, and that wait to be, so many milliseconds at most. */
const MOST_ASKED = 64;
const MOST_WAITING = 1_024;
const TURN_COMES = 1_000;
/** Milliseconds for which an answer holds, of so many sessions. */
const HOLDS = 1_000;
const MOST_HELD = 4_096;
/** Milliseconds within which nobody is told twice to try again. */
const PATIENCE = 10_000;

/** `unsure`: not everybody could be asked, so it may be known all the same. */
export type Verdict = 'put back' | 'unknown' | 'unsure';

export type LostOptions = {
  /** Undefined: there is nobody else. */
  readonly peers: Peers | undefined;
  readonly store: LinkedSessions;
  readonly endings: Endings;
  /** What this proxy knows of the session, and must be in the registry. */
  readonly vouched: (id: string) => Session | undefined;
  /** Sees that what this proxy knows is in the registry. Never rejects. */
  readonly secure: (id: string) => Promise<void>;
  /** Told what the others said of a session that the registry does not have. */
  readonly onAnswers: (answers: readonly JsonObject[]) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

export type LostSessions = {
  /**
   * Where the registry does not have the session, and this proxy does not know it. `unsure` is said at most once in 10 s
   * of one session. Throws SessionsUnavailable.
   */
  readonly find: (id: string) => Promise<Verdict>;
  /**
   * Has the others put back what they know of it, where the registry may have it in an older state. Returns whether
   * anybody was asked and knew it. Never rejects.
   */
  readonly putBack: (id: string) => Promise<boolean>;
  /** Whether this very session has ended, as far as was heard. */
  readonly hasEnded: (session: Session) => boolean;
  readonly close: () => void;
};

export function newLostSessions(options: LostOptions): LostSessions {
  const { peers, endings } = options;
  const verdicts = newVerdicts(options.now);
  const limit = newLimit(MOST_ASKED);
  const asked = new Map<string, Promise<Verdict>>();
  const puttingBack = new Map<string, Promise<boolean>>();
  const undo = peers === undefined ? [] : answer(peers, options);

  return {
    async find(id) {
      const hash = hashOf(id);
      if (peers === undefined) return 'unknown';
      const last = verdicts.of(hash);
      if (last !== undefined) return last;
      if (asked.size >= MOST_ASKED + MOST_WAITING && !asked.has(hash)) return 'unsure';
      const since = performance.now();
      const turn = async (): Promise<Verdict> => {
        if (performance.now() - since > TURN_COMES) return 'unsure';
        return verdicts.add(hash, await ask(peers, options, id));
      };
      return once(asked, hash, () => limit.run(turn));
    },
    async putBack(id) {
      const hash = hashOf(id);
      if (peers === undefined || (puttingBack.size >= MOST_ASKED && !puttingBack.has(hash))) return false;
      return once(puttingBack, hash, () => putBack(peers, hash));
    },
    hasEnded: ({ id, createdAt }) => endings.of(hashOf(id)) === createdAt,
    close() {
      for (const one of undo) one();
    },
  };
}

/** Who asks while the same is asked shares the answer. */
function once<T>(running: Map<string, Promise<T>>, hash: string, begin: () => Promise<T>): Promise<T> {
  const there = running.get(hash);
  if (there !== undefined) return there;
  const begun = begin().finally(() => running.delete(hash));
  running.set(hash, begun);
  return begun;
}

async function ask(peers: Peers, { store, endings, onAnswers }: LostOptions, id: string): Promise<Verdict> {
  const hash = hashOf(id);
  if (await store.hasEnded(id)) return 'unknown';
  const { answers, complete } = await peers.ask(TOPIC.whoKnows, { hash }, { ms: OTHERS_TAKE });
  onAnswers(answers);
  for (const { ended } of answers) if (typeof ended === 'number') endings.add(hash, ended);
  const known = answers.filter(({ known: createdAt }) => typeof createdAt === 'number');
  const ended = endings.of(hash);
  if (known.some(({ known: createdAt }) => createdAt !== ended)) {
    await putBack(peers, hash);
    return 'put back';
  }
  // Some have not heard that it ended.
  if (known.length > 0) await store.end(id);
  return complete || ended !== undefined ? 'unknown' : 'unsure';
}

async function putBack(peers: Peers, hash: string): Promise<boolean> {
  const { answers } = await peers.ask(TOPIC.putBack, { hash }, { ms: OTHERS_TAKE });
  return answers.some(({ known }) => known === true);
}

/** What this proxy says to the others. */
function answer(peers: Peers, { store, endings, vouched, secure }: LostOptions): readonly (() => void)[] {
  const idOf = ({ hash }: JsonObject): string | undefined => (typeof hash === 'string' ? store.idOf(hash) : undefined);
  return [
    peers.on(TOPIC.whoKnows, (message) => {
      const ended = typeof message['hash'] === 'string' ? endings.of(message['hash']) : undefined;
      const id = idOf(message);
      const known = id === undefined ? undefined : vouched(id);
      return { ...(ended !== undefined && { ended }), ...(known && { known: known.createdAt }) };
    }),
    peers.on(TOPIC.putBack, async (message) => {
      const id = idOf(message);
      const known = id !== undefined && vouched(id) !== undefined;
      if (known) await secure(id);
      return { known };
    }),
  ];
}

type Held = {
  readonly verdict: Verdict;
  readonly at: number;
  /** When it was said to be unsure. */
  readonly unsureAt: number | undefined;
};

/** The verdicts that hold still. */
function newVerdicts(now: () => number) {
  const held = new BoundedMap<Held>(MOST_HELD);
  return {
    of(hash: string): Verdict | undefined {
      const last = held.get(hash);
      return last && now() - last.at < HOLDS ? last.verdict : undefined;
    },
    add(hash: string, said: Verdict): Verdict {
      const at = now();
      const before = held.get(hash)?.unsureAt;
      held.delete(hash);
      // What is put back is in the registry now.
      if (said === 'put back') return said;
      const patient = before !== undefined && at - before < PATIENCE;
      const verdict = said === 'unsure' && patient ? 'unknown' : said;
      held.set(hash, { verdict, at, unsureAt: verdict === 'unsure' ? at : before });
      return verdict;
    },
  };
}
