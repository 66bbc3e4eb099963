/** Who is a member, who has left and still serves, and who failed a moment ago: what all ways of discovery share. */

import type { Backend, Backends } from '../contract.ts';
import { newListeners } from '../listeners.ts';
import { Looped } from '../loops.ts';

/** One backend as discovery names it; `draining`: it is one still, and not well. */
export type Member = Pick<Backend, 'id' | 'origin' | 'zone'> & Partial<Pick<Backend, 'draining'>>;

export type MembersOptions = {
  /** How long a suspect stays one after its last failure, in milliseconds; 2,000 by default. */
  readonly suspectMs?: number;
  /**
   * How long one that has left stays listed while others are members, in milliseconds; 120,000 by default: the longest
   * `stopTimeout` of ECS.
   */
  readonly lingerMs?: number;
};

export type Members = Backends & {
  /**
   * Who is a member from now on. One that is missing has departed: it is listed as draining, for a deregistered task
   * goes on serving its sessions, until it fails, comes back, or `lingerMs` is over; not where another has its address
   * now. When all are missing they stay until they fail: "nobody" is the oddest of answers. Of an id given twice the
   * last counts.
   */
  readonly set: (members: readonly Member[]) => void;
};

type Known = Member & Pick<Backend, 'since'>;

/** That a backend is the proxy itself, or leads to it, does not pass by itself; it answers checks all the same. */
const LOOPED_MS = 60_000;

/** Listeners hear of changes only: of the first failure of a suspect and its end, of a set that differs in more than order. */
export function createMembers({ suspectMs = 2_000, lingerMs = 120_000 }: MembersOptions = {}): Members {
  const known = new Map<string, Known>();
  const suspects = new Map<string, NodeJS.Timeout>();
  const departed = new Map<string, NodeJS.Timeout>();
  const listeners = newListeners<void>();
  let current: readonly Backend[] = [];
  let closed = false;

  function changed(): void {
    const next = [...known.values()].map((one) => asBackend(one, departed.has(one.id), suspects.has(one.id)));
    if (sameBackends(current, next)) return;
    current = next;
    listeners.tell();
  }
  function drop(id: string): void {
    known.delete(id);
    forget(suspects, id);
    forget(departed, id);
  }
  function depart(id: string): void {
    // It refuses, and is a member no more: nothing is left there to wait for.
    if (suspects.has(id)) drop(id);
    else if (!departed.has(id)) departed.set(id, setTimeout(endDeparture, lingerMs, id).unref());
  }
  function endDeparture(id: string): void {
    if (departed.size === known.size) return void departed.get(id)?.refresh();
    drop(id);
    changed();
  }
  function endSuspicion(id: string): void {
    forget(suspects, id);
    changed();
  }

  return {
    list: () => current,
    set(members) {
      if (closed) return;
      const now = new Map(members.map((member) => [member.id, member]));
      // Whoever had an address before is gone, and must not be taken for who has it now.
      const taken = new Set(members.map(({ origin }) => origin));
      for (const { id, origin } of known.values()) if (!now.has(id)) (taken.has(origin) ? drop : depart)(id);
      // Those that are found first, all together, are none of them latecomers.
      const late = current.length > 0;
      for (const [id, member] of now) {
        known.set(id, asKnown(member, known.get(id), late));
        forget(departed, id);
      }
      changed();
    },
    suspect(id, cause) {
      if (closed || !known.has(id)) return;
      if (departed.has(id)) drop(id);
      else if (suspects.has(id)) suspects.get(id)?.refresh();
      else suspects.set(id, setTimeout(endSuspicion, cause instanceof Looped ? LOOPED_MS : suspectMs, id).unref());
      changed();
    },
    onChange: listeners.add,
    async close() {
      closed = true;
      for (const timer of [...suspects.values(), ...departed.values()]) clearTimeout(timer);
      listeners.clear();
    },
  };
}

function forget(marks: Map<string, NodeJS.Timeout>, id: string): void {
  clearTimeout(marks.get(id));
  marks.delete(id);
}

function asKnown(member: Member, before: Known | undefined, late: boolean): Known {
  const since = before?.since ?? (late && before === undefined ? Date.now() : undefined);
  return { ...member, ...(since !== undefined && { since }) };
}

function asBackend(member: Known, departed: boolean, suspect: boolean): Backend {
  return { ...member, draining: departed || member.draining === true, suspect };
}

/** Whether two lists say the same, order included. */
export function sameBackends(one: readonly Backend[], other: readonly Backend[]): boolean {
  return one.length === other.length && one.every((backend, at) => sameBackend(backend, other[at]));
}

function sameBackend(one: Backend, other: Backend | undefined): boolean {
  return (
    one.id === other?.id &&
    one.origin === other.origin &&
    one.zone === other.zone &&
    one.draining === other.draining &&
    one.suspect === other.suspect
  );
}
