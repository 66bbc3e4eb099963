/** The messages between proxies as text: bounded, and undefined for whatever is none of them. */

import type { JsonObject } from '../contract.ts';
import { isObject } from '../jsonrpc.ts';

/** Bytes. What is longer is neither sent nor read. */
const LONGEST = 65_536;

export type PeerMessage = {
  /** The name of the proxy that sent it. */
  readonly from: string;
} &
  /** `present` is the answer to `joined`. */
  (
    | { readonly kind: 'joined' | 'present' | 'leaving' }
    /** `ask`: wants an answer under this number. */
    | { readonly kind: 'message'; readonly topic: string; readonly message: JsonObject; readonly ask?: number }
    | { readonly kind: 'answer'; readonly ask: number; readonly message: JsonObject }
  );

/** Undefined when it is too long, or cannot be written as JSON. */
export function writeMessage(message: PeerMessage): string | undefined {
  try {
    const text = JSON.stringify(message);
    return Buffer.byteLength(text) > LONGEST ? undefined : text;
  } catch {
    return undefined;
  }
}

export function readMessage(text: string): PeerMessage | undefined {
  if (Buffer.byteLength(text) > LONGEST) return undefined;
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(read)) return undefined;
  const { from, kind, topic, message, ask } = read;
  if (typeof from !== 'string' || from === '') return undefined;
  if (kind === 'joined' || kind === 'present' || kind === 'leaving') return { from, kind };
  if (!isObject(message) || (ask !== undefined && typeof ask !== 'number')) return undefined;
  if (kind === 'answer') return ask === undefined ? undefined : { from, kind, ask, message };
  if (kind !== 'message' || typeof topic !== 'string') return undefined;
  return { from, kind, topic, message, ...(ask !== undefined && { ask }) };
}
