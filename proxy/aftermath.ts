/** What follows from an attempt, whatever kind of exchange it was of. */
import { SessionsUnavailable } from './contract.ts';
import type {
  Attempt,
  Backend,
  Exchange,
  Fate,
  JsonRpcId,
  JsonRpcNotification,
  Known,
  Migrated,
  Session,
  Sink,
} from './contract.ts';
import { Looped } from './loops.ts';
import { standingOf } from './owner.ts';
import { LOOP, NO_BACKEND } from './refusal.ts';
import { formatEvent } from './sse.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Where the trouble is with all of them it is ours indeed, and each try costs what we have too little of. */
const MOST_TRIED = 8;

/** `doubted`: its words may say that the home does not know the session, so they confirm nothing. */
export type Certain =
  | Exclude<Attempt, { kind: 'doubtful' | 'declined' | 'answered' }>
  | (Extract<Attempt, { kind: 'answered' }> & { readonly doubted?: true });
/** The home itself says, by its answer to a ping, that it does not know the session. Nothing of the exchange was sent. */
type Gone = { readonly kind: 'gone' };
export const GONE: Gone = { kind: 'gone' };

/** Milliseconds: a home that has shown within them that it knows the session is not asked for an error in other words. */
const KNOWN_MS = 1_000;

/**
 * An answer alone is no evidence that the home has lost the session: a ping decides. Where the home knows the session, or
 * the ping proves nothing, its answer is the client's.
 */
export async function certain(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  to: Backend,
  attempt: Attempt,
): Promise<Certain> {
  if (attempt.kind === 'declined') return certain(rooms, story, undefined, to, attempt.show());
  if (attempt.kind !== 'doubtful') return attempt;
  const show = async (): Promise<Certain> => {
    const shown = await certain(rooms, story, undefined, to, attempt.show());
    return shown.kind === 'answered' ? { ...shown, doubted: true } : shown;
  };
  // Nobody but the owner causes a question.
  if (session !== undefined && standingOf(session, story.exchange) !== 'owner') return show();
  if (session === undefined || (rooms.endings.has(session.id) && !isEnding(story.exchange))) return show();
  if (attempt.doubt === 'weak' && rooms.confirmations.holds(session, KNOWN_MS)) {
    // What comes next is asked about; a server that has no stream says so in any way.
    if (story.exchange.method !== 'GET') rooms.confirmations.doubt(session);
    return show();
  }
  const known = await rooms.migrator.knows(session, to, story.exchange);
  if (known === 'known') rooms.confirmations.confirm(session);
  if (known === 'known' || known === 'unclear' || isDraining(known)) return show();
  if (known !== 'unknown' && known.kind === 'unsent') {
    // It has died since: what else it had to say of the session cannot be learnt.
    return attempt.doubt === 'weak' ? show() : { kind: 'lost', cause: known.cause, unanswered: attempt.unanswered };
  }
  const cause = new Error('the home does not know the session');
  return { kind: 'lost', cause, unanswered: attempt.unanswered, forgotten: true };
}

/** A home that drains holds its sessions still. */
function isDraining(known: Exclude<Known, 'known' | 'unclear'>): boolean {
  return known !== 'unknown' && known.kind === 'marked' && known.mark === 'draining';
}

/** Nothing ran there. Another proxy may have migrated the session already: the registry is asked before we do. */
export function untouched(
  rooms: Rooms,
  story: Story,
  to: Backend,
  attempt: Extract<Attempt, { kind: 'unsent' | 'marked' }> | Gone,
): Turn {
  story.fresh = true;
  if (attempt.kind === 'marked') {
    if (attempt.mark === 'draining') rooms.backends.drains?.(to.id);
    else rooms.backends.suspect(to.id, new Error('another task is at its address'));
    story.tried.set(to.id, attempt.mark);
    return 'again';
  }
  if (attempt.kind === 'unsent' && attempt.blame === 'ours') {
    rooms.telemetry.record({ type: 'fault', error: attempt.cause });
    story.tried.set(to.id, 'unsent');
    return mayTryElsewhere(rooms, story) ? 'again' : refused(story, NO_BACKEND);
  }
  if (attempt.kind === 'unsent') {
    suspect(rooms, to, attempt.cause);
    noteNewHomeLost(rooms, story, 'refused');
  }
  if (attempt.kind === 'gone') noteNewHomeLost(rooms, story, 'forgotten');
  story.tried.set(to.id, attempt.kind);
  // It would come back from there as often as it is held.
  const looped = attempt.kind === 'unsent' && attempt.cause instanceof Looped;
  if (looped && !rooms.backends.list().some(({ id }) => !story.tried.has(id))) return refused(story, LOOP);
  return 'again';
}

