/** Which JSON texts are parsed, and how much of them: decided by their bytes, in linear time, before `JSON.parse`. Pure. */

export type Bound = 'depth' | 'batch' | 'members';

export type Skimmed =
  /** `whole`: nothing was left out of it. `depth`: of the text as it came. */
  | { readonly kind: 'text'; readonly text: string; readonly whole: boolean; readonly depth: number }
  | { readonly kind: 'beyond'; readonly bound: Bound }
  | { readonly kind: 'not-json' };

/** Objects and arrays within each other, a batch's own array included. */
export const MOST_DEPTH = 128;
export const MOST_MESSAGES = 100;
/** Of a longer text: members, objects and arrays of the messages, and of their params, results and errors, all together. */
export const MOST_MEMBERS = 5000;
/** Bytes. `JSON.parse` takes 0.2 s for a MB of small objects: of a longer text only what routing needs is parsed. */
export const WHOLE_TEXT = 64 * 1024;
/** Bytes outside of strings, at the levels that are parsed of a longer text. */
const MOST_LOOSE = 64 * 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
/** Brackets and braces differ in this bit only, and the closing ones from the opening ones by 2. */
const BRACE_BIT = 0x20;
const OPEN = 0x7b;
const CLOSE = 0x7d;
const MARK = Buffer.from('\uFEFF');

/**
 * A text of more than 64 KiB is returned without what stands in the objects and arrays within a message's params, result
 * or error: those become empty. What is left out is not checked but for its strings and brackets.
 */
export function skim(bytes: Buffer): Skimmed {
  const start = bytes.subarray(0, MARK.length).equals(MARK) ? MARK.length : 0;
  const reduced = bytes.length > WHOLE_TEXT;
  const found = scan(bytes, start, reduced);
  if (typeof found === 'string')
    return found === 'unbalanced' ? unbalanced(bytes, reduced) : { kind: 'beyond', bound: found };
  const { depth, cuts } = found;
  if (!reduced || cuts.length === 0) return { kind: 'text', text: bytes.toString('utf8', start), whole: true, depth };
  return { kind: 'text', text: without(bytes, start, cuts), whole: false, depth };
}

/** The parser says so of a short one. */
function unbalanced(bytes: Buffer, reduced: boolean): Skimmed {
  return reduced ? { kind: 'not-json' } : { kind: 'text', text: bytes.toString('utf8'), whole: true, depth: 0 };
}

/** `cuts`: where what can be left out begins and ends, in turns. */
type Scanned = { readonly depth: number; readonly cuts: readonly number[] };

/** At the levels that are parsed; what is deeper is passed over. */
function scan(bytes: Buffer, start: number, reduced: boolean): Bound | 'unbalanced' | Scanned {
  const { length } = bytes;
  const open: number[] = [];
  const cuts: number[] = [];
  // A message's params, result or error; one more in a batch.
  let kept = 2;
  let [deepest, messages, members, loose] = [0, 1, 0, 0];

  for (let at = start; at < length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) {
      at = endOfString(bytes, at);
    } else if ((byte | BRACE_BIT) === OPEN) {
      members += 1;
      if (open.length === 0 && byte === OPEN_BRACKET) kept = 3;
      if (open.length < kept) {
        open.push(byte);
        deepest = Math.max(deepest, open.length);
        continue;
      }
      const inner = passOver(bytes, at, MOST_DEPTH - open.length);
      if (typeof inner === 'string') return inner;
      cuts.push(at + 1, inner.end);
      deepest = Math.max(deepest, open.length + inner.depth);
      at = inner.end;
    } else if ((byte | BRACE_BIT) === CLOSE) {
      if (open.pop() !== byte - 2) return 'unbalanced';
    } else {
      loose += 1;
      if (byte === COMMA) members += 1;
      if (byte === COMMA && open.length === 1 && kept === 3) messages += 1;
      if (messages > MOST_MESSAGES) return 'batch';
    }
    if (reduced && (members > MOST_MEMBERS || loose > MOST_LOOSE)) return 'members';
  }
  return open.length === 0 && deepest > 0 ? { depth: deepest, cuts } : 'unbalanced';
}

/** An object or array that begins at `from`: the index of its end, and how many are within each other, itself included. */
function passOver(bytes: Buffer, from: number, most: number): 'depth' | 'unbalanced' | { end: number; depth: number } {
  const { length } = bytes;
  const open = new Uint8Array(MOST_DEPTH);
  let [depth, deepest] = [0, 0];
  for (let at = from; at < length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === QUOTE) {
      at = endOfString(bytes, at);
    } else if ((byte | BRACE_BIT) === OPEN) {
      if (depth === most) return 'depth';
      open[depth] = byte;
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if ((byte | BRACE_BIT) === CLOSE) {
      depth -= 1;
      if (open[depth] !== byte - 2) return 'unbalanced';
      if (depth === 0) return { end: at, depth: deepest };
    }
  }
  return 'unbalanced';
}

/** The index of the quote that ends the string which begins at `from`; beyond the text where none does. */
function endOfString(bytes: Buffer, from: number): number {
  const { length } = bytes;
  let at = from + 1;
  while (at < length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1;
  return at;
}

function without(bytes: Buffer, start: number, cuts: readonly number[]): string {
  let text = '';
  let done = start;
  for (let at = 0; at + 1 < cuts.length; at += 2) {
    text += bytes.toString('utf8', done, cuts[at]);
    done = cuts[at + 1] ?? done;
  }
  return text + bytes.toString('utf8', done);
}
