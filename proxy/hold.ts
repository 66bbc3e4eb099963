/** Hold, don't bounce: few clients retry a 503. */
import { CROWDED, NO_BACKEND } from './refusal.ts';
import { pause, refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** How often a held exchange looks again, in milliseconds: one more for each that is held, spread by up to as much. */
const LOOK_AGAIN_MS = 100;
/** Held at once. */
const MOST_HELD = 1000;
/** One that has tried for so long, in milliseconds, has got to a backend: a connection takes 3 s at most. */
const TRYING_MS = 5000;

/** Waits until something may have changed, `--hold-seconds` in all; then it is `refusal`. */
export async function hold(rooms: Rooms, story: Story, refusal = NO_BACKEND): Promise<Turn> {
  if (!mayWait(rooms, story)) {
    rooms.telemetry.record({ type: 'limited', limit: 'held' });
    return refused(story, CROWDED);
  }
  story.heldSince ??= rooms.now();
  const left = story.heldSince + rooms.holdSeconds * 1000 - rooms.now();
  if (left <= 0) return refused(story, refusal);
  const often = LOOK_AGAIN_MS + rooms.holding.size;
  await pause(Math.min(left, often * (1 + rooms.draw())), story.exchange.signal, rooms.backends);
  if (rooms.holding.has(story)) rooms.holding.set(story, rooms.now());
  story.tried.clear();
  story.turns = 0;
  return 'again';
}

/** A stream that its client reads already costs no more than before. */
function mayWait({ holding, now }: Rooms, story: Story): boolean {
  if (story.sink.shown === 'stream') return true;
  if (!holding.has(story) && holding.size >= MOST_HELD) {
    for (const [one, since] of holding) if (now() - since > TRYING_MS) holding.delete(one);
    if (holding.size >= MOST_HELD) return false;
  }
  holding.set(story, Infinity);
  return true;
}
