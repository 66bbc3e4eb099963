/** Backends from a fixed list: all of them are always members, a failed one is avoided for a moment. */

import type { Backend, Backends } from '../contract.ts';

/**
 * `origins` as `Config` gives them; a backend's id is its `host:port`. One that is suspected is so for `suspectMs`
 * (2,000), counted from the last failure; listeners hear of the first and of the end.
 */
export function staticBackends(origins: readonly string[], options: { suspectMs?: number } = {}): Backends {
  const { suspectMs = 2_000 } = options;
  const members = new Map(origins.map((origin) => [hostAndPort(origin), origin]));
  const suspects = new Map<string, NodeJS.Timeout>();
  const listeners = new Set<{ readonly call: () => void }>();
  let closed = false;
  let current = snapshot();

  function snapshot(): readonly Backend[] {
    return [...members].map(([id, origin]) => ({ id, origin, draining: false, suspect: suspects.has(id) }));
  }
  function changed(): void {
    current = snapshot();
    for (const listener of listeners) {
      try {
        listener.call();
      } catch {
        // A listener's trouble is its own: the others must hear.
      }
    }
  }
  function clear(id: string): void {
    suspects.delete(id);
    changed();
  }

  return {
    list: () => current,
    suspect(id) {
      if (closed || !members.has(id)) return;
      const running = suspects.get(id);
      if (running) {
        running.refresh();
        return;
      }
      suspects.set(id, setTimeout(clear, suspectMs, id).unref());
      changed();
    },
    onChange(f) {
      const listener = { call: f };
      if (!closed) listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      closed = true;
      for (const timer of suspects.values()) clearTimeout(timer);
      listeners.clear();
    },
  };
}

function hostAndPort(origin: string): string {
  const { hostname, port, protocol } = new URL(origin);
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`;
}
