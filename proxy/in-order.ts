/** Pipelined requests: each answer is that of its request, and nothing that follows a refused one is taken for a request. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

export type InOrder = {
  /** A request has come; false: it is not to be looked at, for one before it was the last of its connection. */
  begins(request: IncomingMessage, response?: ServerResponse): boolean;
  /** The request is the last of its connection that is looked at (RFC 9112, section 9.6): what follows may be a part of it. */
  isLast(request: IncomingMessage): void;
};

type Newest = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** To the request before. */
  readonly previous: ServerResponse | undefined;
};

/** Requests of a connection that wait for their answers; real clients send a few, if they send any before an answer. */
const MOST_WAITING = 32;

/**
 * Node takes pipelined requests while those before them run, and writes what it says itself at once, whoever waits.
 * `tooMany` is told of a connection that brings more than are taken: it ends with the answer to the last of them.
 */
export function keepInOrder(server: Server, tooMany: () => void): InOrder {
  const newest = new WeakMap<Duplex, Newest>();
  const waiting = new WeakMap<Duplex, number>();
  const over = new WeakSet<Duplex>();

  function count({ socket }: IncomingMessage, response: ServerResponse): void {
    const now = (waiting.get(socket) ?? 0) + 1;
    waiting.set(socket, now);
    response.once('close', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1));
    if (now < MOST_WAITING) return;
    over.add(socket);
    response.shouldKeepAlive = false;
    // Whoever reads the body of a request before makes Node read on.
    socket.on('resume', () => socket.pause()).pause();
    tooMany();
  }

  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (over.has(socket)) return;
    over.add(socket);
    const last = newest.get(socket);
    const waited = last?.request.complete === true ? last.response : last?.previous;
    const end = (): void => endWith(error, socket, last);
    if (waited === undefined || waited.writableFinished || waited.destroyed) end();
    else waited.once('finish', end);
  });
  server.on('checkContinue', (request, response) => {
    // Node would put it between the head and the body of an answer that has to wait.
    if (response.socket !== null) response.writeContinue();
    else response.once('socket', () => !response.headersSent && response.writeContinue());
    server.emit('request', request, response);
  });
  return {
    begins(request, response) {
      const { socket } = request;
      if (over.has(socket)) return false;
      if (response === undefined) return true;
      newest.set(socket, { request, response, previous: newest.get(socket)?.response });
      count(request, response);
      return true;
    },
    isLast: ({ socket }) => void over.add(socket),
  };
}

/** As Node itself does. */
function endWith({ code }: NodeJS.ErrnoException, socket: Duplex, last: Newest | undefined): void {
  // A request that was answered before it broke in its body has its answer.
  const answered = last?.request.complete === false && last.response.headersSent;
  const status = STATUS.get(code ?? '') ?? '400 Bad Request';
  if (socket.writable && !answered) socket.write(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`);
  socket.destroy();
}

const STATUS: ReadonlyMap<string, string> = new Map([
  ['HPE_HEADER_OVERFLOW', '431 Request Header Fields Too Large'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', '413 Payload Too Large'],
  ['ERR_HTTP_REQUEST_TIMEOUT', '408 Request Timeout'],
]);
