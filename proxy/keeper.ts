/** Which parts of an answer change the session, and the registry's word that the change is stored. */
import { SessionsUnavailable } from './contract.ts';
import type {
  Backend,
  Exchange,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  RawHeaders,
  Session,
  Sessions,
  SseEvent,
} from './contract.ts';
import { isEventStream } from './headers.ts';
import { findMessages } from './json-text.ts';
import { isRequest, isResponse, parseMessages } from './jsonrpc.ts';
import { fold, opened, remembered } from './journal.ts';
import { issuedId } from './session-id.ts';

export type KeeperRooms = {
  readonly sessions: Sessions;
  /** Random, never the same twice. */
  readonly token: () => string;
  /** Milliseconds. */
  readonly now: () => number;
  /** Told that the session which the exchange opens is in the registry; undefined: its id was taken. */
  readonly stored: (session: Session | undefined) => void;
};

/**
 * - `stored`: the client may be shown the answer; `change` says what it did, `ended` what the session was at its end
 * - `unavailable`: the registry cannot be reached
 * - `taken`: the backend issued an id that another session has
 * - `unusable`: the backend issued an id that no client could send back; `why` is a sentence for the log
 * - `superseded`: the session has migrated meanwhile, and its new home was not told
 * - `too-long`: more of the answer would have to be held back than can be
 */
export type Kept =
  | {
      readonly kind: 'stored';
      readonly change?: 'opened' | 'ended';
      readonly opened?: Session;
      /** The backend has taken the client without a session. */
      readonly issuesNone?: true;
      readonly ended?: Session | undefined;
    }
  | { readonly kind: 'unavailable' | 'taken'; readonly orphan?: Session }
  | { readonly kind: 'unusable'; readonly why: string; readonly orphans: readonly Session[] }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'too-long'; readonly cause: Error };

/** An answer on its way, in the order of the Sink's calls. */
export type Part =
  | { readonly kind: 'head'; readonly status: number; readonly headers: RawHeaders }
  | { readonly kind: 'event'; readonly event: SseEvent }
  | { readonly kind: 'chunk'; readonly bytes: Buffer }
  | { readonly kind: 'end' | 'cut' };

export type Change = { readonly answers: readonly JsonRpcResponse[]; readonly headers: RawHeaders };

export interface Keeper {
  /** What cannot be held back may pass: that it is remembered is a convenience. */
  readonly lenient?: true;
  /** Whether the first of these parts must wait: for more parts, or for a change to be stored. */
  wants(queue: readonly Part[]): 'nothing' | 'more' | Change;
  store(change: Change): Promise<Kept>;
}

export function createKeeper(
  exchange: Exchange,
  session: Session | undefined,
  home: Backend,
  rooms: KeeperRooms,
): Keeper {
  const { intent } = exchange;
  if (intent.kind === 'open') return openingKeeper(intent.initialize, exchange, home, rooms);
  if (session === undefined || intent.kind === 'any')
    return { wants: () => 'nothing', store: () => Promise.resolve(STORED) };
  return intent.verb === 'end' ? endingKeeper(session, rooms) : journalKeeper(intent.messages, session, rooms);
}

const STORED: Kept = { kind: 'stored' };

/** The answers in a whole body, or undefined while its end is not there. */
function answersInBody(queue: readonly Part[]): readonly JsonRpcResponse[] | undefined {
  if (queue.at(-1)?.kind !== 'end') return undefined;
  const chunks = queue.flatMap((part) => (part.kind === 'chunk' ? [part.bytes] : []));
  const parsed = parseMessages(Buffer.concat(chunks).toString('utf8'));
  return parsed.kind === 'messages' ? parsed.messages.filter(isResponse) : [];
}

/** The answers in the event that came last, or undefined while there are none and more may come. */
function answersInEvents(queue: readonly Part[]): readonly JsonRpcResponse[] | undefined {
  const last = queue.at(-1);
  const answers = last?.kind === 'event' ? last.event.messages.filter(isResponse) : [];
  return answers.length > 0 || last?.kind === 'end' ? answers : undefined;
}

async function orUnavailable(write: () => Promise<Kept>, orphan?: Session): Promise<Kept> {
  try {
    return await write();
  } catch (error) {
    if (!(error instanceof SessionsUnavailable)) throw error;
    return { kind: 'unavailable', ...(orphan !== undefined && { orphan }) };
  }
}

