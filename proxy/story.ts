/** What the corridor knows of one exchange between its turns. */
import type { AskUse } from './backend-sessions.ts';
import type { BoundedSet } from './bounded.ts';
import type { ClientStream } from './client-stream.ts';
import type { Confirmations } from './confirmations.ts';
import type {
  Backend,
  Backends,
  Exchange,
  Fate,
  JsonRpcId,
  Migrator,
  Peers,
  Refusal,
  Session,
  Sessions,
  Sink,
  Upstream,
} from './contract.ts';
import type { Ejections } from './ejections.ts';
import type { Endings } from './endings.ts';
import type { Telemetry } from './events.ts';
import type { Guesses } from './guesses.ts';
import type { Issuers } from './issuers.ts';
import { idsOf } from './jsonrpc.ts';
import type { Kept } from './orphans.ts';
import { refuse, statusOf } from './refusal.ts';
import type { ReplayPolicy } from './replay-safety.ts';
import type { Plans } from './plans.ts';
import type { FirstQuestions } from './first-questions.ts';
import type { InUse } from './in-use.ts';
import type { Questions } from './questions.ts';
import type { Quiet } from './quiet.ts';
import type { Place } from './quotas/places.ts';
import type { Quotas } from './quotas/quotas.ts';
import type { RequestStates } from './request-states.ts';
import type { Cursor, Streams } from './streams.ts';
import type { Unregister } from './unregister.ts';

export type Rooms = {
  readonly sessions: Sessions;
  readonly backends: Backends;
  readonly upstream: Upstream;
  readonly migrator: Migrator;
  readonly streams: Streams;
  readonly telemetry: Telemetry;
  readonly quiet: Quiet;
  readonly inUse: InUse;
  readonly backendSessions: Kept;
  readonly use: AskUse;
  readonly questions: Questions;
  readonly firstQuestions: FirstQuestions;
  readonly plans: Plans;
  readonly confirmations: Confirmations;
  readonly ejections: Ejections;
  readonly issuers: Issuers;
  readonly requestStates: RequestStates;
  /** Backend sessions whose home answers 404 to a listening GET, and knows them. */
  readonly streamless: BoundedSet;
  /** Backend sessions whose home lets pings wait: it is not asked before their calls. */
  readonly silent: BoundedSet;
  /** Sessions that their client is ending, or has ended a moment ago. */
  readonly endings: Endings;
  readonly unregister: Unregister;
  readonly peers: Peers;
  readonly quotas: Quotas;
  readonly guesses: Guesses;
  /** How long an exchange waits for a home before it is refused. */
  readonly holdSeconds: number;
  /** Seconds after which a session ends though it is used; undefined: never. */
  readonly sessionMaxAge?: number | undefined;
  /** Sessions that a backend may hold before it gets no new ones. */
  readonly maxSessions: number;
  /** Listening streams that a session may have here. */
  readonly maxStreamsPerSession: number;
  /** The proxy's own, where it is known by now. */
  readonly zone: () => string | undefined;
  /** Whether discovery has ever named a backend of that id. */
  readonly heard: (id: string) => boolean;
  /** Whether a backend of which we have not heard answers: nobody watches it, and what hangs there would hang for ever. */
  readonly answers: (origin: string) => Promise<boolean>;
  /** Sessions that are being opened, by backend id. */
  readonly opening: Map<string, number>;
  /** Exchanges that run, listening ones apart, by backend id. */
  readonly running: Map<string, number>;
  /** Exchanges that are held, and since when each tries again, in milliseconds; Infinity while it waits. */
  readonly holding: Map<Story, number>;
  readonly onSessionLost: 'migrate' | 'not-found';
  readonly replay: ReplayPolicy;
  /** Milliseconds. */
  readonly now: () => number;
  /** Random numbers in [0, 1). */
  readonly draw: () => number;
  /** Random, never the same twice. */
  readonly token: () => string;
};

