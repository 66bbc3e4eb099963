/** Who is not a session's owner, and how a session gets another one. */
import { hash, randomUUID } from 'node:crypto';
import type { Exchange, Session } from './contract.ts';
import { SESSION_NOT_FOUND } from './decide.ts';
import { storeChange } from './keeper.ts';
import { lookUp } from './lookup.ts';
import { afterAnswer, standingOf } from './owner.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** Of this process: nobody else can tell which id stands in for another. */
const SECRET = randomUUID();

/** An id that no session has, always the same for this one. */
function standIn(id: string): string {
  return hash('sha256', `${SECRET} ${id}`);
}

/**
 * Refuses a stranger as if there were no such session: one is looked for, so that the answer takes as long. The session is
 * read again meanwhile, as its owner may have changed at another proxy. Undefined: the registry cannot be reached.
 */
export async function refuseStranger(rooms: Rooms, story: Story, session: Session): Promise<Turn | undefined> {
  const { id, revision } = session;
  // An unknown id would not be looked for again now.
  if (rooms.guesses.isRefused(id, revision)) return refused(story, SESSION_NOT_FOUND);
  const [none, now] = await Promise.all([
    lookUp(rooms, standIn(id), false),
    story.read ? undefined : lookUp(rooms, id, true),
  ]);
  if (none === 'unavailable' || now === 'unavailable') return undefined;
  if (now === undefined || standingOf(now, story.exchange) === 'stranger') {
    noteRefused(rooms, now ?? session);
    return refused(story, SESSION_NOT_FOUND);
  }
  story.fresh = true;
  return 'again';
}

/** A stranger was refused this state of the session, which is the newest: for a moment the registry is not asked for it, as it is not for an unknown id. */
export function noteRefused({ sessions, guesses }: Rooms, { id, revision }: Session): void {
  if (sessions.known !== undefined) guesses.refused(id, revision);
}

/** The home has answered the exchange. What follows is stored in the background; a registry that is away loses it. */
export function noteOwner(
  rooms: Pick<Rooms, 'sessions' | 'token'>,
  session: Session,
  exchange: Exchange,
  status: number,
) {
  if (afterAnswer(session, exchange, status) === session) return;
  void storeChange(session, (now) => afterAnswer(now, exchange, status), false, rooms);
}