/** Everything waits until the `initialize` result is there: the head alone shows the session id. */
function openingKeeper(
  initialize: JsonRpcRequest,
  { body, path, owner }: Exchange,
  home: Backend,
  rooms: KeeperRooms,
): Keeper {
  const { sessions, token, now, stored } = rooms;
  let done = false;
  return {
    wants(queue) {
      const [head] = queue;
      if (done || head?.kind !== 'head') return 'nothing';
      if (head.status >= 300) return 'nothing';
      const answers = isEventStream(head.headers) ? answersInEvents(queue) : answersInBody(queue);
      return answers === undefined ? 'more' : { answers, headers: head.headers };
    },
    store({ answers, headers }) {
      done = true;
      const issued = issuedId(headers);
      const answer = answers.find((one) => 'result' in one);
      if (answer === undefined || !('result' in answer)) return Promise.resolve(STORED);
      if (issued.kind === 'none') return Promise.resolve({ kind: 'stored', issuesNone: true });
      const sessionOf = (id: string): Session =>
        opened(initialize, answer, { id, home, revision: token(), now: now(), path, owner, text: textOf(body) });
      if (issued.kind === 'unusable') {
        return Promise.resolve({ kind: 'unusable', why: issued.why, orphans: issued.ids.map(sessionOf) });
      }
      const session = sessionOf(issued.id);
      return orUnavailable(async () => {
        const created = await sessions.create(session);
        stored(created === 'created' ? session : undefined);
        return created === 'created' ? { kind: 'stored', change: 'opened', opened: session } : { kind: 'taken' };
      }, session);
    },
  };
}

/** The one message of a body, without what is around it. */
function textOf(body: Buffer | undefined): string {
  const [span] = findMessages(body?.toString('latin1') ?? '');
  return span === undefined ? '' : (body?.toString('utf8', span.from, span.to) ?? '');
}

/** A session ends when its home says so. */
function endingKeeper(session: Session, { sessions }: KeeperRooms): Keeper {
  let done = false;
  return {
    wants(queue) {
      const [head] = queue;
      if (done || head?.kind !== 'head' || head.status >= 300) return 'nothing';
      return { answers: [], headers: head.headers };
    },
    store() {
      done = true;
      return orUnavailable(async () => {
        return { kind: 'stored', change: 'ended', ended: await sessions.end(session.id) };
      });
    },
  };
}

function journalKeeper(
  messages: Extract<Exchange['intent'], { kind: 'continue' }>['messages'],
  session: Session,
  rooms: KeeperRooms,
): Keeper {
  const requests = new Map(
    messages.flatMap((message) =>
      isRequest(message) && remembered(message) !== undefined ? [[message.id, message]] : [],
    ),
  );
  let notifications: readonly JsonRpcNotification[] = messages.flatMap((message) =>
    'method' in message && !isRequest(message) && remembered(message) !== undefined ? [message] : [],
  );
  const promise = messages.some((message) => remembered(message) === 'promise');
  let headPassed = false;

  return {
    ...(!promise && { lenient: true }),
    wants(queue) {
      const [part] = queue;
      if (part?.kind === 'head') {
        if (headPassed || part.status >= 300) return 'nothing';
        if (isEventStream(part.headers))
          return notifications.length > 0 ? { answers: [], headers: part.headers } : 'nothing';
        if (requests.size === 0 && notifications.length === 0) return 'nothing';
        const answers = answersInBody(queue);
        return answers === undefined ? 'more' : { answers, headers: part.headers };
      }
      if (part?.kind !== 'event') return 'nothing';
      const answers = part.event.messages
        .filter(isResponse)
        .filter(({ id }) => id !== undefined && id !== null && requests.has(id));
      return answers.length === 0 ? 'nothing' : { answers, headers: [] };
    },
    store({ answers }) {
      headPassed = true;
      const changes: (readonly [JsonRpcRequest | JsonRpcNotification, JsonRpcResponse | undefined])[] = [];
      for (const notification of notifications) changes.push([notification, undefined]);
      notifications = [];
      for (const answer of answers) {
        const request = answer.id === undefined || answer.id === null ? undefined : requests.get(answer.id);
        if (request !== undefined) changes.push([request, answer]);
      }
      if (answers.length > 0) for (const { id } of answers) if (id !== undefined && id !== null) requests.delete(id);
      const apply = (from: Session): Session =>
        changes.reduce((now, [message, answer]) => fold(now, message, answer), from);
      return storeChange(session, apply, promise, rooms);
    },
  };
}

/**
 * Compare-and-set until it holds: another exchange of the session may be writing too. `apply` returns the same object
 * where there is nothing to change. `promise`: it must be kept at this very home, else it is knowledge that may be lost.
 */
export async function storeChange(
  session: Session,
  apply: (from: Session) => Session,
  promise: boolean,
  { sessions, token }: Pick<KeeperRooms, 'sessions' | 'token'>,
): Promise<Kept> {
  const kept = await orUnavailable(async () => {
    let from = session;
    for (;;) {
      const changed = apply(from);
      if (changed === from) return STORED;
      const to = { ...changed, revision: token(), changes: from.changes + 1 };
      const now = await sessions.replace(from, to);
      if (now === undefined || now.revision === to.revision) return STORED;
      if (promise && now.epoch !== session.epoch) return { kind: 'superseded' };
      from = now;
    }
  });
  return kept.kind === 'unavailable' && !promise ? STORED : kept;
}
