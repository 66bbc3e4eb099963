/** The corridor: one exchange from its head to its last byte; the only retry loop in the program. */
import { address } from './address.ts';
import { noteNewHomeLost } from './aftermath.ts';
import { admitOpening, countUse, leaveLimits, limited, lookUpLimited } from './client-limits.ts';
import { asError } from './as-error.ts';
import { forward } from './forward.ts';
import { HEADER } from './contract.ts';
import type { Decision, Exchange, Session, Sink } from './contract.ts';
import { NO_SESSIONS, SESSION_NOT_FOUND, decide } from './decide.ts';
import type { Beyond } from './guesses.ts';
import { traceOf } from './headers.ts';
import { hold } from './hold.ts';
import { isClaimed, standingOf } from './owner.ts';
import { refuseStranger } from './owners.ts';
import { messagesOf } from './jsonrpc.ts';
import { migratePlanned } from './planned.ts';
import { INTERNAL, REGISTRY_DOWN } from './refusal.ts';
import { openAnew, reopen } from './reopen.ts';
import { migrateLost, spentOn } from './unplanned.ts';
import { ended, lost, noteEnding } from './session-end.ts';
import { endTooOld } from './too-old.ts';
import { accepted, beginStory, keepPlace, noteChange, refused } from './story.ts';
import type { Ending, Rooms, Story, Turn } from './story.ts';
import { subscriptionFault } from './subscriptions.ts';

export interface Router {
  /** Never throws; when it resolves the client's answer has ended. */
  handle(exchange: Exchange, sink: Sink): Promise<void>;
}

/** Turns of the loop between two waits: more than any story needs, so that it ends. */
const MAX_TURNS = 16;
const ABANDONED: Ending = { outcome: 'abandoned', status: 499 };

export function createRouter(rooms: Rooms): Router {
  return { handle: (exchange, sink) => handle(rooms, exchange, sink) };
}

async function handle(rooms: Rooms, exchange: Exchange, sink: Sink): Promise<void> {
  const start = rooms.now();
  const story = beginStory(exchange, sink);
  const ending = await tell(rooms, story);
  story.closeStream();
  leaveLimits(rooms, story, ending);
  story.leaveSession?.();
  rooms.holding.delete(story);
  if (story.heldSince !== undefined) {
    const outcome = ending.outcome === 'answered' || ending.outcome === 'lost' ? 'served' : ending.outcome;
    rooms.telemetry.record({ type: 'held', seconds: (rooms.now() - story.heldSince) / 1000, outcome });
  }
  if (story.listening !== undefined) rooms.telemetry.record({ type: 'stream', change: 'closed' });
  const { intent } = exchange;
  noteEnding(rooms, story, exchange, ending);
  rooms.telemetry.record({
    type: 'exchange',
    verb: intent.kind === 'continue' ? intent.verb : intent.kind,
    status: ending.status,
    outcome: ending.outcome,
    seconds: (rooms.now() - start) / 1000,
    session: intent.kind === 'continue' ? intent.id : undefined,
    backend: story.backend,
    trace: traceOf(exchange.headers),
  });
}

async function tell(rooms: Rooms, story: Story): Promise<Ending> {
  try {
    for (;;) {
      const next = story.exchange.signal.aborted ? ABANDONED : await turn(rooms, story);
      if (next !== 'again') return next;
    }
  } catch (error) {
    rooms.telemetry.record({ type: 'fault', error: asError(error) });
    return refused(story, INTERNAL);
  }
}

async function turn(rooms: Rooms, story: Story): Promise<Turn> {
  story.turns += 1;
  if (story.turns > MAX_TURNS) return hold(rooms, story);
  if (story.exchange.intent.kind === 'open') {
    const refusal = await admitOpening(rooms, story);
    if (refusal !== undefined) return refusal;
    if (story.exchange.intent.id !== undefined) return reopen(rooms, story);
  }
  const found = await find(rooms, story);
  if (found === 'unavailable') return withoutRegistry(rooms, story);
  if (found !== undefined && 'retryAfter' in found) return limited(rooms, story, 'guesses', found.retryAfter);
  if (found !== undefined && standingOf(found, story.exchange) === 'stranger') {
    return (await refuseStranger(rooms, story, found)) ?? withoutRegistry(rooms, story);
  }
  const tooOld = found && (await endTooOld(rooms, story, found));
  if (tooOld !== undefined) return tooOld;
  if (found !== undefined) enter(rooms, story, found);
  noteChange(story, found);
  if (found !== undefined) countUse(rooms, story, found);
  const fault = found && subscriptionFault(found, messagesOf(story.exchange));
  if (fault !== undefined) {
    rooms.telemetry.record({ type: 'limited', limit: 'subscriptions' });
    return refused(story, fault);
  }
  const addressed = address(story.exchange, found);
  if (addressed.kind === 'later' && !story.reread) {
    story.reread = true;
    story.fresh = true;
    return 'again';
  }
  if (addressed.kind === 'nothing') return accepted(story);
  const exchange = addressed.kind === 'exchange' ? addressed.exchange : story.exchange;
  const decision = await decideNow(rooms, story, found);
  if (decision.kind === 'forward' && found !== undefined && (await plannedNow(rooms, story, found))) {
    story.fresh = true;
    return 'again';
  }
  return carryOut(rooms, decision, story, exchange, found);
}

