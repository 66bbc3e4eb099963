/** Reads, in the bytes of an event stream and in what a client posts, which of a server's questions are open. Pure. */

import type { JsonRpcId } from '../proxy/contract.ts';
import { eventSplitter, readEvent } from '../proxy/sse.ts';

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

/** As much as an SDK takes of a message, in bytes; a longer event is passed over unread. */
const LONGEST_EVENT = 4 * 1024 * 1024;
const NONE: readonly Asking[] = [];

/** Reads a `text/event-stream`, however it is cut into chunks; lines may end in LF, CRLF or CR. Never throws. */
export function questionReader(): QuestionReader {
  const splitter = eventSplitter(LONGEST_EVENT);
  return {
    read(bytes) {
      // The splitter holds what it is given.
      const splits = splitter.feed(Buffer.from(bytes));
      return splits.flatMap(({ kind, raw }) =>
        kind === 'piece' || raw.length > LONGEST_EVENT ? NONE : askingsIn(raw),
      );
    },
    get whole() {
      return !splitter.begun();
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
  return messagesIn(parse(readEvent(event).data ?? '')).flatMap((message): readonly Asking[] => {
    const { method, params } = message;
    const asked = typeof method === 'string' ? questionOf(message['id']) : undefined;
    if (asked) return [{ kind: 'asked', question: asked }];
    if (method !== 'notifications/cancelled' || !isObject(params)) return NONE;
    const question = questionOf(params['requestId']);
    return question ? [{ kind: 'cancelled', question }] : NONE;
  });
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
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
