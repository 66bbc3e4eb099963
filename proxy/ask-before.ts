/** Asks a home whether it knows the session, before it gets what must not run twice. */
import { GONE, untouched } from './aftermath.ts';
import type { Backend, Exchange, Known, Session } from './contract.ts';
import { messagesOf } from './jsonrpc.ts';
import { mayReplay } from './replay-safety.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** A home that has shown within these milliseconds that it knows the session need not be asked. */
const CONFIRMED_MS = 4_000;

/**
 * What must not run twice cannot be sent again after an answer that says "unknown session": a handler may have run, and
 * have ended the session itself. So a home that may have been restarted is asked before.
 */
export async function askBefore(
  rooms: Rooms,
  story: Story,
  exchange: Exchange,
  session: Session,
  to: Backend,
): Promise<Turn | undefined> {
  if (mayReplay(messagesOf(exchange), session.safeTools, rooms.replay)) return undefined;
  // Its home may have ended it already, and says so itself.
  if (rooms.endings.has(session.id)) return undefined;
  if (rooms.confirmations.holds(session, CONFIRMED_MS) || rooms.streams.reaches(session)) return undefined;
  if (rooms.silent.has(session.backendSessionId)) return undefined;
  const known = await knowsSoon(rooms, exchange, session, to);
  if (known === 'known' || known === 'unclear') return undefined;
  return untouched(rooms, story, to, known === 'unknown' ? GONE : known);
}

/** Milliseconds: a server that ignores pings, or is busy, must not keep the call waiting longer. */
const SOON_MS = 2_000;

async function knowsSoon(rooms: Rooms, exchange: Exchange, session: Session, to: Backend): Promise<Known> {
  const { confirmations, migrator, silent } = rooms;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Known>((resolve) => {
    timer = setTimeout(() => {
      // Until it answers.
      silent.add(session.backendSessionId);
      resolve('unclear');
    }, SOON_MS);
  });
  const asked = migrator.knows(session, to, exchange).then((known) => {
    clearTimeout(timer);
    if (known === 'known') {
      silent.delete(session.backendSessionId);
      confirmations.confirm(session);
    }
    return known;
  });
  return Promise.race([asked, late]);
}
