/**
 * What changes in the messages and event ids of a session that has migrated, both ways. Pure.
 *
 * Servers number their requests from 0 in each session, so from epoch 1 on the ids of their requests, their progress
 * tokens and their event ids carry the epoch: an answer meant for a dead home never reaches the new one.
 */
import type { JsonObject, JsonRpcId, JsonRpcMessage } from './contract.ts';
import { isObject, isRequest, isResponse } from './jsonrpc.ts';

/** `later`: it names an epoch that our copy of the session does not know yet, so the copy is old. */
type Renamed<T> =
  | { readonly kind: 'as-is' }
  | { readonly kind: 'later' }
  | { readonly kind: 'renamed'; readonly to: T };

const QUESTION_ID = /^e(\d+)\|([ns])\|(.*)$/s;
const EVENT_ID = /^e(\d+)\|(.*)$/s;

/**
 * The client's messages as the home of this epoch knows them. Answers and progress for a question of an older epoch
 * are left out: nobody is left to hear them.
 */
export function toHome(messages: readonly JsonRpcMessage[], epoch: number): Renamed<readonly JsonRpcMessage[]> {
  const kept: JsonRpcMessage[] = [];
  let changed = false;
  for (const message of messages) {
    const question = questionOf(message);
    const named = question === undefined ? 'same' : homeId(question, epoch);
    if (named === 'later') return { kind: 'later' };
    if (named === 'same') {
      kept.push(message);
      continue;
    }
    changed = true;
    if (named !== 'dead') kept.push(withQuestion(message, named.id));
  }
  return changed ? { kind: 'renamed', to: kept } : { kind: 'as-is' };
}

/** The cursor of a client's `Last-Event-ID`; `undefined` when its stream died with an older home. */
export function cursorToHome(cursor: string, epoch: number): Renamed<string | undefined> {
  const match = EVENT_ID.exec(cursor);
  const of = match === null ? 0 : Number(match[1]);
  if (of > epoch) return { kind: 'later' };
  if (epoch === 0) return { kind: 'as-is' };
  return { kind: 'renamed', to: of === epoch ? match?.[2] : undefined };
}

/** A home's event id as the client is shown it. */
export function eventIdToClient(id: string, epoch: number): string {
  return epoch === 0 ? id : `e${epoch}|${id}`;
}

/** A home's message as the client is shown it; the same object where nothing changes. */
export function toClient(message: JsonRpcMessage, epoch: number): JsonRpcMessage {
  if (epoch === 0 || isResponse(message)) return message;
  const { params } = message;
  if (isRequest(message)) {
    const renamed = { ...message, id: clientId(message.id, epoch) };
    return params === undefined ? renamed : { ...renamed, params: withProgressToken(params, epoch) };
  }
  const cancelled = params?.['requestId'];
  if (message.method !== 'notifications/cancelled' || !isId(cancelled)) return message;
  return { ...message, params: { ...params, requestId: clientId(cancelled, epoch) } };
}

function withProgressToken(params: JsonObject, epoch: number): JsonObject {
  const meta = params['_meta'];
  if (!isObject(meta) || !isId(meta['progressToken'])) return params;
  return { ...params, _meta: { ...meta, progressToken: clientId(meta['progressToken'], epoch) } };
}

function isId(value: unknown): value is JsonRpcId {
  return typeof value === 'string' || typeof value === 'number';
}

function clientId(id: JsonRpcId, epoch: number): string {
  return `e${epoch}|${typeof id === 'number' ? 'n' : 's'}|${id}`;
}

function homeId(id: JsonRpcId, epoch: number): 'same' | 'later' | 'dead' | { readonly id: JsonRpcId } {
  const match = typeof id === 'string' ? QUESTION_ID.exec(id) : null;
  const of = match === null ? 0 : Number(match[1]);
  if (of > epoch) return 'later';
  if (epoch === 0) return 'same';
  if (of < epoch || match === null) return 'dead';
  const text = match[3] ?? '';
  return { id: match[2] === 'n' ? Number(text) : text };
}

/** The id of the server's request that a client's message speaks of, if it does. */
function questionOf(message: JsonRpcMessage): JsonRpcId | undefined {
  if (isResponse(message)) return message.id ?? undefined;
  if (isRequest(message) || message.method !== 'notifications/progress') return undefined;
  const token = message.params?.['progressToken'];
  return isId(token) ? token : undefined;
}

function withQuestion(message: JsonRpcMessage, id: JsonRpcId): JsonRpcMessage {
  if (isResponse(message)) return { ...message, id };
  return { ...message, params: { ...message.params, progressToken: id } };
}
