/**
 * What changes in the messages and event ids of a session that has migrated, both ways. Pure.
 *
 * Servers number their requests from 0 in each session, so from epoch 1 on the ids of their requests, their progress
 * tokens and their event ids carry the epoch: an answer meant for a dead home never reaches the new one. They are
 * changed where they stand in the text, and nothing else is: a number keeps the text that its home wrote.
 */
import type { JsonRpcId, JsonRpcMessage, SseEvent } from './contract.ts';
import { skim } from './json-bounds.ts';
import { isRequest, isResponse, parseMessages } from './jsonrpc.ts';
import { afterCharacters, edited, findMessages, stringAt, withoutMembers } from './json-text.ts';
import type { Edit, Name, Place } from './json-text.ts';
import { positionsInEvent, readEvent, readFields } from './sse.ts';
import type { Field } from './sse.ts';

/** `later`: it names an epoch that our copy of the session does not know yet, so the copy is old. */
type Renamed<T> =
  | { readonly kind: 'as-is' }
  | { readonly kind: 'later' }
  | { readonly kind: 'renamed'; readonly to: T };

/** A client's messages, and the text that they were read in. */
export type Sent = { readonly body: Buffer; readonly messages: readonly JsonRpcMessage[] };

const QUESTION_ID = /^e(\d+)\|([ns])\|(.*)$/s;
const EVENT_ID = /^e(\d+)\|(.*)$/s;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;

/**
 * The client's messages as the home of this epoch knows them. Answers and progress for a question of an older epoch
 * are left out, for nobody is left to hear them; there may be no message then.
 */
export function toHome(sent: Sent, epoch: number): Renamed<Sent> {
  const { body, messages } = sent;
  if (messages.some((message) => epochOf(questionOf(message)) > epoch)) return { kind: 'later' };
  if (epoch === 0 || !messages.some((message) => placesOfAnswer(message).length > 0)) return { kind: 'as-is' };
  const text = body.toString('latin1');
  const found = findMessages(text);
  const edits: Edit[] = [];
  const dead = new Set<number>();
  for (const [index, message] of messages.entries()) {
    const places = placesOfAnswer(message);
    for (const name of found[index]?.names ?? []) {
      if (!places.includes(name.place)) continue;
      const edit = homeName(text, name, epoch);
      if (edit === 'later') return { kind: 'later' };
      if (edit === 'dead') dead.add(index);
      else edits.push(edit);
    }
  }
  if (edits.length === 0 && dead.size === 0) return { kind: 'as-is' };
  const renamed = edited(body, edits);
  return { kind: 'renamed', to: part({ body: renamed, messages: readSent(renamed) }, (_, index) => !dead.has(index)) };
}

/** The messages that are to be kept, in the text that they came in: a batch stays one. */
export function part(sent: Sent, isKept: (message: JsonRpcMessage, index: number) => boolean): Sent {
  const kept = sent.messages.map(isKept);
  if (!kept.includes(false)) return sent;
  const found = findMessages(sent.body.toString('latin1'));
  const edits = withoutMembers(found, (index) => kept[index] === true);
  return { body: edited(sent.body, edits), messages: sent.messages.filter((_, index) => kept[index]) };
}

/** The cursor of a client's `Last-Event-ID`; `undefined` when its stream died with an older home. */
export function cursorToHome(cursor: string, epoch: number): Renamed<string | undefined> {
  const match = EVENT_ID.exec(cursor);
  const of = match === null ? 0 : Number(match[1]);
  if (of > epoch) return { kind: 'later' };
  if (epoch === 0) return { kind: 'as-is' };
  return { kind: 'renamed', to: of === epoch ? match?.[2] : undefined };
}

