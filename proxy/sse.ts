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

/** Reads the last `id` field and the joined `data` of a whole event. */
export function readEvent(raw: Buffer): EventFields {
  let id: string | undefined;
  let data: string | undefined;
  for (const line of linesOf(raw)) {
    const value = fieldValue(line, 'data');
    if (value !== undefined) data = data === undefined ? value : `${data}\n${value}`;
    else id = fieldValue(line, 'id') ?? id;
  }
  return { ...(id !== undefined && { id }), ...(data !== undefined && { data }) };
}

/** The same event with another `id` or `data`; every other line stays as it is. */
export function rewriteEvent(raw: Buffer, { id, data }: EventFields): Buffer {
  const kept = linesOf(raw).filter(
    (line) =>
      line !== '' &&
      (id === undefined || fieldValue(line, 'id') === undefined) &&
      (data === undefined || fieldValue(line, 'data') === undefined),
  );
  if (id !== undefined) kept.push(`id: ${id}`);
  if (data !== undefined) kept.push(...data.split('\n').map((line) => `data: ${line}`));
  return Buffer.from(`${kept.join('\n')}\n\n`);
}

/** A message as an event of its own. */
export function formatEvent(message: unknown): Buffer {
  return Buffer.from(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}

function linesOf(raw: Buffer): string[] {
  const text = raw.toString('utf8');
  return (text.startsWith('\uFEFF') ? text.slice(1) : text).split(/\r\n|\n|\r/);
}

function fieldValue(line: string, name: string): string | undefined {
  if (!line.startsWith(name)) return undefined;
  const rest = line.slice(name.length);
  if (rest === '') return '';
  if (!rest.startsWith(':')) return undefined;
  return rest.startsWith(': ') ? rest.slice(2) : rest.slice(1);
}
