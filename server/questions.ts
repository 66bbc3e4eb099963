/** Reads, in the bytes of an event stream and in what a client posts, which of a server's questions are open. Pure. */

import type { JsonRpcId } from '../proxy/contract.ts';

/** A server's word about a question to its client: it asks it, or takes it back. */
export type Asking = { readonly kind: 'asked' | 'cancelled'; readonly question: Question };

/** A JSON-RPC id as a map's key: `1` and `"1"` are two. */
export type Question = `${'string' | 'number'}:${JsonRpcId}`;

export type QuestionReader = {
  /** Takes the next bytes of the stream, and returns what they complete. The bytes may be reused afterwards. */
  read(bytes: Uint8Array): readonly Asking[];
  /** No event is begun and unfinished: a comment may follow. */
  readonly whole: boolean;
};

const LF = 0x0a;
const CR = 0x0d;
/** As much as an SDK takes of a message, in bytes; a longer event is passed over unread. */
const LONGEST_EVENT = 4 * 1024 * 1024;
const NONE: readonly Asking[] = [];

/** Reads a `text/event-stream`, however it is cut into chunks; lines may end in LF, CRLF or CR. Never throws. */
export function questionReader(): QuestionReader {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let lineEmpty = true;
  let eventEmpty = true;
  let afterCr = false;

  const hold = (part: Buffer) => {
    heldBytes += part.length;
    if (heldBytes > LONGEST_EVENT) held = [];
    else if (part.length > 0) held.push(Buffer.from(part));
  };
  const take = (end: Buffer) => {
    const event = heldBytes === 0 ? end : Buffer.concat([...held, end]);
    const over = heldBytes + end.length > LONGEST_EVENT;
    held = [];
    heldBytes = 0;
    return over ? NONE : askingsIn(event);
  };
  /** Whether this byte ends an event. */
  const step = (byte: number) => {
    const pair = byte === LF && afterCr;
    afterCr = byte === CR;
    if (pair) return false;
    if (byte !== LF && byte !== CR) {
      lineEmpty = false;
      eventEmpty = false;
      return false;
    }
    const ends = lineEmpty && !eventEmpty;
    lineEmpty = true;
    if (ends) eventEmpty = true;
    return ends;
  };

  return {
    read(bytes) {
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const found: Asking[] = [];
      let from = 0;
      for (let at = 0; at < chunk.length; at += 1) {
        if (!step(chunk[at] ?? 0)) continue;
        found.push(...take(chunk.subarray(from, at + 1)));
        from = at + 1;
      }
      hold(chunk.subarray(from));
      return found;
    },
    get whole() {
      return eventEmpty;
    },
  };
}

/** The questions that a client's POST answers. `body`: parsed JSON, or its text or bytes. */
export function answersIn(body: unknown): readonly Question[] {
  const messages = messagesIn(typeof body === 'string' || body instanceof Uint8Array ? parse(body) : body);
  return messages.flatMap((message) => {
    if (typeof message['method'] === 'string' || !('result' in message || 'error' in message)) return [];
    return questionOf(message['id']) ?? [];
  });
}

function askingsIn(event: Buffer): readonly Asking[] {
  // A name in JSON is never cut by a line's end: what does not hold it is no request, and is not parsed.
  if (!event.includes('"method"')) return NONE;
  return messagesIn(parse(dataOf(event))).flatMap((message): readonly Asking[] => {
    const { method, params } = message;
    const asked = typeof method === 'string' ? questionOf(message['id']) : undefined;
    if (asked) return [{ kind: 'asked', question: asked }];
    if (method !== 'notifications/cancelled' || !isObject(params)) return NONE;
    const question = questionOf(params['requestId']);
    return question ? [{ kind: 'cancelled', question }] : NONE;
  });
}

function dataOf(event: Buffer): string {
  const lines = event
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\n|\r/);
  return lines.flatMap((line) => /^data(?:: ?(.*))?$/s.exec(line)?.[1] ?? []).join('\n');
}

function messagesIn(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return (Array.isArray(value) ? value : [value]).filter(isObject);
}

function parse(text: string | Uint8Array): unknown {
  try {
    return JSON.parse(typeof text === 'string' ? text : Buffer.from(text).toString('utf8'));
  } catch {
    return undefined;
  }
}

function questionOf(id: unknown): Question | undefined {
  if (typeof id === 'string') return `string:${id}`;
  return typeof id === 'number' ? `number:${id}` : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
