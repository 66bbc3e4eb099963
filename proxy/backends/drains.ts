/** Drain marks: what a person has ordered to drain, laid over any discovery. */

import type { Backend, Backends } from '../contract.ts';
import type { Telemetry } from '../events.ts';
import { newListeners } from '../listeners.ts';
import { type DrainEvent, drainStory } from './drain-story.ts';

/** The ids of the backends that are ordered to drain, whoever ordered it. */
export interface Marks {
  /** As known now. */
  list(): ReadonlySet<string>;
  /** As it is. Throws SessionsUnavailable. */
  has(id: string): Promise<boolean>;
  /** Idempotent. Throws SessionsUnavailable. */
  set(id: string): Promise<void>;
  /** Idempotent. Throws SessionsUnavailable. */
  clear(id: string): Promise<void>;
  /** Returns an idempotent undo. */
  onChange(f: () => void): () => void;
  close(): void;
}

export interface DrainableBackends extends Backends {
  drains(id: string): void;
  /** Every proxy treats it as draining until it is undone, or it has left. Throws SessionsUnavailable. */
  drain(id: string): Promise<'marked' | 'unknown'>;
  /** Undoes `drain`, not what discovery says. Throws SessionsUnavailable. */
  undrain(id: string): Promise<'unmarked' | 'unknown'>;
}

/**
 * Milliseconds. One that drains says so again to the next new session that comes there; one that was started anew in
 * its place, which nobody may have seen, is back soon.
 */
const LAST_WORDS = 5_000;

export type DrainOptions = {
  /** Told `drain` events. */
  readonly record?: Telemetry['record'];
  /**
   * Who is a backend at all, whatever the checks of this proxy make of them: who is missing here has left, and its mark
   * goes with it, for all proxies. `inner` by default.
   */
  readonly members?: Membership;
};

/** What discovery says, below the checks. */
export type Membership = Pick<Backends, 'list' | 'onChange'>;

/** `close` closes neither the marks nor `inner`. */
export function drainableBackends(inner: Backends, marks: Marks, options: DrainOptions = {}): DrainableBackends {
  const { record = () => {}, members = inner } = options;
  const listeners = newListeners<void>();
  /** A mark goes with its backend: the next one at that address is another. */
  const seen = new Set<string>();
  const said = newSayings(() => changed());
  let current = look();

  function look(): readonly Backend[] {
    const marked = marks.list();
    const drains = ({ id, draining }: Backend): boolean => !draining && (marked.has(id) || said.has(id));
    return inner.list().map((one) => (drains(one) ? toDrain(one) : one));
  }
  function forgetLeft(): void {
    const listed = new Set(members.list().map(({ id }) => id));
    for (const id of listed) seen.add(id);
    for (const id of seen) {
      if (listed.has(id)) continue;
      seen.delete(id);
      // Where it cannot be done now, another proxy does it, or the mark's own life ends.
      if (marks.list().has(id)) marks.clear(id).catch(() => {});
    }
  }
  function changed(): void {
    const before = current;
    current = look();
    for (const event of drainStory(before, current, (id) => whoSaysSo(id, inner, marks))) record(event);
    if (!same(before, current)) listeners.tell();
  }
  const undo = [members.onChange(forgetLeft), inner.onChange(changed), marks.onChange(changed)];
  forgetLeft();

  const known = (id: string): boolean => inner.list().some((one) => one.id === id);
  return {
    list: () => current,
    suspect(id, cause) {
      // It has stopped; what comes back at its address does not drain.
      said.delete(id);
      inner.suspect(id, cause);
    },
    answers: (id) => inner.answers?.(id),
    drains(id) {
      if (known(id)) said.add(id);
    },
    onChange: listeners.add,
    async drain(id) {
      if (!known(id)) return 'unknown';
      await marks.set(id);
      return 'marked';
    },
    async undrain(id) {
      if (!known(id) && !marks.list().has(id)) return 'unknown';
      await marks.clear(id);
      return 'unmarked';
    },
    async close() {
      for (const one of undo) one();
      said.clear();
      listeners.clear();
    },
  };
}

function whoSaysSo(id: string, inner: Backends, marks: Marks): NonNullable<DrainEvent['by']> {
  if (inner.list().some((one) => one.id === id && one.draining)) return 'discovery';
  return marks.list().has(id) ? 'order' : 'backend';
}

function toDrain(backend: Backend): Backend {
  return { ...backend, draining: true };
}

/** Those that say themselves that they drain, for as long as that can be true. */
function newSayings(changed: () => void) {
  const timers = new Map<string, NodeJS.Timeout>();
  function forget(id: string): void {
    clearTimeout(timers.get(id));
    if (timers.delete(id)) changed();
  }
  return {
    has: (id: string) => timers.has(id),
    add(id: string): void {
      if (timers.has(id)) return;
      timers.set(id, setTimeout(forget, LAST_WORDS, id).unref());
      changed();
    },
    delete: forget,
    clear(): void {
      for (const timer of timers.values()) clearTimeout(timer);
    },
  };
}

function same(one: readonly Backend[], other: readonly Backend[]): boolean {
  return one.length === other.length && one.every((backend, at) => backend === other[at]);
}

/** For a proxy that is alone. */
export function memoryMarks(): Marks {
  const marked = new Set<string>();
  const listeners = newListeners<void>();
  return {
    list: () => marked,
    has: async (id) => marked.has(id),
    async set(id) {
      marked.add(id);
      listeners.tell();
    },
    async clear(id) {
      if (marked.delete(id)) listeners.tell();
    },
    onChange: listeners.add,
    close() {},
  };
}