function enter({ inUse }: Rooms, story: Story, { id }: Session): void {
  const { intent } = story.exchange;
  story.leaveSession ??= inUse.enter(id, intent.kind === 'continue' && intent.verb === 'listen' ? 'stream' : 'call');
}

/** A session that is known needs the registry to leave a lost home: that it is away is no reason to give up at once. */
function withoutRegistry(rooms: Rooms, story: Story): Turn | Promise<Turn> {
  if (story.seen === undefined) return refused(story, REGISTRY_DOWN);
  story.fresh = true;
  return hold(rooms, story, REGISTRY_DOWN);
}

/** Whether the session has migrated, by plan, before its exchange begins. */
async function plannedNow(rooms: Rooms, story: Story, session: Session): Promise<boolean> {
  const { exchange } = story;
  if (story.planned || story.tried.size > 0 || exchange.intent.kind !== 'continue' || exchange.intent.verb === 'end') {
    return false;
  }
  const reason = rooms.plans.due(session, exchange.intent.messages);
  if (reason === undefined) return false;
  if (standingOf(session, exchange) !== 'owner') return false;
  story.planned = true;
  return (await migratePlanned(rooms, session, exchange, reason)) === 'changed';
}

/** The registry's word, and only where the exchange names a session. */
async function find(rooms: Rooms, story: Story): Promise<Session | undefined | 'unavailable' | Beyond> {
  const { intent } = story.exchange;
  if (intent.kind !== 'continue') return undefined;
  const { fresh } = story;
  story.fresh = false;
  story.read = fresh;
  if (rooms.issuers.isOwn(intent.id)) return undefined;
  return lookUpLimited(rooms, story, intent.id, fresh);
}

/** A candidate whom the home cannot judge: the session waits for its owner. */
function withoutOwner(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session,
  decision: Decision,
): Turn | Promise<Turn> {
  if (story.reopens !== undefined) return openAnew(rooms, story, story.reopens, undefined);
  const home = rooms.backends.list().find(({ id }) => id === session.home.id);
  if (decision.kind === 'migrate' && decision.reason === 'drain' && home !== undefined) {
    return forward(rooms, story, askedToStay(exchange), session, home);
  }
  const waits = decision.kind === 'wait' || story.sink.shown === 'stream';
  return waits ? hold(rooms, story) : refused(story, SESSION_NOT_FOUND);
}

async function decideNow(rooms: Rooms, story: Story, session: Session | undefined): Promise<Decision> {
  const { intent } = story.exchange;
  const choosing = intent.kind === 'open' || story.tried.size > 0;
  const held = choosing ? await rooms.sessions.countByBackend() : NO_SESSIONS;
  const issuer = await rooms.requestStates.issuerOf(story.exchange, story.turns === 1 && story.heldSince === undefined);
  const listed = rooms.backends.list();
  if (session !== undefined && rooms.heard(session.home.id) && !listed.some(({ id }) => id === session.home.id)) {
    noteNewHomeLost(rooms, story, 'refused');
  }
  const decision = decide(intent, session, {
    backends: choosing
      ? listed.map((one) => (rooms.ejections.ejected(one.id) ? { ...one, suspect: true } : one))
      : listed,
    tried: story.tried,
    load: {
      held,
      opening: rooms.opening,
      running: rooms.running,
      zone: rooms.zone(),
      now: rooms.now(),
      draw: rooms.draw,
    },
    maxSessions: rooms.maxSessions,
    room: rooms.sessions.room?.(),
    onSessionLost: rooms.onSessionLost,
    issuesIds: !rooms.issuers.none,
    issuer,
    spent: spentOn(story),
    heard: rooms.heard,
    endable: session === undefined || !isClaimed(session),
  });
  // At once: others that were held for a backend are decided in the same moment.
  if (intent.kind === 'open' && decision.kind === 'forward') keepPlace(rooms, story, decision.to);
  return decision;
}

async function carryOut(
  rooms: Rooms,
  decision: Decision,
  story: Story,
  exchange: Exchange,
  session: Session | undefined,
): Promise<Turn> {
  if (session !== undefined && standingOf(session, exchange) !== 'owner' && decision.kind !== 'forward') {
    return withoutOwner(rooms, story, exchange, session, decision);
  }
  if (decision.kind !== 'forward' && story.reopens !== undefined) {
    return openAnew(rooms, story, story.reopens, session);
  }
  switch (decision.kind) {
    case 'forward':
      if (story.verdict !== undefined) return refused(story, story.verdict.refusal);
      if (!rooms.heard(decision.to.id) && !(await rooms.answers(decision.to.origin))) {
        story.tried.set(decision.to.id, 'unsent');
        return 'again';
      }
      return forward(rooms, story, decision.stay ? askedToStay(exchange) : exchange, session, decision.to);
    case 'wait':
      return story.declined?.() ?? hold(rooms, story);
    case 'spent':
      // Another exchange may give the session a home.
      return hold(rooms, story);
    case 'end':
      return ended(rooms, story, session);
    case 'migrate':
      return migrateLost(rooms, story, decision);
    case 'refuse':
      if (decision.ends !== undefined) return lost(rooms, story, session, decision, decision.ends);
      return story.declined?.() ?? refused(story, decision);
  }
}

function askedToStay(exchange: Exchange): Exchange {
  return { ...exchange, headers: [...exchange.headers, HEADER.affinityStay, '1'] };
}
