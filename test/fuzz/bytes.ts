/** The bytes of a request and of an answer, as their shapes say. Strings are Latin-1. */

import type { AnswerShape, Body, Framing, RequestShape } from './shapes.ts';
import { POISON, UNKNOWN_SESSION } from './shapes.ts';
import type { Message } from './http.ts';

/** `name`: the exchange's; its answer bears it too. `session`: the id that the client holds. */
export function requestBytes(shape: RequestShape, name: string, session: string): string {
  const own = `host: localhost\r\nx-fuzz: ${name}\r\n`;
  if (shape.kind === 'ambiguous') {
    return `POST ${shape.target} HTTP/1.1\r\n${own}content-type: application/json\r\n${shape.fields}\r\n\r\n${shape.body}`;
  }
  if (shape.kind === 'broken') {
    const body = '{"jsonrpc":"2.0","id":1,"method":"ping"}';
    const head = `POST ${shape.target} HTTP/1.1\r\n${own}content-type: application/json\r\ncontent-length: ${body.length}`;
    return shape.edits.reduce(edited, `${head}\r\n\r\n${body}`);
  }
  const { method, target, fields, body, framing } = shape;
  const id = { none: '', own: session, unknown: UNKNOWN_SESSION }[shape.session];
  const all = [
    ...fields.map(([key, value]) => `${key}: ${value}\r\n`),
    ...(id === '' ? [] : [`mcp-session-id: ${id}\r\n`]),
    ...(body.kind === 'none' ? [] : [`content-type: ${target.startsWith('/mcp') ? 'application/json' : 'text/x'}\r\n`]),
  ];
  return `${method} ${target} HTTP/1.1\r\n${own}${all.join('')}${framed(body, framing)}`;
}

export function bodyText(body: Body): string {
  if (body.kind === 'none') return '';
  if (body.kind === 'text') return body.text;
  const json = JSON.stringify(body.batch ? body.messages : body.messages[0]);
  return Buffer.from(json, 'utf8').toString('latin1');
}

function framed(body: Body, framing: Framing): string {
  const text = bodyText(body);
  if (body.kind === 'none') return '\r\n';
  if (framing.kind === 'length') return `content-length: ${text.length}\r\n\r\n${text}`;
  const trailers = framing.trailers.map((line) => `${line}\r\n`).join('');
  return `transfer-encoding: chunked\r\n\r\n${chunked(text, framing.size, framing.extension)}0\r\n${trailers}\r\n`;
}

function chunked(text: string, size: number, extension = ''): string {
  return piecesOf(text, size)
    .map((piece) => `${piece.length.toString(16)}${extension}\r\n${piece}\r\n`)
    .join('');
}

/** At most 200 of them: else the rest is one. */
export function piecesOf(text: string, size: number): readonly string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length;) {
    const to = pieces.length < 199 ? at + size : text.length;
    pieces.push(text.slice(at, to));
    at = to;
  }
  return pieces;
}

function edited(text: string, { at, how, bytes }: Extract<RequestShape, { kind: 'broken' }>['edits'][number]): string {
  const from = Math.floor(at * text.length);
  const [before, after] = [text.slice(0, from), text.slice(from)];
  switch (how) {
    case 'insert':
      return before + bytes + after;
    case 'drop':
      return before + after.slice(bytes.length);
    case 'double':
      return before + after.slice(0, 20) + after;
    case 'replace':
      return before + bytes + after.slice(bytes.length);
  }
}

export type AnswerBytes = {
  readonly text: string;
  readonly write: number;
  /** Comes with the last write: later, it could be the answer to the next request. */
  readonly last?: string;
  /** What becomes of the connection then. */
  readonly after: 'stay' | 'end' | 'reset';
};

/** Undefined: the backend says nothing. */
export function answerBytes(shape: AnswerShape, name: string, request: Message): AnswerBytes | undefined {
  const { fault, write } = shape;
  if (fault.kind === 'silent') return undefined;
  if (fault.kind === 'raw') return { text: fault.bytes, write, after: 'end' };
  const method = request.line.split(' ', 1)[0] ?? '';
  const whole = shape.interim.join('') + finalBytes(shape, name, request, method);
  if (fault.kind === 'cut' || fault.kind === 'reset') {
    const after = fault.kind === 'cut' ? 'end' : 'reset';
    return { text: whole.slice(0, Math.floor(fault.at * whole.length)), write, after };
  }
  const closes = shape.framing === 'close' || shape.fields.some(([key]) => key === 'connection');
  if (fault.kind === 'extra' && !closes) return { text: whole, last: POISON, write, after: 'stay' };
  return { text: whole, write, after: closes ? 'end' : 'stay' };
}

function finalBytes(shape: AnswerShape, name: string, request: Message, method: string): string {
  const { status, phrase, fields, framing, trailers } = shape;
  const body = status === 204 || status === 304 ? '' : answerBody(shape, name, request);
  const type = { events: 'text/event-stream', text: 'text/plain', none: '', result: JSON_TYPE, error: JSON_TYPE };
  const head = [
    ...fields.filter(([key]) => key !== 'connection' || framing !== 'close'),
    ['x-fuzz-answer', name],
    ...(body === '' ? [] : [['content-type', type[shape.body]]]),
  ]
    .map(([key, value]) => `${key}: ${value}\r\n`)
    .join('');
  const start = `HTTP/1.1 ${status} ${phrase}\r\n${head}`;
  const noBody = method === 'HEAD' || status === 204 || status === 304;
  if (noBody) return framing === 'close' ? `${start}connection: close\r\n\r\n` : `${start}\r\n`;
  if (framing === 'close') return `${start}connection: close\r\n\r\n${body}`;
  if (framing === 'length') return `${start}content-length: ${body.length}\r\n\r\n${body}`;
  const end = `0\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`;
  return `${start}transfer-encoding: chunked\r\n\r\n${chunked(body, shape.chunk)}${end}`;
}

const JSON_TYPE = 'application/json';

/** Content for the requests that came, by their ids. */
function answerBody(shape: AnswerShape, name: string, { body }: Message): string {
  const said = `${name} ${shape.text}`;
  if (shape.body === 'none') return '';
  if (shape.body === 'text') return Buffer.from(said, 'utf8').toString('latin1');
  const { ids, batch } = idsOf(body);
  const answers = ids.map((id) =>
    shape.body === 'error'
      ? { jsonrpc: '2.0', id, error: { code: -32_050, message: said } }
      : { jsonrpc: '2.0', id, result: { text: said } },
  );
  const notes = Array.from({ length: shape.notes }, (_, at) => ({
    jsonrpc: '2.0',
    method: 'notifications/message',
    params: { level: 'info', data: `${at} ${name}` },
  }));
  const text =
    shape.body === 'events'
      ? [...notes, ...answers].map((one) => `event: message\ndata: ${JSON.stringify(one)}\n\n`).join('')
      : JSON.stringify(batch ? answers : (answers[0] ?? { jsonrpc: '2.0', method: 'notifications/x' }));
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** Of the requests among the messages of a body. */
function idsOf(body: string): { readonly ids: readonly unknown[]; readonly batch: boolean } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(body, 'latin1').toString('utf8'));
  } catch {
    return { ids: [], batch: false };
  }
  const batch = Array.isArray(parsed);
  const all: readonly unknown[] = Array.isArray(parsed) ? parsed : [parsed];
  const ids = all.flatMap((one) =>
    typeof one === 'object' && one !== null && 'id' in one && 'method' in one ? [one.id] : [],
  );
  return { ids, batch };
}
