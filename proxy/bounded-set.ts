/** A set of the strings that were added last. */

export interface BoundedSet {
  add(one: string): void;
  has(one: string): boolean;
  delete(one: string): void;
}

/** Beyond `most`, the oldest go. */
export function boundedSet(most: number): BoundedSet {
  const kept = new Set<string>();
  return {
    add(one) {
      kept.delete(one);
      kept.add(one);
      const [oldest] = kept.size > most ? kept : [];
      if (oldest !== undefined) kept.delete(oldest);
    },
    has: (one) => kept.has(one),
    delete: (one) => void kept.delete(one),
  };
}
