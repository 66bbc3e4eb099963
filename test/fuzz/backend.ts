/** A backend of raw TCP that reads strictly, answers each exchange as its shape says, and writes down what it must never see. */

import { type Socket, createServer } from 'node:net';
import { BoundedMap } from '../../proxy/bounded.ts';
import { soon } from '../house/until.ts';
import { answerBytes, piecesOf } from './bytes.ts';
import { type Message, readRequest, valuesOf } from './http.ts';
import type { AnswerShape } from './shapes.ts';

export type Expected = {
  readonly answer: AnswerShape;
  /** What was sent; undefined where nobody can say how it is read. */
  readonly request: { readonly line: string; readonly body: string; readonly batch: boolean } | undefined;
  /** It must not come twice. */
  readonly once: boolean;
};

export type Backend = {
  readonly port: number;
  /** Connections that are open. */
  readonly connections: number;
  /** What is wrong with what came, since the last look. */
  readonly faults: () => readonly string[];
  /** Ends all connections. */
  readonly drop: () => void;
  readonly expect: (name: string, expected: Expected) => void;
  readonly close: () => Promise<void>;
};

/** Names that are remembered: a request may be late. */
const MOST_NAMES = 5000;

export async function startBackend(): Promise<Backend> {
  const sockets = new Set<Socket>();
  const expected = new BoundedMap<Expected>(MOST_NAMES);
  const times = new BoundedMap<number>(MOST_NAMES);
  let faults: string[] = [];

  async function serve(socket: Socket, request: Message): Promise<void> {
    const name = valuesOf(request, 'x-fuzz').at(0) ?? '';
    const its = expected.get(name);
    if (request.line.includes(' /hidden ') || name === 'hidden') faults.push('a hidden request reached the backend');
    if (its === undefined || isOwn(request)) return write(socket, wellAnswer(request, name), 70_000);
    times.set(name, (times.get(name) ?? 0) + 1);
    const fault = faultOf(its, request, times.get(name) ?? 0);
    if (fault !== undefined) faults.push(`${name}: ${fault}`);
    const bytes = answerBytes(its.answer, name, request);
    if (bytes === undefined) return undefined;
    await write(socket, bytes.text, bytes.write, bytes.last);
    if (bytes.after === 'end') socket.end();
    else if (bytes.after === 'reset') socket.resetAndDestroy();
    return undefined;
  }

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket.once('close', () => sockets.delete(socket)).on('error', () => {}));
    let held = '';
    let busy = false;
    const take = (): void => {
      const read = busy || held === '' ? 'more' : readRequest(held);
      if (read === 'more') return;
      if ('fault' in read) {
        faults.push(`the backend got no request of HTTP: ${read.fault}`);
        return void socket.destroy();
      }
      held = read.rest;
      busy = true;
      void serve(socket, read.message).finally(() => {
        busy = false;
        take();
      });
    };
    socket.setEncoding('latin1').on('data', (text: string) => {
      held += text;
      take();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' ? (address?.port ?? 0) : 0,
    get connections() {
      return sockets.size;
    },
    faults() {
      const all = faults;
      faults = [];
      return all;
    },
    drop() {
      for (const socket of sockets) socket.destroy();
    },
    expect: (name, its) => void expected.set(name, its),
    async close() {
      for (const socket of sockets) socket.destroy();
      await soon('the end of the backend', new Promise((resolve) => server.close(resolve)));
    },
  };
}

/** The proxy's own: a ping, a handshake, the end of a session that is nobody's. */
function isOwn(request: Message): boolean {
  return (
    request.body.includes('"id":"mcp-affinity-') ||
    valuesOf(request, 'mcp-affinity-previous').length > 0 ||
    (request.line.startsWith('DELETE /mcp') && valuesOf(request, 'mcp-session-id').length > 0)
  );
}

function faultOf({ request, once }: Expected, seen: Message, times: number): string | undefined {
  if (once && times > 1) return `it ran ${times} times`;
  if (request === undefined) return undefined;
  if (seen.line !== request.line) return `${request.line} came as ${seen.line}`;
  // What was not answered of a batch may come again.
  if (seen.body === request.body || (request.batch && times > 1)) return undefined;
  let at = 0;
  while (seen.body[at] === request.body[at]) at += 1;
  return `its body of ${request.body.length} bytes came with ${seen.body.length}, and is another from byte ${at} on`;
}

function wellAnswer(request: Message, name: string): string {
  const opens = request.body.includes('"method":"initialize"');
  const result = opens
    ? { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'fuzz', version: '1' } }
    : {};
  const id = /"id":("[^"]*"|\d+)/.exec(request.body)?.[1];
  const session = opens ? `mcp-session-id: session-of-${name}\r\n` : '';
  if (id === undefined) return `HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n`;
  const body = `{"jsonrpc":"2.0","id":${id},"result":${JSON.stringify(result)}}`;
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${session}content-length: ${body.length}\r\n\r\n${body}`;
}

/** In writes of so many bytes, each in a turn of its own. */
export async function write(socket: Socket, text: string, size: number, last = ''): Promise<void> {
  const pieces = piecesOf(text, size);
  for (const [at, piece] of pieces.entries()) {
    if (!socket.writable) return;
    socket.write(at === pieces.length - 1 ? piece + last : piece, 'latin1');
    await new Promise((resolve) => setImmediate(resolve));
  }
}
