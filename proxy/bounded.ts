/** What was set or added last: beyond so many, the oldest go. Names of any length take little. */
import { hash as digest } from 'node:crypto';
import { OrderedMap } from './ordered.ts';

/** Characters. */
const LONGEST = 256;

/** A short name in the place of a long one, which is as good to tell it from others. */
export function shortened(name: string): string {
  // No name begins so that comes in a field or in JSON of a message.
  return name.length <= LONGEST ? name : `\u0000${digest('sha256', name)}`;
}

export class BoundedMap<V> extends OrderedMap<V> {
  readonly #most: number;

  /** `most`: entries. */
  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** The entry is the newest from now on. */
  override set(key: string, value: V): this {
    super.set(shortened(key), value);
    const [oldest] = this.size > this.#most ? (this.first() ?? []) : [];
    if (oldest !== undefined) this.delete(oldest);
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

export class BoundedSet {
  readonly #map: BoundedMap<true>;

  /** `most`: strings. */
  constructor(most: number) {
    this.#map = new BoundedMap(most);
  }

  get size(): number {
    return this.#map.size;
  }

  /** It is the newest from now on. */
  add(one: string): this {
    this.#map.set(one, true);
    return this;
  }

  has(one: string): boolean {
    return this.#map.has(one);
  }

  delete(one: string): boolean {
    return this.#map.delete(one);
  }

  [Symbol.iterator](): Generator<string> {
    return this.#map.keys();
  }
}
