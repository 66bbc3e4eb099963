/** What was set or added last: beyond so many, the oldest go. Names of any length take little. */
import { hash as digest } from 'node:crypto';

/** Characters. */
const LONGEST = 256;

/** A short name in the place of a long one, which is as good to tell it from others. */
export function shortened(name: string): string {
  // No name begins so that comes in a field or in JSON of a message.
  return name.length <= LONGEST ? name : `\u0000${digest('sha256', name)}`;
}

export class BoundedMap<V> extends Map<string, V> {
  readonly #most: number;

  /** `most`: entries. */
  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** The entry is the newest from now on. */
  override set(key: string, value: V): this {
    this.delete(key);
    super.set(shortened(key), value);
    dropOldest(this, this.#most);
    return this;
  }

  override get(key: string): V | undefined {
    return super.get(shortened(key));
  }

  override has(key: string): boolean {
    return super.has(shortened(key));
  }

  override delete(key: string): boolean {
    return super.delete(shortened(key));
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
    super.add(shortened(one));
    dropOldest(this, this.#most);
    return this;
  }

  override has(one: string): boolean {
    return super.has(shortened(one));
  }

  override delete(one: string): boolean {
    return super.delete(shortened(one));
  }
}

function dropOldest(kept: Map<string, unknown> | Set<string>, most: number): void {
  if (kept.size <= most) return;
  for (const oldest of kept.keys()) return void kept.delete(oldest);
}
