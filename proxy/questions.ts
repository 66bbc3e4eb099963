/** What homes have asked clients over their listening streams: a session is not quiet before it is answered. */
import { hash as digest } from 'node:crypto';
import { BoundedMap, shortened } from './bounded.ts';
import type { Activity, JsonRpcId, JsonRpcRequest, Peers, Session, Sessions } from './contract.ts';
import { newListeners } from './listeners.ts';
import { lookUp } from './lookup.ts';
import { ignoreOutage } from './quiet.ts';
import type { Streams } from './streams.ts';

export interface Questions {
  /** The home has asked the client, who may take his time. A ping asks for nothing, but is waited for as well. */
  asked(session: Session, question: JsonRpcRequest): void;
  /** The client has answered, and the home has taken the answer; or the home waits for it no longer. */
  answered(session: string, question: JsonRpcId): void;
  /** The session has ended, and its questions with it. */
  ended(session: string): void;
  /** Questions without an answer that came from another home than of this epoch; they are forgotten. */
  takeDead(session: Session): readonly JsonRpcId[];
  /** The epoch in which the session was asked last, here; undefined: never, or long ago. */
  askedIn(session: string): number | undefined;
  /** It was asked here by its home of this epoch, and every such question is answered. */
  allAnswered(session: string, epoch: number): boolean;
  /** Calls `f` with the session's id when one is answered. Returns an idempotent undo. */
  onAnswer(f: (session: string) => void): () => void;
  close(): void;
}

/** A question that nobody answers is no hindrance for ever. Milliseconds: longer than people think over a form. */
const QUESTION_LIFE = 600_000;
/** Open questions of one session, and of all: the oldest count as answered. */
const MOST_OPEN_OF_ONE = 100;
const MOST_OPEN = 20_000;
/** Characters of a question's id; with a longer one it is not remembered. */
const LONGEST_ID = 1_024;
/** Sessions whose last question is remembered. */
const MOST = 20_000;

/** To the proxy that holds the stream it came on. */
const ANSWERED = 'question-answered';

export function createQuestions(
  activity: Activity,
  peers: Peers,
  streams: Pick<Streams, 'named'>,
  sessions: Pick<Sessions, 'find' | 'onChange'>,
): Questions {
  const open = newOpenQuestions(activity);
  const askedIn = new BoundedMap<number>(MOST);
  const answers = newListeners<string>();

  /** Whether it came on a stream that is held here. */
  function answered(session: string, question: JsonRpcId): boolean {
    const isOurs = open.close(session, question);
    answers.tell(session);
    return isOurs;
  }

  /** Another proxy may have ended the session. */
  async function changed(session: string): Promise<void> {
    if (open.any(session) && (await lookUp({ sessions }, session, false)) === undefined) open.closeAll(session);
  }

  const undo = [
    sessions.onChange((session) => void changed(session)),
    peers.on(ANSWERED, ({ hash, question }) => {
      const session = typeof hash === 'string' ? streams.named(hash) : undefined;
      if (typeof question !== 'string' && typeof question !== 'number') return undefined;
      if (session !== undefined) answered(session.id, question);
      return undefined;
    }),
  ];

  return {
    asked(session, { id, method }) {
      if (method !== 'ping') askedIn.set(session.id, session.epoch);
      open.add(session, id);
    },
    answered(session, question) {
      if (!answered(session, question)) peers.tell(ANSWERED, { hash: digest('sha256', session), question });
    },
    ended: (session) => open.closeAll(session),
    takeDead: (session) => open.takeDead(session),
    askedIn: (session) => askedIn.get(session),
    allAnswered: (session, epoch) => (askedIn.get(session) ?? -1) >= epoch && !open.has(session, epoch),
    onAnswer: answers.add,
    close: () => undo.forEach((one) => one()),
  };
}

type Question = { readonly epoch: number; readonly timer: NodeJS.Timeout };

function newOpenQuestions(activity: Activity) {
  const questions = new Map<string, Map<JsonRpcId, Question>>();
  let count = 0;

  function close(session: string, question: JsonRpcId): boolean {
    void activity.leave(session, nameOf(question));
    const open = questions.get(session);
    clearTimeout(open?.get(question)?.timer);
    if (open?.delete(question) !== true) return false;
    count -= 1;
    if (open.size === 0) questions.delete(session);
    return true;
  }

  function closeOldest(session: string): void {
    for (const question of questions.get(session)?.keys() ?? []) return void close(session, question);
  }
  function makeRoom(session: string): void {
    if ((questions.get(session)?.size ?? 0) >= MOST_OPEN_OF_ONE) closeOldest(session);
    if (count >= MOST_OPEN) for (const oldest of questions.keys()) return closeOldest(oldest);
  }

  return {
    /** Whether it was open here. */
    close,
    add({ id, epoch }: Session, question: JsonRpcId): void {
      if (typeof question === 'string' && question.length > LONGEST_ID) return;
      if (questions.get(id)?.has(question) !== true) {
        makeRoom(id);
        count += 1;
      }
      const open = questions.get(id) ?? new Map<JsonRpcId, Question>();
      questions.set(id, open);
      clearTimeout(open.get(question)?.timer);
      open.set(question, { epoch, timer: setTimeout(() => close(id, question), QUESTION_LIFE).unref() });
      activity.enter(id, nameOf(question)).catch(ignoreOutage);
    },
    closeAll(session: string): void {
      for (const question of questions.get(session)?.keys() ?? []) close(session, question);
    },
    any: (session: string): boolean => questions.has(session),
    /** Of this epoch or a later one. */
    has: (session: string, epoch: number): boolean =>
      [...(questions.get(session)?.values() ?? [])].some((one) => one.epoch >= epoch),
    takeDead({ id, epoch: now }: Session): readonly JsonRpcId[] {
      const dead = [...(questions.get(id) ?? [])].filter(([, { epoch }]) => epoch !== now);
      for (const [question] of dead) close(id, question);
      return dead.map(([question]) => question);
    },
  };
}

function nameOf(question: JsonRpcId): string {
  return `question ${typeof question} ${shortened(String(question))}`;
}