/**
 * The home that a migration of this exchange gave the session may have died since: that is another loss. That it has
 * forgotten the session shows so only where its connections were closed; a balancer that asks other processes in turn may
 * close some as well, so that is believed once.
 */
export function noteNewHomeLost({ confirmations }: Rooms, story: Story, by: 'refused' | 'forgotten'): void {
  const { migrations, newHomesLost, seen } = story;
  if (newHomesLost >= migrations) return;
  const restarted = seen !== undefined && newHomesLost === 0 && confirmations.disconnectedSince(seen);
  if (by === 'refused' || restarted) story.newHomesLost += 1;
}

/** The client ends its session by it. */
export function isEnding({ intent }: Exchange): boolean {
  return intent.kind === 'continue' && intent.verb === 'end';
}

/** It failed: it is avoided for new sessions for a while. */
export function suspect({ backends, telemetry }: Pick<Rooms, 'backends' | 'telemetry'>, to: Backend, cause: Error) {
  if (!to.suspect) telemetry.record({ type: 'suspect', backend: to.id, cause: cause.message });
  backends.suspect(to.id, cause);
}

/** Our own trouble may be one with this backend alone. It never migrates anything: that a session's home waits is told. */
function mayTryElsewhere({ backends }: Rooms, { exchange, tried }: Story): boolean {
  if (exchange.intent.kind === 'continue' || tried.size >= MOST_TRIED) return false;
  return backends.list().some(({ id }) => !tried.has(id));
}

/** A backend has not taken a session: it is avoided from now on. Returns its fate in this exchange. */
export function shun(
  { backends, ejections }: Pick<Rooms, 'backends' | 'ejections'>,
  to: string,
  { mark, cause }: Extract<Migrated, { kind: 'failed' }>,
): Fate {
  if (mark === 'draining') backends.drains?.(to);
  else backends.suspect(to, cause);
  ejections.failed(to);
  return mark ?? 'unsent';
}

/** Nobody is left to hear the answers (MCP 2025-11-25, "Cancellation"). */
export function cancel(sink: Sink, questions: readonly JsonRpcId[]): void {
  if (sink.shown !== 'stream') return;
  const reason = 'The server that asked is gone';
  for (const requestId of questions) {
    say(sink, { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId, reason } });
  }
}

export function say(sink: Sink, message: JsonRpcNotification): void {
  sink.event({ raw: formatEvent(message), messages: [message] });
}

/** As the registry says; what cannot be asked has not changed. */
export async function hasNewHome({ sessions }: Rooms, session: Session): Promise<boolean> {
  try {
    const now = await sessions.find(session.id, { fresh: true });
    return now !== undefined && (now.epoch !== session.epoch || now.home.id !== session.home.id);
  } catch (error) {
    if (error instanceof SessionsUnavailable) return false;
    throw error;
  }
}

/** The session had another home at its end than we believed: that one holds it still. */
export function sayGoodbye(
  rooms: Rooms,
  { exchange }: Story,
  believed: Session | undefined,
  ended: Session | undefined,
) {
  if (ended === undefined || ended.backendSessionId === believed?.backendSessionId) return;
  const home = rooms.backends.list().find(({ id }) => id === ended.home.id);
  if (home !== undefined) rooms.migrator.discard(ended, home, exchange);
}
