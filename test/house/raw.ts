/** A client of raw TCP: sends any bytes, and keeps every byte it is answered. */

import { type Socket, connect } from 'node:net';
import { z } from 'zod';
import { soon, until } from './until.ts';

const heard: RawClient[] = [];
const SIGNS_OF_THE_INSIDE = /\.ts\b|\.js\b|node:|node_modules|\n +at |E[A-Z]*CONN[A-Z]*|ETIMEDOUT|UND_ERR|undici|HPE_/;
const ERROR = z.object({ jsonrpc: z.literal('2.0'), error: z.object({ code: z.int(), message: z.string() }) });

export class RawClient {
  /** All that came, as Latin-1. */
  text = '';
  /** Resolves when the connection is closed, by either side. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.text += text;
    });
    // A reset is an end too.
    socket.on('error', () => {});
    heard.push(this);
  }

  send(bytes: string | Buffer): this {
    this.#socket.write(bytes);
    return this;
  }

  /** Resolves when all has left; rejects when the other side has closed before. */
  sendAll(bytes: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Resolves with all that came so far, once that contains `text` so many times. */
  async saw(text: string, times = 1): Promise<string> {
    const what = `the client saw ${JSON.stringify(text)}, ${times} times`;
    return until(what, () => this.text.split(text).length > times && this.text);
  }

  /** Resolves with all that came, when the other side has closed. */
  async last(): Promise<string> {
    await soon('the connection to close', this.closed);
    return this.text;
  }

  /** The one answer on this connection, once it is whole. */
  async answer(): Promise<RawAnswer> {
    return until('the answer is whole', () => readAnswer(this.text));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  leave(): void {
    this.#socket.destroy();
  }
}

export type RawAnswer = {
  readonly status: number;
  readonly head: string;
  readonly body: string;
};

/** `status code: message` of an answer that is a JSON-RPC error. */
export function said({ status, body }: RawAnswer): string {
  const { error } = ERROR.parse(JSON.parse(body));
  return `${status} ${error.code}: ${error.message}`;
}

export async function dial(port: number): Promise<RawClient> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return new RawClient(socket);
}

/** The answer to one request, over a connection of its own. */
export async function askAt(url: string, bytes: string): Promise<RawAnswer> {
  const client = await dial(Number(new URL(url).port));
  const answer = await client.send(bytes).answer();
  client.leave();
  return answer;
}

/** The text of a request; a body gets its length, and is JSON where the fields do not say otherwise. */
export function request(line: string, fields: readonly string[] = [], body?: unknown): string {
  const all = ['host: localhost', ...fields];
  const has = (name: string) => all.some((field) => field.toLowerCase().startsWith(`${name}:`));
  const text = typeof body === 'string' || body === undefined ? (body ?? '') : JSON.stringify(body);
  if (body !== undefined && !has('content-type')) all.push('content-type: application/json');
  if (body !== undefined && !has('content-length')) all.push(`content-length: ${Buffer.byteLength(text)}`);
  return `${line} HTTP/1.1\r\n${all.map((field) => `${field}\r\n`).join('')}\r\n${text}`;
}

export const post = (body: unknown, ...fields: string[]): string => request('POST /mcp', fields, body);

/** Fields that CGI and WSGI read as ones that the proxy sets or goes by. */
export const DISGUISED = [
  'Mcp_Affinity_Session: stolen',
  'MCP-AFFINITY_BACKEND: b',
  'mcp_session_id: stolen',
  'Mcp_Protocol-Version: 2025-11-25',
  'Last_Event_Id: 7',
  'X_Forwarded_For: 6.6.6.6',
  'x-forwarded_user: root',
  'X.Forwarded.Host: evil.test',
  'X_Real_IP: 6.6.6.6',
  'Content_Length: 7',
  'Transfer_Encoding: chunked',
] as const;
/** Odd names that mean nothing to it. */
export const KEPT = ['X_Own: z', 'x_api_key: k', 'Ho_st: y', 'a!b: c'] as const;

/** What no client must ever be told, found in what all clients since the last look were told; empty when all is well. */
function leaks(secrets: readonly string[]): readonly string[] {
  const text = heard
    .splice(0)
    .map((client) => client.text)
    .join('\n');
  return [...(SIGNS_OF_THE_INSIDE.exec(text) ?? []), ...secrets.filter((secret) => text.includes(secret))];
}

/** Throws when there are any. */
export function assertTight(secrets: readonly string[]): void {
  const told = leaks(secrets);
  if (told.length > 0) throw new Error(`An answer tells what is inside: ${told.join(', ')}`);
}

function readAnswer(text: string): RawAnswer | undefined {
  const blank = text.indexOf('\r\n\r\n');
  if (blank === -1) return undefined;
  const head = text.slice(0, blank);
  const rest = text.slice(blank + 4);
  const status = Number(head.split(' ', 2)[1]);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return rest.length < Number(length) ? undefined : { status, head, body: rest };
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
    const body = unchunked(rest);
    return body === undefined ? undefined : { status, head, body };
  }
  return { status, head, body: '' };
}

/** Undefined while the last chunk is not there. */
function unchunked(text: string): string | undefined {
  let body = '';
  let at = 0;
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line === -1) return undefined;
    const length = Number.parseInt(text.slice(at, line), 16);
    if (length === 0) return body;
    if (text.length < line + 2 + length + 2) return undefined;
    body += text.slice(line + 2, line + 2 + length);
    at = line + 2 + length + 2;
  }
}
