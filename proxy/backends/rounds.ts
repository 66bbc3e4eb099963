/** Discovery that is asked again and again: who was found is a member, and what becomes of the asking is told. */

import type { Backends } from '../contract.ts';
import type { RoutingEvent } from '../events.ts';
import type { Asked } from './answers.ts';
import { type Member, type MembersOptions, createMembers } from './members.ts';

export type RoundsOptions = MembersOptions & {
  /**
   * From a round's end to the next, in milliseconds, give or take a tenth; sooner where a TTL is shorter, and while
   * nobody is named: one second, then two. 2,000 by default.
   */
  readonly refreshMs?: number;
  /** Hears whether the last round named anybody, when that, or the cause of it, changes. */
  readonly record?: (event: RoutingEvent) => void;
  /** Why an origin that was named cannot be a backend's: it is no member, and `record` hears of it once. By default any can. */
  readonly refuse?: (origin: string) => string | undefined;
  /** Random numbers in [0, 1). */
  readonly draw?: () => number;
};

export type AskedBackends = Backends & {
  /** Resolves when the first round has ended, whatever it said. */
  readonly ready: Promise<void>;
};

/**
 * Asks once, and never rejects. `late` is told what is known whenever an answer comes that was not waited for; it may be
 * called at any time.
 */
export type Round = (late: (known: Asked<Member>) => void) => Promise<Asked<Member>>;

/** However short a TTL is: one of 0 forbids to cache the answer, and is no wish to be asked without pause. */
const SHORTEST_TTL = 1;
/** However long the refresh is: that discovery is away for a moment must not cost more than a moment. */
const UNHEARD_MS = 1_000;

/** Rounds never overlap. Begins at once. */
export function askedBackends(round: Round, options: RoundsOptions): AskedBackends {
  const { refreshMs = 2_000, draw = Math.random } = options;
  const { set, ...backends } = createMembers(options);
  const tell = newTeller(options.record);
  let timer: NodeJS.Timeout | undefined;
  let unheard = 0;
  let closed = false;

  const usable = newFilter(options);
  function take({ records, heard, cause }: Asked<Member>): void {
    if (closed) return;
    const members = usable(records);
    set(members);
    if (heard && members.length === 0) tell(NO_USE);
    else tell(heard ? undefined : (cause ?? 'nobody was named'));
  }
  async function refresh(): Promise<void> {
    const asked = await round(take);
    if (closed) return;
    take(asked);
    const { ttl, heard } = asked;
    unheard = heard ? 0 : unheard + 1;
    const wait = Math.min(refreshMs, Math.max(ttl, SHORTEST_TTL) * 1000);
    const most = heard ? wait : Math.min(wait, UNHEARD_MS * Math.min(unheard, 2));
    timer = setTimeout(() => void refresh(), most * (0.9 + draw() / 5)).unref();
  }

  return {
    ...backends,
    ready: refresh(),
    async close() {
      closed = true;
      clearTimeout(timer);
      await backends.close();
    },
  };
}

const NO_USE = 'no address that it names can be a backend';
/** Refusals that are remembered, so that each is said once. */
const MOST_SAID = 1000;

function newFilter({ refuse, record }: RoundsOptions): (members: readonly Member[]) => readonly Member[] {
  const said = new Set<string>();
  return (members) =>
    members.filter(({ id, origin }) => {
      const cause = refuse?.(origin);
      if (cause === undefined) return true;
      const key = `${id} ${origin}`;
      if (!said.has(key) && said.size < MOST_SAID) record?.({ type: 'unusable', backend: id, origin, cause });
      said.add(key);
      return false;
    });
}

/** Takes why a round named nobody, or that it did; says so when it is news. */
function newTeller(record: RoundsOptions['record']): (trouble: string | undefined) => void {
  let told: string | undefined;
  let since = Date.now();
  return (trouble) => {
    if (trouble === undefined) since = Date.now();
    if (trouble === told) return;
    told = trouble;
    record?.(
      trouble === undefined
        ? { type: 'discovery', state: 'up' }
        : { type: 'discovery', state: 'down', cause: trouble, since },
    );
  };
}