/** A home's event as the client is shown it: its own id, and the ids in its messages; the same where none is there. */
export function toClient(event: SseEvent, epoch: number): SseEvent {
  if (epoch === 0) return event;
  const asks = event.messages.some((message) => placesOfQuestion(message).length > 0);
  if (!asks && event.id === undefined) return event;
  const fields = readFields(event.raw);
  const ids = fields.filter(({ name, value }) => name === 'id' && value !== '');
  const idEdits = ids.map(({ from }) => ({ from, to: from, text: `e${epoch}|` }));
  if (!asks) return { ...event, raw: edited(event.raw, idEdits) };
  const dataEdits = questionEdits(fields, event.messages, epoch);
  const raw = edited(
    event.raw,
    [...idEdits, ...dataEdits].toSorted((one, other) => one.from - other.from),
  );
  return { ...event, raw, messages: read(readEvent(raw).data ?? '') };
}

function questionEdits(fields: readonly Field[], messages: readonly JsonRpcMessage[], epoch: number): readonly Edit[] {
  const data = fields.filter(({ name }) => name === 'data');
  const text = data.map(({ value }) => value).join('\n');
  const positionOf = positionsInEvent(data);
  const found = findMessages(text);
  return messages.flatMap((message, index) => {
    const places = placesOfQuestion(message);
    const names = found[index]?.names.filter(({ place }) => places.includes(place)) ?? [];
    return names
      .flatMap((name) => clientName(text, name, epoch))
      .map(({ from, to, text: added }) => ({ from: positionOf(from), to: positionOf(to), text: added }));
  });
}

/** As far as it was read at the endpoint. */
function readSent(body: Buffer): readonly JsonRpcMessage[] {
  const skimmed = skim(body);
  return skimmed.kind === 'text' ? read(skimmed.text) : [];
}

function read(text: string): readonly JsonRpcMessage[] {
  const parsed = parseMessages(text);
  return parsed.kind === 'messages' ? parsed.messages : [];
}

/** Puts what is ours around an id, whose text stays. */
function clientName(text: string, { from, to }: Name, epoch: number): readonly Edit[] {
  if (text.charAt(from) === '"') return [{ from: from + 1, to: from + 1, text: `e${epoch}|s|` }];
  return [
    { from, to: from, text: `"e${epoch}|n|` },
    { from: to, to, text: '"' },
  ];
}

/** Takes what is ours off an id. `dead`: no home of this epoch has asked under it. */
function homeName(text: string, { from, to }: Name, epoch: number): Edit | 'later' | 'dead' {
  if (text.charAt(from) !== '"') return 'dead';
  const id = stringAt(text, from, to);
  const of = epochOf(id);
  if (of !== epoch) return of > epoch ? 'later' : 'dead';
  const [, , type, name = ''] = QUESTION_ID.exec(id) ?? [];
  if (type === 's') return { from: from + 1, to: afterCharacters(text, from, id.length - name.length), text: '' };
  // What is no number was made up, and must not get into the text as it is.
  return NUMBER.test(name) ? { from, to, text: name } : 'dead';
}

/** The epoch of the home that asked under this id. */
function epochOf(id: JsonRpcId | undefined): number {
  return typeof id === 'string' ? Number(QUESTION_ID.exec(id)?.[1] ?? 0) : 0;
}

/** Where a home's message names a request of the home's own. */
function placesOfQuestion(message: JsonRpcMessage): readonly Place[] {
  if (isResponse(message)) return [];
  if (isRequest(message)) return ['id', 'params._meta.progressToken'];
  return message.method === 'notifications/cancelled' ? ['params.requestId'] : [];
}

/** Where a client's message names a request of the home's, if it does. */
function placesOfAnswer(message: JsonRpcMessage): readonly Place[] {
  if (questionOf(message) === undefined) return [];
  return isResponse(message) ? ['id'] : ['params.progressToken'];
}

/** The id of the server's request that a client's message speaks of, if it does. */
function questionOf(message: JsonRpcMessage): JsonRpcId | undefined {
  if (isResponse(message)) return message.id ?? undefined;
  if (isRequest(message) || message.method !== 'notifications/progress') return undefined;
  const token = message.params?.['progressToken'];
  return typeof token === 'string' || typeof token === 'number' ? token : undefined;
}
