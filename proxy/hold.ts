/** Hold, don't bounce: few clients retry a 503. */
import { NO_BACKEND } from './refusal.ts';
import { pause, refused } from './story.ts';
import type { Rooms, Story, Turn } from './story.ts';

/** How often a held exchange looks again, in milliseconds; spread by up to as much. */
const LOOK_AGAIN_MS = 100;

/** Waits until something may have changed, `--hold-seconds` in all; then it is `refusal`. */
export async function hold(rooms: Rooms, story: Story, refusal = NO_BACKEND): Promise<Turn> {
  story.heldSince ??= rooms.now();
  const left = story.heldSince + rooms.holdSeconds * 1000 - rooms.now();
  if (left <= 0) return refused(story, refusal);
  await pause(Math.min(left, LOOK_AGAIN_MS * (1 + rooms.draw())), story.exchange.signal, rooms.backends);
  story.tried.clear();
  story.turns = 0;
  return 'again';
}
