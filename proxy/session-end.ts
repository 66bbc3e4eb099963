/** An exchange that ends its session, or finds that nobody can go on with it. */
import { isEnding, sayGoodbye } from './aftermath.ts';
import { SessionsUnavailable } from './contract.ts';
import type { Exchange, Refusal, Session } from './contract.ts';
import { SESSION_NOT_FOUND } from './decide.ts';
import { REGISTRY_DOWN } from './refusal.ts';
import { refused } from './story.ts';
import type { Ending, Rooms, Story } from './story.ts';

export async function end(rooms: Rooms, story: Story, session: Session | undefined): Promise<'ended' | 'unavailable'> {
  const { intent } = story.exchange;
  try {
    if (intent.kind === 'continue') sayGoodbye(rooms, story, session, await rooms.sessions.end(intent.id));
    return 'ended';
  } catch (error) {
    if (error instanceof SessionsUnavailable) return 'unavailable';
    throw error;
  }
}

export async function lost(
  rooms: Rooms,
  story: Story,
  session: Session | undefined,
  refusal: Refusal,
  cause: 'incompatible' | 'policy' | 'forgotten',
): Promise<Ending> {
  if ((await end(rooms, story, session)) === 'unavailable') return refused(story, REGISTRY_DOWN);
  if (cause === 'forgotten' && session !== undefined) giveUp(rooms, story, session);
  else rooms.telemetry.record({ type: 'session', change: 'lost', cause });
  return refused(story, refusal);
}

const KEEPS_NO_SESSIONS =
  'the backend does not keep its own sessions: several workers or an unsticky balancer behind one address?';

/** One of the processes behind the address may hold it still. */
function giveUp(rooms: Rooms, { exchange }: Story, session: Session): void {
  const { id, origin } = session.home;
  rooms.telemetry.record({
    type: 'session',
    change: 'lost',
    cause: 'forgotten',
    backend: id,
    origin,
    likely: KEEPS_NO_SESSIONS,
  });
  const home = rooms.backends.list().find((one) => one.id === id);
  if (home !== undefined) rooms.migrator.discard(session, home, exchange);
}

/** A DELETE whose home cannot be asked: the session is over all the same. */
export async function ended(rooms: Rooms, story: Story, session: Session | undefined): Promise<Ending> {
  if ((await end(rooms, story, session)) === 'unavailable') return refused(story, REGISTRY_DOWN);
  rooms.telemetry.record({ type: 'session', change: 'ended' });
  story.sink.head(200, ['content-length', '0'], true);
  story.sink.end();
  return { outcome: 'answered', status: 200 };
}

/** Its client has ended it: what ran in it then is over, and lost nothing. */
export async function endedMeanwhile(
  { endings, sessions }: Rooms,
  { exchange }: Story,
  { id }: Session,
): Promise<boolean> {
  if (isEnding(exchange)) return false;
  if (endings.has(id)) return true;
  try {
    return (await sessions.find(id, { fresh: true })) === undefined;
  } catch (error) {
    if (error instanceof SessionsUnavailable) return false;
    throw error;
  }
}

/** The server ends the streams of a session that is ended. */
export function endAsDirectly(story: Story): Ending {
  if (story.sink.shown === 'nothing') return refused(story, SESSION_NOT_FOUND);
  story.sink.end();
  return { outcome: 'answered', status: 200 };
}

/** A DELETE that has not ended its session: what happens to that from now on is as before. */
export function noteEnding(
  { endings, questions }: Rooms,
  story: Story,
  { intent }: Exchange,
  { status }: Ending,
): void {
  if (intent.kind !== 'continue' || intent.verb !== 'end') return;
  if (status < 300 || story.endedAtHome) questions.ended(intent.id);
  else if (story.ending) endings.failed(intent.id);
}
