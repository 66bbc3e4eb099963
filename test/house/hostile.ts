/** A backend of raw TCP that answers each request with the bytes that the request's `x-case` names. */

import { type Socket, createServer } from 'node:net';
import { soon } from './until.ts';

/** Bytes as Latin-1, or what becomes of the connection. `again`: written as long as the other side takes them. */
export type HostileAnswer = string | { readonly first: string; readonly again: string };

export type HostileBackend = {
  readonly origin: string;
  close(): Promise<void>;
};

/** A request without `x-case` gets `ok`. A string that ends in `END` is followed by the end of the connection. */
export async function startHostile(answers: Readonly<Record<string, HostileAnswer>>): Promise<HostileBackend> {
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    let held = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      held += text;
      for (let end = endOf(held); end !== undefined; end = endOf(held)) {
        answer(socket, held.slice(0, end), answers);
        held = held.slice(end);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    origin: `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await soon('the end of a backend', new Promise((resolve) => server.close(resolve)));
    },
  };
}

const END = 'END';

function answer(socket: Socket, request: string, answers: Readonly<Record<string, HostileAnswer>>): void {
  const name = /\r\nx-case: ([^\r]*)\r\n/i.exec(request)?.[1];
  if (name === undefined) return void socket.write(wellAnswer(request), 'latin1');
  const said = answers[name] ?? '';
  if (typeof said !== 'string') return flood(socket, said.first, said.again);
  if (said.endsWith(END)) return void socket.end(said.slice(0, -END.length), 'latin1');
  return void socket.write(said, 'latin1');
}

function wellAnswer(request: string): string {
  const opens = request.includes('"initialize"');
  const result = opens
    ? { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'hostile', version: '1' } }
    : {};
  const id = /"id":("[^"]*"|\d+)/.exec(request)?.[1] ?? '1';
  const body = `{"jsonrpc":"2.0","id":${id},"result":${JSON.stringify(result)}}`;
  const session = opens ? 'mcp-session-id: hostile-session\r\n' : '';
  return `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n${session}content-length: ${body.length}\r\n\r\n${body}`;
}

function flood(socket: Socket, first: string, again: string): void {
  const next = (error?: Error | null): void => {
    // Not from within the write: nobody else would be heard.
    if (!error && !socket.destroyed) setImmediate(() => socket.write(again, 'latin1', next));
  };
  socket.write(first, 'latin1', next);
}

function endOf(held: string): number | undefined {
  const blank = held.indexOf('\r\n\r\n');
  if (blank === -1) return undefined;
  const length = /\r\ncontent-length: *(\d+)/i.exec(held.slice(0, blank))?.[1] ?? '0';
  const end = blank + 4 + Number(length);
  return held.length < end ? undefined : end;
}
