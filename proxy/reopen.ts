/** An `initialize` that names a session: it goes to that session's home while there is one. */
import { lookUpLimited } from './client-limits.ts';
import type { Exchange, Session } from './contract.ts';
import { isClaimed, standingOf } from './owner.ts';
import { lookUpStandIn } from './owners.ts';
import { REGISTRY_DOWN } from './refusal.ts';
import { end } from './session-end.ts';
import { refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** An `initialize` that names a session goes to its home, as it would directly. Any other id says nothing. */
export async function reopen(rooms: Rooms, story: Story): Promise<Turn> {
  const { exchange } = story;
  if (exchange.intent.kind !== 'open' || exchange.intent.id === undefined) return 'again';
  const { id, initialize } = exchange.intent;
  const ownId = rooms.issuers.none ? { ownId: id } : {};
  const anew: Exchange = { ...exchange, ...ownId, intent: { kind: 'open', initialize } };
  const known = await lookUpLimited(rooms, story, id, true);
  // Another session can be opened without knowing: clients do not repeat an `initialize` that is answered with 503.
  const there = known === undefined || known === 'unavailable' || 'retryAfter' in known ? undefined : known;
  const found = there !== undefined && standingOf(there, exchange) !== 'stranger' ? there : undefined;
  if (there !== undefined && found === undefined) await lookUpStandIn(rooms, id);
  story.exchange =
    found === undefined
      ? anew
      : { ...exchange, intent: { kind: 'continue', id, verb: 'post', messages: [initialize] } };
  if (found !== undefined) story.reopens = anew;
  return 'again';
}

/**
 * The session that an `initialize` names has lost its home: it opens another. The one before ends, unless no backend has
 * verified whose it is; then it idles out.
 */
export async function openAnew(
  rooms: Rooms,
  story: Story,
  anew: Exchange,
  session: Session | undefined,
): Promise<Turn> {
  if (session !== undefined && !isClaimed(session) && (await end(rooms, story, session)) === 'unavailable') {
    return refused(story, REGISTRY_DOWN);
  }
  story.exchange = anew;
  story.reopens = undefined;
  for (const [id, fate] of story.tried) if (fate === 'gone') story.tried.delete(id);
  return 'again';
}
