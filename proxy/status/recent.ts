/** The last so many of something, the newest first. Pure. */

export type Recent<T> = { add(one: T): void; list(): readonly T[] };

export function newRecent<T>(most: number): Recent<T> {
  const kept: T[] = [];
  return {
    add(one) {
      kept.push(one);
      if (kept.length > most) kept.shift();
    },
    list: () => kept.toReversed(),
  };
}
