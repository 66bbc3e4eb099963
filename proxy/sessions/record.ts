/** A session as Redis keeps it: without the client's id, which is a bearer secret. */

import type { JsonObject, Journal, Session } from '../contract.ts';
import { isObject } from '../jsonrpc.ts';

/** `backendSessionId` is left out while it is the client's id; an early record has no `changes`. */
type SessionRecord = Omit<Session, 'id' | 'backendSessionId' | 'changes'> &
  Partial<Pick<Session, 'backendSessionId' | 'changes'>>;

export function writeRecord({ id, backendSessionId, ...rest }: Session): string {
  const record: SessionRecord = backendSessionId === id ? rest : { ...rest, backendSessionId };
  return JSON.stringify(record);
}

/** Undefined when the text is no record that this version understands. */
export function readRecord(id: string, text: string): Session | undefined {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isRecord(record) ? { backendSessionId: id, changes: 0, ...record, id } : undefined;
}

function isRecord(value: unknown): value is SessionRecord {
  if (!isObject(value)) return false;
  const { home } = value;
  return (
    isObject(home) &&
    hasTypes(home, { id: 'string', origin: 'string' }) &&
    hasTypes(value, { epoch: 'number', revision: 'string', createdAt: 'number', protocolVersion: 'string' }) &&
    mayHave(value, {
      backendSessionId: 'string',
      changes: 'number',
      homedAt: 'number',
      owner: 'string',
      ownedAt: 'number',
      challenged: 'boolean',
      path: 'string',
      busyUntil: 'number',
      asksFirst: 'boolean',
    }) &&
    isObject(value['capabilities']) &&
    isObject(value['serverInfo']) &&
    isJournal(value['journal']) &&
    isStrings(value['safeTools']) &&
    (value['forgottenAt'] === undefined || isNumbers(value['forgottenAt']))
  );
}

function isJournal(value: unknown): value is Journal {
  return (
    isObject(value) &&
    isObject(value['initialize']) &&
    hasTypes(value, { initialized: 'boolean' }) &&
    mayHave(value, { level: 'string', initializeText: 'string' }) &&
    isStrings(value['subscriptions'])
  );
}

type Types = Readonly<Record<string, 'string' | 'number' | 'boolean'>>;

function hasTypes(value: JsonObject, types: Types): boolean {
  return Object.entries(types).every(([name, type]) => typeof value[name] === type);
}

function mayHave(value: JsonObject, types: Types): boolean {
  return Object.entries(types).every(([name, type]) => value[name] === undefined || typeof value[name] === type);
}

function isStrings(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string');
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'number');
}
