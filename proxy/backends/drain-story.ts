/** Which backends begin to drain, cease to, or leave while they do: what differs between two lists, as events. Pure. */

import type { Backend } from '../contract.ts';
import type { RoutingEvent } from '../events.ts';

export type DrainEvent = Extract<RoutingEvent, { type: 'drain' }>;

/** `by` is asked of those that have begun. */
export function drainStory(
  before: readonly Backend[],
  now: readonly Backend[],
  by: (id: string) => NonNullable<DrainEvent['by']>,
): readonly DrainEvent[] {
  const drained = new Set(before.flatMap(({ id, draining }) => (draining ? [id] : [])));
  const listed = new Map(now.map((one) => [one.id, one]));
  const begun = now.filter(({ id, draining }) => draining && !drained.has(id));
  const over = [...drained].filter((id) => listed.get(id)?.draining !== true);
  return [
    ...begun.map(({ id }) => ({ type: 'drain', backend: id, state: 'begun', by: by(id) }) as const),
    ...over.map((id) => ({ type: 'drain', backend: id, state: listed.has(id) ? 'undone' : 'left' }) as const),
  ];
}
