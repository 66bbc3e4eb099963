/** What a client may have, or do, only so many of: beyond that it is refused with 429. */
import { openedAt } from './address.ts';
import { clientNetwork } from './client-network.ts';
import { CODE } from './contract.ts';
import type { Exchange, Refusal, Session } from './contract.ts';
import type { ClientLimit } from './events.ts';
import type { Beyond } from './guesses.ts';
import { lookUp } from './lookup.ts';
import { isSomebody, standingOf } from './owner.ts';
import { isRefusedUnseen } from './owners.ts';
import { refused } from './story.ts';
import type { Ending, Rooms, Story } from './story.ts';

/** What the client is told, and after how many seconds it may try again. */
const REFUSALS: Readonly<Record<ClientLimit, readonly [message: string, retryAfter: number]>> = {
  'owner-sessions': ['Too many sessions: you have as many as one user may have, end one first', 30],
  'client-sessions': ['Too many sessions: your address has as many as one may have, end one first', 30],
  initializes: ['Too many requests: your address has sent too many initialize requests, try again later', 1],
  guesses: ['Too many requests: your address has asked for too many unknown sessions, try again', 1],
  streams: ['Too many streams: this session has as many listening streams open as it may', 5],
};

type Limiting = Pick<Rooms, 'telemetry' | 'quotas'>;
type Looking = Pick<Rooms, 'sessions' | 'guesses' | 'issuers'>;

/** Ends the exchange. */
export function limited(
  { telemetry }: Pick<Limiting, 'telemetry'>,
  story: Story,
  limit: ClientLimit,
  retryAfter = REFUSALS[limit][1],
): Ending {
  telemetry.record({ type: 'limited', limit });
  const [message] = REFUSALS[limit];
  const refusal: Refusal = { kind: 'refuse', status: 429, code: CODE.server, message, retryAfter };
  return refused(story, refusal);
}

/**
 * Looks for the session that an exchange names, unless its client asks for too many that are unknown, or somebody else's:
 * the two cannot be told apart. What this proxy knows, or has heard of, is always looked for.
 */
export async function lookUpLimited(
  rooms: Looking,
  { exchange, seen }: Story,
  id: string,
  fresh: boolean,
): Promise<Session | undefined | 'unavailable' | Beyond> {
  const { sessions, guesses } = rooms;
  const known = seen === undefined ? sessions.known?.(id) : 'here';
  if (known === 'nowhere') return undefined;
  const looking = known === 'unclear' ? await guesses.look(clientNetwork(exchange.headers)) : undefined;
  if (looking?.kind === 'beyond') return looking;
  let guess = false;
  try {
    const found = await lookUp(rooms, id, fresh);
    if (found === 'unavailable') return found;
    const there = openedAt(exchange.path, found);
    guess = isGuess(rooms, exchange, id, there);
    return (guess && looking === undefined ? guesses.guessed(clientNetwork(exchange.headers)) : undefined) ?? there;
  } finally {
    if (looking?.kind === 'looking') looking.done(guess);
  }
}

function isGuess(rooms: Looking, exchange: Exchange, id: string, found: Session | undefined): boolean {
  if (found !== undefined) return standingOf(found, exchange) === 'stranger' && !isRefusedUnseen(rooms, id);
  rooms.issuers.unknown(id);
  return !rooms.issuers.none;
}

/** Counts an `initialize`, and keeps places for the session that it opens. Undefined: it may go on. */
export async function admitOpening(rooms: Limiting, story: Story): Promise<Ending | undefined> {
  const { initializes, owners, clients } = rooms.quotas;
  const { intent, headers, owner } = story.exchange;
  if (!story.counted) {
    story.counted = true;
    const waitMs = (await initializes?.take(clientNetwork(headers))) ?? 0;
    if (waitMs > 0) return limited(rooms, story, 'initializes', Math.ceil(waitMs / 1000));
  }
  // One that names a session may open none.
  if (intent.kind !== 'open' || intent.id !== undefined || story.places.length > 0) return undefined;
  const wanted = [
    ['owner-sessions', owners, isSomebody(owner) ? owner : undefined],
    ['client-sessions', clients, clients && clientNetwork(headers)],
  ] as const;
  for (const [limit, places, who] of wanted) {
    if (places === undefined || who === undefined) continue;
    const place = await places.keep(who);
    if (place === undefined) return limited(rooms, story, limit);
    story.places.push(place);
  }
  return undefined;
}

export function countUse({ quotas }: Limiting, { exchange }: Story, { id }: Session): void {
  quotas.clients?.used(id, clientNetwork(exchange.headers));
}

/** The exchange is over: what it has kept and not used is free again. */
export function leaveLimits({ quotas }: Limiting, { exchange, places }: Story, { status }: Ending): void {
  for (const place of places) place.giveBack();
  const { intent } = exchange;
  if (intent.kind !== 'continue' || intent.verb !== 'end' || status >= 300) return;
  quotas.clients?.ended(intent.id, clientNetwork(exchange.headers));
}
