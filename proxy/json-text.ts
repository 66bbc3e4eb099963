/**
 * The JSON text of JSON-RPC messages, changed in place: what is not replaced keeps its bytes. Pure.
 *
 * Parsing and writing JSON anew would change numbers (9007199254740993, 1.0, 1e400), repeated keys, key order, escapes
 * and white space. Texts here have one character per byte (Latin-1): all that JSON's grammar gives a meaning is ASCII, so
 * positions are positions of bytes, and bytes that are no UTF-8 survive.
 */

/** A part of a text; `to` is exclusive. */
export type Span = { readonly from: number; readonly to: number };

/** `text`, one character per byte, replaces the span. */
export type Edit = Span & { readonly text: string };

/** Where a message can name a request, or a version, as a path from its top. */
export type Place =
  | 'id'
  | 'params.requestId'
  | 'params.progressToken'
  | 'params.protocolVersion'
  | 'params._meta.progressToken';

/** A string, quotes included, or a number that stands at one of the places. A repeated key gives several. */
export type Name = Span & { readonly place: Place };

export type MessageSpan = Span & { readonly names: readonly Name[] };

/** What is looked for in the message itself, in its params, and in their `_meta`. */
const PLACES: readonly ReadonlyMap<string, Place>[] = [
  new Map([['id', 'id']]),
  new Map([
    ['requestId', 'params.requestId'],
    ['progressToken', 'params.progressToken'],
    ['protocolVersion', 'params.protocolVersion'],
  ]),
  new Map([['progressToken', 'params._meta.progressToken']]),
];
const WAY: readonly (string | undefined)[] = ['params', '_meta'];

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Finds the messages of a text, and what names a request in each. The text must be one that `parseMessages` takes: it is
 * known to be JSON, a message or a batch of them. Linear in its length, whatever its depth.
 */
export function findMessages(text: string): readonly MessageSpan[] {
  const messages: MessageSpan[] = [];
  const outside = /^(?:\u00EF\u00BB\u00BF)?[ \t\n\r]*\[/.test(text) ? 1 : 0;
  let names: Name[] = [];
  let start = 0;
  let depth = 0;
  // How many of the objects that are open are the message, its params and their `_meta`, from the top on without a gap.
  let onWay = 0;
  let key = '';
  let keyIsNext = false;

  const here = (): boolean => onWay > 0 && depth - outside === onWay;
  function note(from: number, to: number): void {
    const place = PLACES[onWay - 1]?.get(key);
    if (place !== undefined) names.push({ from, to, place });
  }

  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    let next = at + 1;
    if (code === QUOTE) {
      next = endOfString(text, at);
      if (here()) {
        if (keyIsNext) key = stringAt(text, at, next);
        else note(at, next);
        keyIsNext = false;
      }
    } else if (code === OPEN_BRACE) {
      if (depth === outside) {
        [start, names, onWay, keyIsNext] = [at, [], 1, true];
      } else if (here() && key === WAY[onWay - 1]) {
        onWay += 1;
        keyIsNext = true;
      }
      depth += 1;
    } else if (code === OPEN_BRACKET) {
      depth += 1;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      depth -= 1;
      if (depth === outside && onWay > 0) messages.push({ from: start, to: next, names });
      onWay = Math.min(onWay, depth - outside);
    } else if (here()) {
      if (code === COMMA) {
        keyIsNext = true;
      } else if (code === MINUS || (code >= ZERO && code <= NINE)) {
        next = endOfNumber(text, at);
        note(at, next);
      }
    }
    at = next;
  }
  return messages;
}

/** The index after the quote that ends the string which begins at `from`. */
function endOfString(text: string, from: number): number {
  for (let quote = text.indexOf('"', from + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let before = quote;
    while (text.charCodeAt(before - 1) === BACKSLASH) before -= 1;
    if ((quote - before) % 2 === 0) return quote + 1;
  }
  return text.length;
}

function endOfNumber(text: string, from: number): number {
  const rest = /[^-+.\deE]/g;
  rest.lastIndex = from;
  return rest.exec(text)?.index ?? text.length;
}

/** The value of a string, quotes included in its text. */
export function stringAt(text: string, from: number, to: number): string {
  const raw = text.slice(from + 1, to - 1);
  return raw.includes('\\') ? String(JSON.parse(`"${raw}"`)) : raw;
}

/** The index in the text after the first `count` characters of the string that begins at `from`, escapes counted as one. */
export function afterCharacters(text: string, from: number, count: number): number {
  let at = from + 1;
  for (let left = count; left > 0; left -= 1) {
    if (text.charCodeAt(at) !== BACKSLASH) at += 1;
    else at += text.charAt(at + 1) === 'u' ? 6 : 2;
  }
  return at;
}

/** Leaves out members of a batch, each with one of the commas beside it. */
export function withoutMembers(members: readonly Span[], isKept: (index: number) => boolean): readonly Edit[] {
  const edits: Edit[] = [];
  let keptOne = false;
  for (const [index, { from, to }] of members.entries()) {
    if (isKept(index)) keptOne = true;
    else if (keptOne) edits.push({ from: members[index - 1]?.to ?? from, to, text: '' });
    else edits.push({ from, to: members[index + 1]?.from ?? to, text: '' });
  }
  return edits;
}

/** The bytes with each span replaced. The edits are in order and do not overlap. */
export function edited(bytes: Buffer, edits: readonly Edit[]): Buffer {
  const parts: Buffer[] = [];
  let done = 0;
  for (const { from, to, text } of edits) {
    parts.push(bytes.subarray(done, from), Buffer.from(text, 'latin1'));
    done = to;
  }
  parts.push(bytes.subarray(done));
  return Buffer.concat(parts);
}
