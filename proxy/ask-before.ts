/** Asks a home whether it knows the session, before it gets what must not run twice. */
import { GONE, untouched } from './aftermath.ts';
import type { Backend, Exchange, Known, Session } from './contract.ts';
import { messagesOf } from './jsonrpc.ts';
import { lookUp } from './lookup.ts';
import { mayReplay } from './replay-safety.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** A home that has shown within these milliseconds that it knows the session need not be asked. */
const CONFIRMED_MS = 4_000;

/** `send`: the session as its home knows it now. */
export type AskedBefore =
  | { readonly kind: 'send'; readonly session: Session }
  | { readonly kind: 'turn'; readonly turn: Turn };

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
): Promise<AskedBefore> {
  if (!mustAsk(rooms, exchange, session)) return { kind: 'send', session };
  const known = await knowsSoon(rooms, exchange, session, to);
  if (known === 'known' || known === 'unclear') return asItIsNow(rooms, story, session);
  return { kind: 'turn', turn: untouched(rooms, story, to, known === 'unknown' ? GONE : known) };
}

function mustAsk(rooms: Rooms, exchange: Exchange, session: Session): boolean {
  if (mayReplay(messagesOf(exchange), session.safeTools, rooms.replay)) return false;
  // Its home may have ended it already, and says so itself.
  if (rooms.endings.has(session.id)) return false;
  if (rooms.confirmations.holds(session, CONFIRMED_MS) || rooms.streams.reaches(session)) return false;
  return !rooms.silent.has(session.backendSessionId);
}

/** Its home may have given it another id with the answer, and the old one may be good no longer. */
async function asItIsNow(rooms: Rooms, story: Story, session: Session): Promise<AskedBefore> {
  const now = await lookUp(rooms, session.id, false);
  if (now === 'unavailable') return { kind: 'send', session };
  if (now?.epoch === session.epoch && now.home.id === session.home.id) return { kind: 'send', session: now };
  // It has moved or ended meanwhile.
  story.fresh = true;
  return { kind: 'turn', turn: 'again' };
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
