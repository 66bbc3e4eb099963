/** Who is not a session's owner, and how a session gets another one. */
import { hash, randomUUID } from 'node:crypto';
import type { Exchange, Session, Sink } from './contract.ts';
import { SESSION_NOT_FOUND } from './decide.ts';
import { heldBack } from './held-back.ts';
import type { HeldBack } from './held-back.ts';
import { storeChange } from './keeper.ts';
import { lookUp } from './lookup.ts';
import { afterAnswer, isSomebody, standingOf } from './owner.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Of this process: nobody else can tell which id stands in for another. */
const SECRET = randomUUID();

/** An id that no session has, always the same for this one. */
function standIn(id: string): string {
  return hash('sha256', `${SECRET} ${id}`);
}

/** Looks for a session that is not there, for as long, and with the same effects, as for any unknown id. */
export function lookUpStandIn(rooms: Pick<Rooms, 'sessions'>, id: string): ReturnType<typeof lookUp> {
  return lookUp(rooms, standIn(id), false);
}

/** If the id were unknown, it would not be looked for again now. */
export function isRefusedUnseen({ sessions }: Pick<Rooms, 'sessions'>, id: string): boolean {
  return sessions.known?.(standIn(id)) === 'nowhere';
}

/**
 * Refuses a stranger as if there were no such session: one is looked for, so that the answer takes as long. A session that
 * was opened without credentials is read again meanwhile, as its home may have asked for some at another proxy; whoever is a
 * stranger to any other stays one. Undefined: the registry cannot be reached.
 */
export async function refuseStranger(rooms: Rooms, story: Story, session: Session): Promise<Turn | undefined> {
  const { id } = session;
  if (isRefusedUnseen(rooms, id)) return refused(story, SESSION_NOT_FOUND);
  const [none, now] = await Promise.all([
    lookUpStandIn(rooms, id),
    story.read || isSomebody(session.owner) ? session : lookUp(rooms, id, true),
  ]);
  if (none === 'unavailable' || now === 'unavailable') return undefined;
  if (now === undefined || standingOf(now, story.exchange) === 'stranger') return refused(story, SESSION_NOT_FOUND);
  story.fresh = true;
  return 'again';
}

/** The home has answered the exchange. What follows is stored in the background; a registry that is away loses it. */
export function noteOwner(rooms: OwnerRooms, session: Session, exchange: Exchange, status: number): void {
  if (afterAnswer(session, exchange, status) === session) return;
  void storeChange(session, (now) => afterAnswer(now, exchange, status), false, rooms);
}

const doNothing = (): void => undefined;

type OwnerRooms = Pick<Rooms, 'sessions' | 'token'>;

/**
 * The same sink, but a challenge is shown once all proxies can know of it: the client answers it with credentials, at
 * whichever of them. `settled` resolves when nothing is held back any more.
 */
export function challenging(rooms: OwnerRooms, session: Session, exchange: Exchange, sink: Sink): HeldBack {
  if (afterAnswer(session, exchange, 401) === session) return { sink, settled: () => Promise.resolve() };
  return heldBack(sink, (status) => {
    if (status !== 401) return undefined;
    return storeChange(session, (now) => afterAnswer(now, exchange, 401), false, rooms).then(doNothing, doNothing);
  });
}
