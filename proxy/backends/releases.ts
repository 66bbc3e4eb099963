/** Which release each backend runs, as it says itself, laid over any discovery. */

import type { Backend, Backends } from '../contract.ts';
import { newListeners } from '../listeners.ts';

export interface ReportedBackends extends Backends {
  /** It has said so in an answer of its own. */
  reports(id: string, release: number): void;
}

/** `close` does not close `inner`. */
export function reportedBackends(inner: Backends): ReportedBackends {
  const listeners = newListeners<void>();
  const releases = new Map<string, number>();
  let current = look();

  function withRelease(one: Backend): Backend {
    const release = releases.get(one.id);
    return release === undefined ? one : { ...one, release };
  }
  function look(): readonly Backend[] {
    return inner.list().map(withRelease);
  }
  function changed(): void {
    current = look();
    listeners.tell();
  }
  const undo = inner.onChange(() => {
    const listed = new Set(inner.list().map(({ id }) => id));
    for (const id of releases.keys()) if (!listed.has(id)) releases.delete(id);
    changed();
  });

  return {
    list: () => current,
    suspect(id, cause) {
      // What comes back at its address may be another.
      if (releases.delete(id)) changed();
      inner.suspect(id, cause);
    },
    drains: (id) => inner.drains?.(id),
    answers: (id) => inner.answers?.(id),
    reports(id, release) {
      if (releases.get(id) === release || !inner.list().some((one) => one.id === id)) return;
      releases.set(id, release);
      changed();
    },
    onChange: listeners.add,
    async close() {
      undo();
      listeners.clear();
    },
  };
}
