/** MCP on a path that is no endpoint's: served there, its sessions would have no home. */
import { request as requestHttp } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as requestHttps } from 'node:https';
import { CODE, HEADER } from './contract.ts';
import type { Refusal } from './contract.ts';
import { endpointOf } from './endpoint.ts';
import type { Telemetry } from './events.ts';
import { isRequest, parseMessages } from './jsonrpc.ts';

/** Bytes: an `initialize` is short, and what is longer is not held up. Below what Node buffers unread. */
const MOST_PEEKED = 16_384;
/** Milliseconds: whoever sends an `initialize` sends it at once. */
const LONGEST_PEEK_MS = 500;
/** Characters of a path that are shown. */
const MOST_SHOWN = 200;
/** Paths that are warned of, each once: a scanner tries many. */
const MOST_WARNED = 10;

/** 404 to a request, before it is sent on; 502 where the backend has answered it already. */
export type WrongPath = (status: 404 | 502, target: string) => Refusal;

/** What is said to the client; the log says it too. `path`: the endpoints'. */
export function createWrongPath({
  path: served,
  telemetry,
}: {
  readonly path: readonly string[];
  readonly telemetry: Telemetry;
}): WrongPath {
  const warned = new Set<string>();
  return (status, target) => {
    const [whole = ''] = target.split('?', 1);
    const path = whole.length > MOST_SHOWN ? `${whole.slice(0, MOST_SHOWN)}…` : whole;
    if (!warned.has(path) && warned.size < MOST_WARNED) {
      telemetry.record({ type: 'wrong-path', path, served: served.join(',') });
      warned.add(path);
    }
    const message = `Not found: this proxy serves MCP at ${served.join(', ')} (--path), and the request came to ${path}`;
    return { kind: 'refuse', status, code: CODE.server, message };
  };
}

/** Ends a session that a backend has opened at another path: nobody will use it. Best effort, in the background. */
export function discardSession(origin: string, { url, headers }: IncomingMessage, id: string): void {
  const request = origin.startsWith('https:') ? requestHttps : requestHttp;
  const credentials = Object.fromEntries(
    Object.entries(headers).filter(([name]) => !/^(content-|transfer-encoding$|accept|connection$)/.test(name)),
  );
  const signal = AbortSignal.timeout(DISCARD_MS);
  try {
    const options = { ...endpointOf(origin), path: url, method: 'DELETE', agent: false, signal } as const;
    const sent = request({ ...options, headers: { ...credentials, [HEADER.session]: id } });
    sent.on('error', () => {}).on('response', (answer) => answer.on('error', () => {}).resume());
    sent.end();
  } catch {
    // An id that no field can hold.
  }
}
const DISCARD_MS = 10_000;

/**
 * Whether the request is a POST of an MCP `initialize`. At most `MOST_PEEKED` bytes are waited for, and half a second;
 * a body that is longer, or slower, is taken for another. Whoever reads the request next reads all of it. Never rejects.
 */
export async function opensSession(request: IncomingMessage): Promise<boolean> {
  const { 'content-type': type, 'content-length': length } = request.headers;
  if (request.method !== 'POST' || type?.split(';', 1)[0]?.trim().toLowerCase() !== 'application/json') return false;
  if (Number(length ?? 0) > MOST_PEEKED || !(await isThere(request))) return false;
  const body: unknown = request.read();
  if (!Buffer.isBuffer(body)) return false;
  // At once: its end is told only after a turn in which nothing is left.
  request.unshift(body);
  const parsed = parseMessages(body.toString('utf8'));
  return parsed.kind === 'messages' && parsed.messages.some((one) => isRequest(one) && one.method === 'initialize');
}

/** Resolves when the whole body has come and is short; with false when it is not, or does not come. */
function isThere(request: IncomingMessage): Promise<boolean> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (request.readableLength > MOST_PEEKED || request.destroyed) end(false);
      else if (request.complete) end(true);
    };
    const late = (): void => end(false);
    const end = (there: boolean): void => {
      clearTimeout(timer);
      request.off('readable', look).off('close', late);
      resolve(there);
    };
    const timer = setTimeout(late, LONGEST_PEEK_MS);
    request.on('readable', look).once('close', late);
    look();
  });
}
