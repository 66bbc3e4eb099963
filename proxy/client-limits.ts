/** What a client may have, or do, only so many of: beyond that it is refused with 429. */
import { CODE } from './contract.ts';
import type { Refusal } from './contract.ts';
import type { ClientLimit } from './events.ts';
import { refused } from './story.ts';
import type { Ending, Rooms, Story } from './story.ts';

/** What the client is told, and after how many seconds it may try again. */
const REFUSALS = {
  streams: ['Too many streams: this session has as many listening streams open as it may', 5],
} as const satisfies Readonly<Record<ClientLimit, readonly [string, number]>>;

export function limited(
  { telemetry }: Pick<Rooms, 'telemetry'>,
  story: Story,
  limit: ClientLimit,
  retryAfter: number = REFUSALS[limit][1],
): Ending {
  telemetry.record({ type: 'limited', limit });
  const refusal: Refusal = { kind: 'refuse', status: 429, code: CODE.server, message: REFUSALS[limit][0], retryAfter };
  return refused(story, refusal);
}
