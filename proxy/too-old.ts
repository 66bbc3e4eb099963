/** A session that is too old ends before its next exchange: its client starts over. */
import { SessionsUnavailable } from './contract.ts';
import type { Session } from './contract.ts';
import { SESSION_NOT_FOUND } from './decide.ts';
import { standingOf } from './owner.ts';
import { REGISTRY_DOWN } from './refusal.ts';
import { openAnew } from './reopen.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/**
 * What the client gets instead; undefined: the exchange goes on, as one that has begun, and as any while a call runs in the
 * session at whichever proxy, for it may belong to that.
 */
export async function endTooOld(rooms: Rooms, story: Story, session: Session): Promise<Turn | undefined> {
  const { sessionMaxAge = Infinity, now } = rooms;
  const { intent } = story.exchange;
  if (story.leaveSession !== undefined || now() < session.createdAt + sessionMaxAge * 1000) return undefined;
  if (intent.kind === 'continue' && intent.verb === 'end') return undefined;
  const use = await rooms.use([session.id]);
  if (use === undefined || use.calls.has(session.id)) return undefined;
  if (standingOf(session, story.exchange) !== 'owner') return refused(story, SESSION_NOT_FOUND);
  try {
    await end(rooms, story, session);
  } catch (error) {
    if (error instanceof SessionsUnavailable) return refused(story, REGISTRY_DOWN);
    throw error;
  }
  if (story.reopens !== undefined) return openAnew(rooms, story, story.reopens, session);
  return refused(story, SESSION_NOT_FOUND);
}

async function end(
  { sessions, endings, streams, backends, migrator, telemetry }: Rooms,
  story: Story,
  { id }: Session,
) {
  await endings.begin(id);
  const ended = await sessions.end(id);
  streams.moved(id, undefined);
  if (ended === undefined) return;
  telemetry.record({ type: 'session', change: 'expired' });
  const home = backends.list().find((one) => one.id === ended.home.id);
  if (home !== undefined) migrator.discard(ended, home, story.exchange);
}
