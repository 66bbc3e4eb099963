/** Whether a session is quiet, and keeping it so: planned migrations happen only when nothing runs in it anywhere. */
import { SessionsUnavailable } from './contract.ts';
import type { Activity, JsonRpcId, Session } from './contract.ts';

export interface Quiet {
  /**
   * An exchange of the session begins. Returns what to call when it is over, or `moving`: it must wait, for the session
   * is being migrated. While the registry is away it may always begin.
   */
  enter(session: Session): (() => void) | Promise<(() => void) | 'moving'>;
  /** The server has asked the client, who may take his time. */
  asked(session: Session, question: JsonRpcId): void;
  /** The client has answered. */
  answered(session: string, question: JsonRpcId): void;
  /** Questions without an answer that came from another home than of this epoch; they are forgotten. */
  takeDead(session: Session): readonly JsonRpcId[];
  /** Nothing runs in the session, and nothing begins until the returned function is called; undefined if something does. */
  claim(session: Session): Promise<(() => void) | undefined>;
  /** Others must know of what runs already in the sessions that are watched now. */
  watchedMore(): void;
}

type Running = { readonly session: Session; readonly what: string; entered: boolean };
type Question = { readonly epoch: number; readonly timer: NodeJS.Timeout };

/** A question that nobody answers is no hindrance for ever. Milliseconds: longer than people think over a form. */
const QUESTION_LIFE = 600_000;

/**
 * `isWatched`: a migration of the session may be planned soon, so all proxies must know what runs in it. Others cost
 * nothing but an entry in a map.
 */
export function createQuiet(activity: Activity, isWatched: (session: Session) => boolean, token: () => string): Quiet {
  const running = new Map<string, Set<Running>>();
  const proxy = token();
  let begun = 0;

  function begin(session: Session, entered: boolean, what: string): () => void {
    const one: Running = { session, what, entered };
    const there = running.get(session.id) ?? new Set();
    running.set(session.id, there.add(one));
    return () => {
      there.delete(one);
      if (there.size === 0 && running.get(session.id) === there) running.delete(session.id);
      if (one.entered) void activity.leave(session.id, one.what);
    };
  }

  async function enterWatched(session: Session, what: string): Promise<(() => void) | 'moving'> {
    try {
      if ((await activity.enter(session.id, what)) === 'moving') return 'moving';
    } catch (error) {
      ignoreOutage(error);
    }
    return begin(session, true, what);
  }

  return {
    enter(session) {
      const what = `${proxy} ${(begun += 1)}`;
      return isWatched(session) ? enterWatched(session, what) : begin(session, false, what);
    },
    ...newQuestions(activity),
    async claim(session) {
      if (running.has(session.id)) return undefined;
      try {
        const release = await activity.claim(session.id);
        return release && (() => void release());
      } catch (error) {
        ignoreOutage(error);
        return undefined;
      }
    },
    watchedMore() {
      for (const one of [...running.values()].flatMap((all) => Array.from(all))) {
        if (one.entered || !isWatched(one.session)) continue;
        one.entered = true;
        activity.enter(one.session.id, one.what).catch(ignoreOutage);
      }
    },
  };
}

/** What servers have asked clients: a session is not quiet before it is answered. */
function newQuestions(activity: Activity): Pick<Quiet, 'asked' | 'answered' | 'takeDead'> {
  const questions = new Map<string, Map<JsonRpcId, Question>>();
  const leave = (session: string, what: string): void => void activity.leave(session, what);

  function forget(session: string, question: JsonRpcId): void {
    const open = questions.get(session);
    clearTimeout(open?.get(question)?.timer);
    if (open?.delete(question) === true && open.size === 0) questions.delete(session);
  }

  return {
    asked(session, question) {
      const open = questions.get(session.id) ?? new Map<JsonRpcId, Question>();
      questions.set(session.id, open);
      const over = (): void => {
        forget(session.id, question);
        leave(session.id, named(question));
      };
      clearTimeout(open.get(question)?.timer);
      open.set(question, { epoch: session.epoch, timer: setTimeout(over, QUESTION_LIFE).unref() });
      activity.enter(session.id, named(question)).catch(ignoreOutage);
    },
    answered(session, question) {
      forget(session, question);
      leave(session, named(question));
    },
    takeDead(session) {
      const dead = [...(questions.get(session.id) ?? [])].filter(([, { epoch }]) => epoch !== session.epoch);
      for (const [question] of dead) {
        forget(session.id, question);
        leave(session.id, named(question));
      }
      return dead.map(([question]) => question);
    },
  };
}

function named(question: JsonRpcId): string {
  return `question ${typeof question} ${question}`;
}

/** The registry's outage is told by itself; what could not be said there is said later. */
function ignoreOutage(error: unknown): void {
  if (!(error instanceof SessionsUnavailable)) throw error;
}
