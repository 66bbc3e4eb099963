/** An `initialize` that names a session: it goes to that session's home while there is one. */
import { openedAt } from './address.ts';
import type { Exchange, Session } from './contract.ts';
import { lookUp } from './lookup.ts';
import { standingOf } from './owner.ts';
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
  const known = await lookUp(rooms, id, true);
  // Another session can be opened without knowing: clients do not repeat an `initialize` that is answered with 503.
  const own = known === 'unavailable' ? undefined : openedAt(exchange.path, known);
  const found = own !== undefined && standingOf(own, exchange) !== 'stranger' ? own : undefined;
  story.exchange =
    found === undefined
      ? anew
      : { ...exchange, intent: { kind: 'continue', id, verb: 'post', messages: [initialize] } };
  if (found !== undefined) story.reopens = anew;
  return 'again';
}

/** The session that an `initialize` names has lost its home: it opens another. */
export async function openAnew(
  rooms: Rooms,
  story: Story,
  anew: Exchange,
  session: Session | undefined,
): Promise<Turn> {
  if ((await end(rooms, story, session)) === 'unavailable') return refused(story, REGISTRY_DOWN);
  story.exchange = anew;
  story.reopens = undefined;
  for (const [id, fate] of story.tried) if (fate === 'gone') story.tried.delete(id);
  return 'again';
}
