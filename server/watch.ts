/** Watches what handlers write to a response, and changes none of it. */

import type { ServerResponse } from 'node:http';

export type Head = {
  readonly status: number;
  /** The response's `Mcp-Session-Id`. */
  readonly session: string | undefined;
  /** An event stream whose bytes can be read. */
  readonly stream: 'plain' | 'encoded' | undefined;
};

export type Watcher = {
  /** Once, before the head is sent. */
  head(head: Head): void;
  /** Bytes of a plain event stream, before they are sent. */
  bytes(bytes: Uint8Array): void;
};

/** The response with arguments of any kind: the overloads are the handlers' business. */
type Loose = {
  writeHead(...args: unknown[]): unknown;
  write(...args: unknown[]): boolean;
  end(...args: unknown[]): unknown;
};

/**
 * Tells `watcher` what is written to `response` from now on. What handlers write after `response` has been ended by
 * another hand is dropped without an error, as if the client had left: `mine()` says whether it has been.
 */
export function watchResponse(response: ServerResponse, watcher: Watcher, mine: () => boolean): void {
  const loose: Loose = response;
  const [writeHead, write, end] = [
    loose.writeHead.bind(response),
    loose.write.bind(response),
    loose.end.bind(response),
  ];
  let head: Head | undefined;

  const see = (status: number, given: unknown) => {
    if (head || response.headersSent) return;
    head = readHead(response, status, given);
    watcher.head(head);
  };
  const look = (chunk: unknown, encoding: unknown) => {
    see(response.statusCode, undefined);
    if (head?.stream !== 'plain') return;
    if (chunk instanceof Uint8Array) watcher.bytes(chunk);
    else if (typeof chunk === 'string') watcher.bytes(Buffer.from(chunk, isEncoding(encoding) ? encoding : 'utf8'));
  };
  const late = () => response.writableEnded && mine();

  loose.writeHead = (...args) => {
    if (typeof args[0] === 'number')
      see(
        args[0],
        args.findLast((arg) => typeof arg === 'object' && arg !== null),
      );
    return writeHead(...args);
  };
  loose.write = (...args) => {
    if (late()) return drop(args);
    look(args[0], args[1]);
    return write(...args);
  };
  loose.end = (...args) => {
    if (late()) {
      drop(args);
      return response;
    }
    look(args[0], args[1]);
    return end(...args);
  };
}

/** As a write that went well. */
function drop(args: readonly unknown[]): boolean {
  const callback = args.find((arg) => typeof arg === 'function');
  if (callback) process.nextTick(() => void Reflect.apply(callback, undefined, []));
  return true;
}

function readHead(response: ServerResponse, status: number, given: unknown): Head {
  const field = (name: string) => {
    const value = fieldOf(given, name) ?? response.getHeader(name);
    return typeof value === 'string' ? value : undefined;
  };
  const isStream = field('content-type')?.trimStart().toLowerCase().startsWith('text/event-stream');
  const encoded = (field('content-encoding') ?? 'identity') !== 'identity';
  const stream = encoded ? 'encoded' : 'plain';
  return { status, session: field('mcp-session-id'), stream: isStream ? stream : undefined };
}

/** A field of what `writeHead` takes: an object, a flat list, or a list of pairs. */
function fieldOf(given: unknown, name: string): unknown {
  if (typeof given !== 'object' || given === null) return undefined;
  const list: readonly unknown[] = Array.isArray(given) ? given : Object.entries(given);
  const flat = Array.isArray(list[0]) ? list.flat() : list;
  const at = flat.findIndex((item, index) => index % 2 === 0 && String(item).toLowerCase() === name);
  return at === -1 ? undefined : flat[at + 1];
}

function isEncoding(value: unknown): value is BufferEncoding {
  return typeof value === 'string' && Buffer.isEncoding(value);
}
