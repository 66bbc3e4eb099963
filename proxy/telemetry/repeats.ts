/** What happens again and again is said once, and then with counts: an outage of the servers fails every session's attempts. */
import type { RoutingEvent } from '../events.ts';

/** What was counted instead of being written. */
export type Summary = {
  /** The last of them. */
  readonly last: RoutingEvent;
  readonly count: number;
  /** Seconds since the first was written, or since the last summary. */
  readonly seconds: number;
};

export type Repeats = {
  /** Whether the event is to be written: it cannot flood, or is the first of its kind. Else it is counted. */
  isFirst(event: RoutingEvent): boolean;
  /** What was counted for a whole period. Of whatever did not happen again in it, the next is a first one. */
  due(): readonly Summary[];
  /** All that was counted of a backend, or of everything; what comes next is a first one. */
  flush(backend?: string): readonly Summary[];
  /** Nothing is counted, and nothing waits for its period to end. */
  readonly idle: boolean;
};

export type RepeatsOptions = {
  /** Milliseconds. */
  readonly now: () => number;
  /** Milliseconds: 10,000 by default. */
  readonly periodMs?: number;
};

type Kind = { readonly backend: string | undefined; readonly key: string };
type Counted = { readonly backend: string | undefined; since: number; count: number; last: RoutingEvent };

const PERIOD_MS = 10_000;
/** Kinds that are told apart at once; of what comes beyond it, only the type is. */
const MOST_KINDS = 200;

export function newRepeats({ now, periodMs = PERIOD_MS }: RepeatsOptions): Repeats {
  const kinds = new Map<string, Counted>();

  function summary({ last, count, since }: Counted): readonly Summary[] {
    return count === 0 ? [] : [{ last, count, seconds: Math.round(now() - since) / 1000 }];
  }
  return {
    isFirst(event) {
      const kind = kindOf(event);
      if (kind === undefined) return true;
      const key = kinds.has(kind.key) || kinds.size < MOST_KINDS ? kind.key : event.type;
      const known = kinds.get(key);
      if (known === undefined) {
        kinds.set(key, { backend: kind.backend, since: now(), count: 0, last: event });
        return true;
      }
      known.count += 1;
      known.last = event;
      return false;
    },
    due() {
      const said: Summary[] = [];
      for (const [key, counted] of kinds) {
        if (now() - counted.since < periodMs) continue;
        said.push(...summary(counted));
        if (counted.count === 0) kinds.delete(key);
        counted.since = now();
        counted.count = 0;
      }
      return said;
    },
    flush(backend) {
      const said: Summary[] = [];
      for (const [key, counted] of kinds) {
        if (backend !== undefined && counted.backend !== backend) continue;
        said.push(...summary(counted));
        kinds.delete(key);
      }
      return said;
    },
    get idle() {
      return kinds.size === 0;
    },
  };
}

/** Whether there may be many in a short time, so that they are counted. */
export function mayRepeat(event: RoutingEvent): boolean {
  return kindOf(event) !== undefined;
}

/** Undefined for what is written each time: what a person or a change of state causes, and what went well. */
function kindOf(event: RoutingEvent): Kind | undefined {
  switch (event.type) {
    case 'migration':
      if (event.outcome === 'migrated' || event.outcome === 'raced') return undefined;
      return { backend: event.to, key: `migration ${event.outcome} ${event.to}` };
    case 'suspect':
      return { backend: event.backend, key: `suspect ${event.backend}` };
    case 'replay':
      return { backend: undefined, key: `replay ${event.verdict}` };
    case 'session':
      if (event.change !== 'lost') return undefined;
      return { backend: event.backend, key: `session ${event.cause} ${event.backend ?? ''}` };
    case 'unusable-id':
      return { backend: event.backend, key: `unusable-id ${event.backend}` };
    case 'limited':
      return { backend: undefined, key: `limited ${event.limit}` };
    case 'fault':
      return { backend: undefined, key: `fault ${event.error.name} ${event.error.message.slice(0, 100)}` };
    case 'exchange':
    case 'held':
    case 'stream':
    case 'sweep':
    case 'registry':
    case 'discovery':
    case 'order':
    case 'drain':
    case 'backend':
    case 'checks':
    case 'unusable':
    case 'wrong-path':
    case 'listening':
    case 'configuration':
    case 'stopping':
    case 'ignored':
    case 'stopped':
      return undefined;
  }
}
