/** Bytes ↔ whole server-sent events, bounded (WHATWG HTML, "Server-sent events"). Pure. */

/** What an event says, or `piece`: a part of one that is over the bound, to be passed on unread. */
export type Split = { readonly kind: 'event' | 'piece'; readonly raw: Buffer };

export type EventFields = { readonly id?: string; readonly data?: string };

export interface EventSplitter {
  feed(chunk: Buffer): readonly Split[];
  /** What is left of an unfinished event. */
  rest(): Buffer;
  /** The last piece was not the end of its event. */
  torn(): boolean;
  /** An event has begun that has not ended, be it held or passed on in pieces. */
  begun(): boolean;
}

const LF = 0x0a;
const CR = 0x0d;

/**
 * Splits a byte stream at its blank lines (LF, CRLF or CR), however it is cut into chunks. The parts put together are
 * the bytes that came. An event over `bound` bytes comes in pieces.
 */
export function eventSplitter(bound: number): EventSplitter {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let inPieces = false;
  let lineEmpty = true;
  let afterCr = false;
  let eventEmpty = true;

  function take(end: Buffer): Buffer {
    const raw = held.length === 0 ? end : Buffer.concat([...held, end]);
    held = [];
    heldBytes = 0;
    return raw;
  }

  /** The index after the blank line that ends the event at or after `from`, or -1. */
  function endOfEvent(chunk: Buffer, from: number): number {
    for (let at = from; at < chunk.length; at += 1) {
      const byte = chunk[at];
      if (byte === LF && afterCr) {
        afterCr = false;
      } else if (byte === LF || byte === CR) {
        afterCr = byte === CR;
        if (lineEmpty && !eventEmpty) return at + 1;
        lineEmpty = true;
      } else {
        afterCr = false;
        lineEmpty = false;
        eventEmpty = false;
      }
    }
    return -1;
  }

  function feed(chunk: Buffer): readonly Split[] {
    const splits: Split[] = [];
    let from = 0;
    for (let end = endOfEvent(chunk, 0); end !== -1; end = endOfEvent(chunk, end)) {
      // The LF of a CRLF pair belongs to the blank line that its CR has ended.
      if (afterCr && chunk[end] === LF) {
        end += 1;
        afterCr = false;
      }
      splits.push({ kind: inPieces ? 'piece' : 'event', raw: take(chunk.subarray(from, end)) });
      inPieces = false;
      eventEmpty = true;
      from = end;
    }
    const left = chunk.subarray(from);
    if (left.length > 0) {
      if (inPieces || heldBytes + left.length > bound) {
        splits.push({ kind: 'piece', raw: take(left) });
        inPieces = true;
      } else {
        held.push(left);
        heldBytes += left.length;
      }
    }
    return splits;
  }

  return { feed, rest: () => Buffer.concat(held), torn: () => inPieces, begun: () => !eventEmpty };
}

const MARK = Buffer.from('\uFEFF');

/**
 * The same without the byte order mark that may stand at a stream's beginning: behind a comment of ours it would spoil the
 * name of a field (WHATWG HTML, section 9.2.5).
 */
export function withoutMark(splitter: EventSplitter): EventSplitter {
  let begun = false;
  return {
    ...splitter,
    feed(chunk) {
      const splits = splitter.feed(chunk);
      const [first, ...others] = splits;
      if (begun || first === undefined) return splits;
      begun = true;
      return first.raw.subarray(0, MARK.length).equals(MARK)
        ? [{ ...first, raw: first.raw.subarray(MARK.length) }, ...others]
        : splits;
    },
  };
}

/** Reads the last `id` field and the joined `data` of a whole event. */
export function readEvent(raw: Buffer): EventFields {
  let id: string | undefined;
  let data: string | undefined;
  for (const { name, value } of fieldsOf(raw.toString('utf8'), '\uFEFF')) {
    if (name === 'id') id = value;
    else data = data === undefined ? value : `${data}\n${value}`;
  }
  return { ...(id !== undefined && { id }), ...(data !== undefined && { data }) };
}

/** A field of an event: its value, and where that stands. */
export type Field = {
  readonly name: 'id' | 'data';
  readonly value: string;
  readonly from: number;
  readonly to: number;
};

/** The `id` and `data` fields of a whole event, in order; values have one character per byte, and positions are of bytes. */
export function readFields(raw: Buffer): readonly Field[] {
  return fieldsOf(raw.toString('latin1'), '\u00EF\u00BB\u00BF');
}

/**
 * From positions in the joined `data` to positions in the event, for positions that never go down. That of an end is the
 * end of its line, not the beginning of the next.
 */
export function positionsInEvent(data: readonly Field[]): (position: number) => number {
  let line = 0;
  let start = 0;
  return (position) => {
    for (; ; line += 1) {
      const { from, to } = data[line] ?? { from: start, to: Number.POSITIVE_INFINITY };
      if (position <= start + to - from) return from + position - start;
      start += to - from + 1;
    }
  };
}

/** A message as an event of its own. */
export function formatEvent(message: unknown): Buffer {
  return Buffer.from(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}

/** JSON text as an event of its own; line breaks, which are white space in JSON, become those of events. */
export function eventOf(json: Buffer): Buffer {
  const lines = json.toString('latin1').replaceAll(/\r\n?|\n/g, '\ndata: ');
  return Buffer.from(`event: message\ndata: ${lines}\n\n`, 'latin1');
}

function fieldsOf(text: string, mark: string): Field[] {
  const fields: Field[] = [];
  const ends = /[\r\n]/g;
  for (let from = text.startsWith(mark) ? mark.length : 0; from < text.length;) {
    ends.lastIndex = from;
    const to = ends.exec(text)?.index ?? text.length;
    const field = fieldAt(text, from, to, 'id') ?? fieldAt(text, from, to, 'data');
    if (field !== undefined) fields.push(field);
    // Between the CR and the LF of one end is an empty line, which is no field.
    from = to + 1;
  }
  return fields;
}

/** The field of that name whose line goes from one position to the other, if it is one. */
function fieldAt(text: string, from: number, to: number, name: Field['name']): Field | undefined {
  if (!text.startsWith(name, from)) return undefined;
  let start = from + name.length;
  if (start < to) {
    if (text.charAt(start) !== ':') return undefined;
    start += text.charAt(start + 1) === ' ' ? 2 : 1;
  }
  return { name, value: text.slice(start, to), from: start, to };
}
