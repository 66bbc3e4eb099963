/** Who wants to be told of something. */

export type Listeners<T> = {
  /** Returns an idempotent undo, of this call only. */
  readonly add: (f: (told: T) => void) => () => void;
  /** Tells all of them; one that throws harms nobody. */
  readonly tell: (what: T) => void;
  readonly clear: () => void;
};

export function newListeners<T>(): Listeners<T> {
  const listeners = new Set<{ readonly call: (told: T) => void }>();
  return {
    add(f) {
      const listener = { call: f };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell(what) {
      for (const listener of listeners) {
        try {
          listener.call(what);
        } catch {
          // A listener's trouble is its own: the others must hear.
        }
      }
    },
    clear: () => listeners.clear(),
  };
}
