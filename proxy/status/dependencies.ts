/** What the proxy depends on, and whether that serves: folded from what is recorded of it. Pure. */

import type { RoutingEvent } from '../events.ts';
import type { Dependency, Status } from './snapshot.ts';

type Name = 'registry' | 'discovery' | 'checks';
type News = Extract<RoutingEvent, { type: Name }>;

export interface Dependencies {
  /** A sentence where something has changed. */
  record(event: News, at: number): string | undefined;
  all(): Pick<Status, Name>;
}

export type Kinds = {
  readonly registry: Status['registry']['kind'];
  readonly discovery: Status['discovery']['kind'];
};

const SENTENCES: { readonly [name in Name]: { readonly up: string; readonly down: string } } = {
  registry: { down: 'The registry does not answer', up: 'The registry answers again' },
  discovery: { down: 'Discovery fails, or names nobody', up: 'Discovery names backends again' },
  checks: { down: 'No backend passes its check: the checks are doubted', up: 'The checks are believed again' },
};

/** All of them serve until something else is heard. */
export function newDependencies(startedAt: number, { registry, discovery }: Kinds): Dependencies {
  const up: Dependency = { up: true, since: startedAt };
  const known: { [name in Name]: Dependency } = { registry: up, discovery: up, checks: up };
  return {
    record(news, at) {
      const { type, state } = news;
      const cause = 'cause' in news ? news.cause : undefined;
      const isUp = state === 'up' || state === 'believed';
      const before = known[type];
      const same = before.up === isUp;
      known[type] = { up: isUp, since: same ? before.since : at, ...(cause !== undefined && { cause }) };
      return same ? undefined : SENTENCES[type][isUp ? 'up' : 'down'];
    },
    all: () => ({
      registry: { kind: registry, ...known.registry },
      discovery: { kind: discovery, ...known.discovery },
      checks: known.checks,
    }),
  };
}