export type Story = {
  /** An `initialize` has been counted. */
  counted: boolean;
  /** What is kept for the session that it opens, where sessions are limited. */
  readonly places: Place[];
  /** What is left of the client's request: answered parts are not sent again. */
  exchange: Exchange;
  readonly sink: Sink;
  /** The session as it was found last. */
  seen: Session | undefined;
  /** How attempts ended since the last wait, by backend id. */
  readonly tried: Map<string, Fate>;
  turns: number;
  /** Attempts whose outcome is unknown. */
  losses: number;
  /** When it was held first, in milliseconds. */
  heldSince: number | undefined;
  /** Since when another proxy gives its session a new home, in milliseconds. */
  movingSince: number | undefined;
  /** The registry is to be asked itself, not the cache. */
  fresh: boolean;
  /** What is known of the session now is the registry's own word. */
  read: boolean;
  /** It was asked because the client knows a later epoch. */
  reread: boolean;
  /** Where the client's listening stream has got to. */
  cursor: Cursor | undefined;
  /** The session as it was when the client's listening stream was attached last. */
  listening: Session | undefined;
  /** The client's listening stream. */
  stream: ClientStream | undefined;
  /** The exchange is over, and so is its stream. */
  closeStream: () => void;
  /** The home has ended the session, though the registry could not be told. */
  endedAtHome: boolean;
  /** All proxies know that it is to end its session. */
  ending: boolean;
  /** What was asked has its answer: it does not run any more. */
  answered: () => void;
  /** The home has handed the session over, and ends the stream. */
  handedOver: boolean;
  /** How often the home has refused to take the open stream of its client again, one after the other. */
  streamRefusals: number;
  /** Unplanned migrations that it has caused, and those that a new home failed though it was reached. */
  migrations: number;
  failedMigrations: number;
  /** New homes that were reached, and died before the session was there. */
  diedInHandshake: number;
  /** New homes that took the session, and then no connection any more: each is a loss of its own. */
  newHomesLost: number;
  /** The `initialize` names a session: it goes to that one's home while there is one. */
  reopens: Exchange | undefined;
  /** Answers an `initialize` as the last backend did that failed it. */
  declined: (() => Promise<Turn>) | undefined;
  /** A planned migration was tried for this exchange: it is not held up again. */
  planned: boolean;
  /** Its session is in use until this is called. */
  leaveSession: (() => void) | undefined;
  /** Gives back the place that is kept for the session that it opens. Idempotent. */
  giveBack: () => void;
  /** What the client is told once the session has a home again: its request must not go to it. */
  verdict: { readonly refusal: Refusal; readonly ids: readonly JsonRpcId[] } | undefined;
  /** The last backend that was tried. */
  backend: string | undefined;
};

export type Ending = {
  readonly outcome: 'answered' | 'refused' | 'lost' | 'abandoned';
  /** What the client saw; 499 when it left first. */
  readonly status: number;
};
export type Turn = Ending | 'again';

export function beginStory(exchange: Exchange, sink: Sink): Story {
  return {
    counted: false,
    places: [],
    exchange,
    sink,
    seen: undefined,
    tried: new Map(),
    turns: 0,
    losses: 0,
    heldSince: undefined,
    movingSince: undefined,
    fresh: false,
    read: false,
    reread: false,
    cursor: undefined,
    listening: undefined,
    stream: undefined,
    closeStream: () => {},
    endedAtHome: false,
    ending: false,
    answered: () => {},
    handedOver: false,
    streamRefusals: 0,
    migrations: 0,
    failedMigrations: 0,
    diedInHandshake: 0,
    newHomesLost: 0,
    reopens: undefined,
    declined: undefined,
    planned: false,
    leaveSession: undefined,
    giveBack: () => {},
    verdict: undefined,
    backend: undefined,
  };
}

/** Ends the client's answer with one of our own, for the requests that wait still; a verdict is the last word on them. */
export function refused(story: Story, refusal: Refusal, ids: readonly JsonRpcId[] = idsOf(story.exchange)): Ending {
  const said = story.verdict ?? { refusal, ids };
  const status = story.sink.shown === 'nothing' ? statusOf(said.refusal, said.ids) : 200;
  refuse(story.sink, said.refusal, said.ids, [], story.exchange.body);
  return { outcome: story.verdict === undefined ? 'refused' : 'lost', status };
}

/** Until the time is over, the client leaves, or the backends change. */
export function pause(ms: number, signal: AbortSignal, backends: Backends): Promise<void> {
  return new Promise((resolve) => {
    const over = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', over);
      undo();
      resolve();
    };
    const timer = setTimeout(over, ms);
    const undo = backends.onChange(over);
    signal.addEventListener('abort', over, { once: true });
  });
}

/**
 * Another proxy has given it a new home, maybe at the same backend, or its home has given it another id: that the old one
 * was unknown there, or that nobody answered there, was true before.
 */
export function noteChange(story: Story, found: Session | undefined): void {
  if (found === undefined) return;
  const { seen } = story;
  const changed =
    seen !== undefined && (seen.epoch !== found.epoch || seen.backendSessionId !== found.backendSessionId);
  if (changed) story.tried.delete(found.home.id);
  story.seen = found;
}

export function count(map: Map<string, number>, { id }: Backend, change: 1 | -1): void {
  const now = (map.get(id) ?? 0) + change;
  if (now === 0) map.delete(id);
  else map.set(id, now);
}

/** The session that the story opens counts there, until it is given back. */
export function keepPlace({ opening }: Rooms, story: Story, to: Backend): void {
  count(opening, to, 1);
  let kept = true;
  story.giveBack = () => {
    if (kept) count(opening, to, -1);
    kept = false;
  };
}

/** Nobody is left to hear what the client says: it is taken, as any notification. */
export function accepted({ sink }: Story): Ending {
  sink.head(202, ['content-length', '0'], true);
  sink.end();
  return { outcome: 'answered', status: 202 };
}
