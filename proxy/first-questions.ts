/**
 * What a home asks once the handshake is over, as `roots/list` in `oninitialized`: a request that comes to a new home
 * waits until it is answered, as its work may depend on that.
 */
import { hash as digest } from 'node:crypto';
import { BoundedMap } from './bounded.ts';
import type { Exchange, JsonObject, JsonRpcRequest, JsonRpcResponse, Peers, Session, Sessions } from './contract.ts';
import { isRequest, isResponse } from './jsonrpc.ts';
import { storeChange } from './keeper.ts';
import type { Questions } from './questions.ts';
import type { Quiet } from './quiet.ts';
import type { Streams } from './streams.ts';

export interface FirstQuestions {
  /** The home asks something: it may be what each home asks first. Before the question counts as asked. */
  hear(session: Session, question: JsonRpcRequest): void;
  /**
   * The client answers, and what it says shows what it was asked. A server that knows its client's roots may have asked
   * for them in the middle of a call, and asks at its start all the same.
   */
  hearAnswer(session: Session, answer: JsonRpcResponse): void;
  /**
   * Whether they are answered, where the session is known to be asked so and got its home within the last second:
   * resolves a second later at most. Undefined: there is nothing to wait for.
   */
  answered(session: Session, exchange: Exchange): Promise<void> | undefined;
  close(): void;
}

export type FirstQuestionsRooms = {
  readonly questions: Pick<Questions, 'askedIn' | 'allAnswered' | 'onAnswer'>;
  readonly quiet: Pick<Quiet, 'mayBeAskedFor'>;
  readonly streams: Pick<Streams, 'named' | 'reaches'>;
  readonly peers: Peers;
  readonly sessions: Sessions;
  /** Random, never the same twice. */
  readonly token: () => string;
  /** Milliseconds. */
  readonly now: () => number;
};

/** How long a request waits, and how long after the session got its home one does so. Milliseconds. */
const WAIT_MS = 1_000;
/** Another proxy's word takes this much longer, in milliseconds. */
const WORD_MS = 300;
/** A home has its answer, and needs a moment to make use of it. Milliseconds. */
const TAKING_IN_MS = 50;
/** Sessions for which it is remembered. */
const MOST = 20_000;
/** Waits at once: each asks the other proxies, who are to be asked for other things too. Beyond them nobody waits. */
const MOST_WAITS = 64;

const TOPIC = 'first-questions';

/** `unclear`: the home had no stream to ask on. */
type Outcome = 'answered' | 'silent' | 'unclear';

export function createFirstQuestions(rooms: FirstQuestionsRooms): FirstQuestions {
  const { peers, streams, now } = rooms;
  const waits = new BoundedMap<{ readonly epoch: number; readonly over: Promise<void> }>(MOST);
  let waiting = 0;

  const undo = peers.on(TOPIC, async ({ hash, epoch }): Promise<JsonObject | undefined> => {
    const session = typeof hash === 'string' ? streams.named(hash) : undefined;
    if (session === undefined || typeof epoch !== 'number') return undefined;
    return { outcome: await answeredHere(rooms, session.id, String(hash), epoch) };
  });

  return {
    hear(session, { method }) {
      const { id, epoch, asksFirst } = session;
      if (method === 'ping' || asksFirst !== undefined || rooms.questions.askedIn(id) === epoch) return;
      if (!rooms.quiet.mayBeAskedFor(id)) learn(rooms, session, true);
    },
    hearAnswer(session, answer) {
      if (session.asksFirst === undefined && 'result' in answer && Array.isArray(answer.result['roots'])) {
        learn(rooms, session, true);
      }
    },
    answered(session, { intent }) {
      const { id, epoch, asksFirst, homedAt = -Infinity } = session;
      if (asksFirst !== true || now() - homedAt > WAIT_MS) return undefined;
      if (intent.kind !== 'continue' || !intent.messages.some(isRequest)) return undefined;
      // The home waits for the one before it works at the other.
      if (intent.messages.some(isResponse)) return undefined;
      const known = waits.get(id);
      if (known?.epoch === epoch) return known.over;
      if (waiting >= MOST_WAITS) return undefined;
      waiting += 1;
      const over = wait(rooms, session).finally(() => {
        waiting -= 1;
      });
      waits.set(id, { epoch, over });
      return over;
    },
    close: undo,
  };
}

async function wait(rooms: FirstQuestionsRooms, session: Session): Promise<void> {
  const outcome = await answeredAnywhere(rooms, session);
  if (outcome === 'answered') await new Promise((resolve) => setTimeout(resolve, TAKING_IN_MS));
  if (outcome === 'silent') learn(rooms, session, false);
}

/** For all proxies; best effort. Once it has been waited for in vain, it is not waited for again. */
function learn(rooms: FirstQuestionsRooms, session: Session, asksFirst: boolean): void {
  const apply = (now: Session): Session =>
    now.asksFirst === undefined || (now.asksFirst && !asksFirst) ? { ...now, asksFirst } : now;
  void storeChange(session, apply, false, rooms);
}

/** Undefined: nobody listens. */
async function answeredAnywhere(rooms: FirstQuestionsRooms, session: Session): Promise<Outcome | undefined> {
  const { id, epoch } = session;
  const hash = digest('sha256', id);
  const here = rooms.streams.named(hash) && answeredHere(rooms, id, hash, epoch);
  const until = ({ outcome }: JsonObject): boolean => outcome === 'answered';
  const there = rooms.peers.ask(TOPIC, { hash, epoch }, { ms: WAIT_MS + WORD_MS, until }).then(({ answers }) => {
    if (answers.some(until)) return 'answered';
    return answers.some(({ outcome }) => outcome === 'silent') ? 'silent' : undefined;
  });
  if (here === undefined) return there;
  return (await Promise.race([here, there])) === 'answered' ? 'answered' : here;
}

/** By what is seen here. */
function answeredHere(
  { questions, streams }: FirstQuestionsRooms,
  id: string,
  hash: string,
  epoch: number,
): Promise<Outcome> {
  if (questions.allAnswered(id, epoch)) return Promise.resolve('answered');
  return new Promise((resolve) => {
    const over = (outcome: Outcome): void => {
      clearTimeout(timer);
      undo();
      resolve(outcome);
    };
    const timer = setTimeout(() => {
      const now = streams.named(hash);
      over(now !== undefined && now.epoch >= epoch && streams.reaches(now) ? 'silent' : 'unclear');
    }, WAIT_MS);
    const undo = questions.onAnswer((answered) => {
      if (answered === id && questions.allAnswered(id, epoch)) over('answered');
    });
  });
}
