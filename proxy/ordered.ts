/** A map in the order in which its entries were set last, whose first entry is found at once. */

type Node<V> = { readonly key: string; readonly value: V; before: Node<V> | undefined; after: Node<V> | undefined };

/** A Map has that order too, but to find its first entry it passes over each that was deleted since it grew last. */
export class OrderedMap<V> {
  readonly #nodes = new Map<string, Node<V>>();
  #first: Node<V> | undefined;
  #last: Node<V> | undefined;

  get size(): number {
    return this.#nodes.size;
  }

  get(key: string): V | undefined {
    return this.#nodes.get(key)?.value;
  }

  has(key: string): boolean {
    return this.#nodes.has(key);
  }

  /** The entry is the last from now on. */
  set(key: string, value: V): this {
    this.delete(key);
    const node: Node<V> = { key, value, before: this.#last, after: undefined };
    this.#nodes.set(key, node);
    this.#first ??= node;
    if (this.#last) this.#last.after = node;
    this.#last = node;
    return this;
  }

  /** Returns whether it was there. */
  delete(key: string): boolean {
    const node = this.#nodes.get(key);
    if (node === undefined) return false;
    this.#nodes.delete(key);
    const { before, after } = node;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    return true;
  }

  /** The one that was set longest ago. */
  first(): readonly [key: string, value: V] | undefined {
    return this.#first && [this.#first.key, this.#first.value];
  }

  /** The first one first; the entry at hand may be deleted. */
  *[Symbol.iterator](): Generator<readonly [key: string, value: V]> {
    for (let node = this.#first; node; node = node.after) yield [node.key, node.value];
  }

  *keys(): Generator<string> {
    for (const [key] of this) yield key;
  }

  clear(): void {
    this.#nodes.clear();
    this.#first = undefined;
    this.#last = undefined;
  }
}
