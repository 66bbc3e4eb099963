/** One connection through the proxy, and what passes unchanged directly too: what is wrong with what both saw. */

import { createParser } from 'eventsource-parser';
import type { Backend, Expected } from './backend.ts';
import { bodyText, requestBytes } from './bytes.ts';
import { DEADLINE, type Heard, type Sent, converse } from './converse.ts';
import { type Message, statusOf, valuesOf } from './http.ts';
import { type Body, type Connection, type Fault, MAX_BODY, type Step } from './shapes.ts';

export type Place = {
  readonly proxy: number;
  readonly backend: Backend;
  /** A name that no exchange has had. */
  readonly name: () => string;
  /** Backends break connections, and others' requests may be on them. */
  readonly stormy: boolean;
};

/** Milliseconds that a client waits where it may rightly get no answer. */
const SHORT = 100;
const OUTCOME_UNKNOWN = /The server was lost while it worked on this request/;
const PLAIN = { pipelined: false, write: 70_000, leaves: undefined } as const;

/** Rejects with what is wrong. */
export async function tryConnection(place: Place, connection: Connection): Promise<void> {
  const steps = untilUnclear(connection.steps);
  const session = steps.some(isOfOwnSession) ? await openSession(place) : '';
  const named = steps.map((step) => ({ step, name: place.name() }));
  for (const { step, name } of named) place.backend.expect(name, expectedOf(step));
  const requests = named.map(({ step, name }) => sentOf(step, name, session));
  const heard = await converse(place.proxy, requests, connection);
  const opened = heard.answers.flatMap((answer) => valuesOf(answer, 'mcp-session-id'));
  for (const id of new Set([session, ...opened])) if (id !== '') await endSession(place, id);
  const fault =
    heard.fault ??
    answersFault(named, heard) ??
    (connection.leaves === undefined ? missingFault(place, steps, heard) : undefined);
  if (fault !== undefined) throw new Error(fault);
  for (const [at, { step, name }] of named.entries()) {
    const answer = heard.answers[at];
    if (answer === undefined || !passesUnchanged(step)) continue;
    if (place.stormy && isLoss(answer)) continue;
    const other = await directly(place, step, session);
    const different = differenceOf(withoutName(answer, name), other);
    if (different !== undefined) throw new Error(`${requests[at]?.bytes.slice(0, 300)}\n→ ${different}`);
  }
}

/** After a request that can be read in two ways, or says that it is the last, nothing can be said of those that follow. */
function untilUnclear(steps: readonly Step[]): readonly Step[] {
  const last = steps.findIndex(closes);
  return last === -1 ? steps : steps.slice(0, last + 1);
}

function isOfOwnSession({ request }: Step): boolean {
  return request.kind === 'sound' && request.session === 'own';
}

function sentOf({ request, answer }: Step, name: string, session: string): Sent {
  const method = request.kind === 'sound' ? request.method : 'POST';
  const waits = request.kind === 'broken' || mayWait(request, method, answer.fault);
  return { bytes: requestBytes(request, name, session), method, patience: waits ? SHORT : DEADLINE };
}

/** What is passed through waits as long as its backend, and a listening stream until its home takes it again. */
function mayWait({ target }: Step['request'], method: string, { kind }: Fault): boolean {
  if (!target.startsWith('/mcp')) return kind === 'silent';
  return method === 'GET' && kind !== 'none' && kind !== 'extra';
}

function expectedOf({ request, answer }: Step): Expected {
  if (request.kind !== 'sound') return { answer, request: undefined, once: false };
  const { method, target, body } = request;
  const atEndpoint = target.startsWith('/mcp');
  return {
    answer,
    request: {
      line: `${method} ${target} HTTP/1.1`,
      body: atEndpoint && method !== 'POST' ? '' : bodyText(body),
      batch: body.kind === 'messages' && body.batch,
    },
    once: bodyText(body).includes('"tools/call"'),
  };
}

async function openSession(place: Place): Promise<string> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'fuzz', version: '1' } };
  const heard = await converse(place.proxy, [sound('POST', place.name(), { method: 'initialize', params })], PLAIN);
  const [answer] = heard.answers;
  const [id] = answer === undefined ? [] : valuesOf(answer, 'mcp-session-id');
  if (id === undefined) throw new Error(`no session could be opened: ${heard.fault ?? heard.text}`);
  return id;
}

async function endSession(place: Place, session: string): Promise<void> {
  await converse(place.proxy, [sound('DELETE', place.name(), undefined, session)], PLAIN);
}

function sound(method: string, name: string, message?: object, session = ''): Sent {
  const body = message === undefined ? '' : JSON.stringify({ jsonrpc: '2.0', id: 0, ...message });
  const id = session === '' ? '' : `mcp-session-id: ${session}\r\n`;
  const head = `${method} /mcp HTTP/1.1\r\nhost: localhost\r\nx-fuzz: ${name}\r\n${id}content-type: application/json`;
  return { bytes: `${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`, method, patience: DEADLINE };
}

