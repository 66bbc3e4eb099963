/** What was set or added last: beyond so many, the oldest go. */

export class BoundedMap<K, V> extends Map<K, V> {
  readonly #most: number;

  /** `most`: entries. */
  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** The entry is the newest from now on. */
  override set(key: K, value: V): this {
    this.delete(key);
    super.set(key, value);
    dropOldest(this, this.#most);
    return this;
  }
}

export class BoundedSet extends Set<string> {
  readonly #most: number;

  /** `most`: strings. */
  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** It is the newest from now on. */
  override add(one: string): this {
    this.delete(one);
    super.add(one);
    dropOldest(this, this.#most);
    return this;
  }
}

function dropOldest<K>(kept: Map<K, unknown> | Set<K>, most: number): void {
  if (kept.size <= most) return;
  for (const oldest of kept.keys()) return void kept.delete(oldest);
}
