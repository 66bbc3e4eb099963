/** How much memory a parsed JSON value takes, for bounds: counted high rather than low. */

/** Bytes of V8's heap, on 64 bits without compressed pointers. */
const [STRING, NUMBER, LIST, SLOT, OBJECT, PROPERTY] = [32, 24, 48, 12, 80, 72];

/** Bytes. `value` is what `JSON.parse` returns. */
export function sizeOf(value: unknown): number {
  let bytes = 0;
  const left: unknown[] = [value];
  while (left.length > 0) {
    const one = left.pop();
    if (typeof one === 'string') bytes += sizeOfText(one);
    else if (typeof one !== 'object' || one === null) bytes += NUMBER;
    else if (Array.isArray(one)) {
      bytes += LIST + SLOT * one.length;
      for (const item of one) left.push(item);
    } else {
      bytes += OBJECT;
      for (const [name, member] of Object.entries(one)) {
        bytes += PROPERTY + sizeOfText(name);
        left.push(member);
      }
    }
  }
  return bytes;
}

/** A byte a character, two where some is not of Latin-1. */
export function sizeOfText(text: string): number {
  return STRING + (Buffer.byteLength(text) > text.length ? 2 : 1) * text.length;
}