type Named = { readonly step: Step; readonly name: string };

/** Each answer belongs to its request, and bears nothing of what was hidden in another. */
function answersFault(named: readonly Named[], { answers, text }: Heard): string | undefined {
  for (const [at, answer] of answers.entries()) {
    const its = named[at];
    for (const name of valuesOf(answer, 'x-fuzz-answer')) {
      if (name !== its?.name) return `${its?.name ?? 'nobody'} got the answer to ${name}`;
    }
    if (its?.step.request.kind === 'ambiguous' && statusOf(answer) < 400) {
      return `an ambiguous request was answered ${answer.line}`;
    }
  }
  const trailer = /\r\n(set-cookie: stolen=1|mcp-session-id: stolen)\r\n/.exec(text)?.[1];
  return trailer === undefined ? undefined : `a trailer came through: ${trailer}`;
}

/** A sound request on a connection that all before it have left open has its answer. */
function missingFault(place: Place, steps: readonly Step[], { answers, left }: Heard): string | undefined {
  const at = answers.length;
  const step = steps[at];
  if (step === undefined || left || answers.some(saysClose) || step.request.kind !== 'sound') return undefined;
  return !place.stormy && passesUnchanged(step)
    ? `request ${at + 1} has no answer, and the connection is closed`
    : undefined;
}

/** Where a backend has broken a connection that this request was on, as the proxy says. */
function isLoss(answer: Message): boolean {
  const own = valuesOf(answer, 'x-fuzz-answer').length === 0;
  return own && (statusOf(answer) === 502 || OUTCOME_UNKNOWN.test(answer.body));
}

function closes({ request }: Step): boolean {
  return request.kind !== 'sound' || request.fields.some(([name, value]) => name === 'connection' && value === 'close');
}

function saysClose(answer: Message): boolean {
  return valuesOf(answer, 'connection').some((value) => value.toLowerCase() === 'close');
}

export function isStormy({ steps }: Connection): boolean {
  return steps.some(({ answer: { fault } }) => fault.kind !== 'none');
}

/** Whether the answer must be the one that the backend has given. */
function passesUnchanged({ request, answer }: Step): boolean {
  if (answer.fault.kind !== 'none' && answer.fault.kind !== 'extra') return false;
  if (request.kind !== 'sound' || request.session === 'unknown') return false;
  const atEndpoint = request.target.startsWith('/mcp');
  if (!atEndpoint) return true;
  if (request.method === 'POST') return isForAnyHome(request.body, answer.body);
  // Bodies of others are left out.
  return request.method !== 'PUT' && request.body.kind === 'none';
}

/** An `initialize` may go to another home; odd JSON is refused or not, as its parser says. */
function isForAnyHome(body: Body, said: Step['answer']['body']): boolean {
  const text = bodyText(body);
  if (body.kind !== 'messages' || text.includes('"initialize"') || text.length > MAX_BODY) return false;
  return body.messages.every((one) => 'id' in one && 'method' in one) && (said === 'result' || said === 'events');
}

async function directly(place: Place, step: Step, session: string): Promise<Message> {
  const name = place.name();
  place.backend.expect(name, { answer: step.answer, request: undefined, once: false });
  const { answers, fault, text } = await converse(place.backend.port, [sentOf(step, name, session)], PLAIN);
  const [answer] = answers;
  // What follows an answer is the backend's, and belongs to nobody.
  if (answer === undefined) throw new Error(`no answer from the backend itself: ${fault ?? JSON.stringify(text)}`);
  return withoutName(answer, name);
}

function withoutName(answer: Message, name: string): Message {
  return { ...answer, body: answer.body.replaceAll(name, 'NAME') };
}

/** By status, content, and the fields that pass from end to end. */
function differenceOf(seen: Message, direct: Message): string | undefined {
  if (statusOf(seen) !== statusOf(direct)) {
    return `${statusOf(seen)} and not ${statusOf(direct)}: ${JSON.stringify(seen.body.slice(0, 300))}`;
  }
  const [own, its] = [seen, direct].map((one) =>
    one.fields.flatMap(([name, value]) => (name.startsWith('x-said-') ? [`${name}: ${value}`] : [])).join('\n'),
  );
  if (own !== its) return `the fields ${JSON.stringify(own)} and not ${JSON.stringify(its)}`;
  const [content, expected] = [contentOf(seen), contentOf(direct)];
  if (content === expected) return undefined;
  return `the content ${JSON.stringify(content.slice(0, 300))} and not ${JSON.stringify(expected.slice(0, 300))}`;
}

function contentOf(answer: Message): string {
  if (!valuesOf(answer, 'content-type').some((type) => type.startsWith('text/event-stream'))) return answer.body;
  const events: unknown[] = [];
  const parser = createParser({ onEvent: (event) => events.push(event) });
  parser.feed(answer.body);
  return events.map((event) => JSON.stringify(event)).join('\n');
}
