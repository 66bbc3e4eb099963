/** How the connections of a server that stops end, so that no request is lost on its way. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Server as NetServer } from 'node:net';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

export type Connections = {
  /** From now on every answer whose head was not sent ends its connection (`Connection: close`, RFC 9112, section 9.6). */
  closeAfterAnswers(): void;
  /**
   * Closes the listener, in a moment when nobody connects where there is one within the time, and what is idle. A
   * connection that was used less than `keptMs` ago may bring another request until then.
   */
  closeListener(withinMs: number, keptMs: number): Promise<void>;
  /** Resolves when the last connection is closed. After `graceMs` it calls `cut` and closes the rest. */
  ended(graceMs: number, cut?: () => void): Promise<void>;
};

/** One connection, as it was when its last answer ended, or when it was opened. */
type Known = { running: number; since: number; read: number };

/** How long a new connection may take to send something, once the listener is closed, in milliseconds. */
const UNUSED_MS = 500;
/** A turn of the event loop that takes longer is busy; for how long one that is not is waited for. In milliseconds. */
const BUSY_MS = 0.5;
const BUSY_FOR_MS = 300;
/** How long the listener stays at most while new connections come in every turn, in milliseconds. */
const CROWDED_MS = 2000;
const IDLE_EVERY_MS = 50;

/** To be called before the server listens. */
export function trackConnections(server: Server): Connections {
  const known = new Map<Socket, Known>();
  const answers = new Set<ServerResponse>();
  let accepted = 0;
  let leaving = false;
  let gone = Promise.resolve();
  let kept = 0;

  server.on('connection', (socket) => {
    accepted += 1;
    known.set(socket, { running: 0, since: performance.now(), read: 0 });
    socket.once('close', () => known.delete(socket));
  });
  server.prependListener('request', (request, response) => {
    // Whoever reuses the connection of a stream at the moment when we end it would lose a request.
    if (leaving || listens(request)) response.shouldKeepAlive = false;
    answers.add(response);
    const connection = known.get(request.socket);
    if (connection !== undefined) connection.running += 1;
    response.once('close', () => {
      answers.delete(response);
      if (connection === undefined) return;
      connection.running -= 1;
      connection.since = performance.now();
      connection.read = request.socket.bytesRead;
    });
  });

  function closeAfterAnswers(): void {
    leaving = true;
    for (const answer of answers) if (!answer.headersSent) answer.shouldKeepAlive = false;
  }
  function closeIdle(): void {
    for (const [socket, { running, since, read }] of known) {
      // More was read: a request is on its way, or it is no HTTP any more.
      if (running > 0 || socket.bytesRead !== read) continue;
      if (performance.now() - since >= (read === 0 ? UNUSED_MS : kept)) socket.destroy();
    }
  }

  return {
    closeAfterAnswers,
    async closeListener(withinMs, keptMs) {
      closeAfterAnswers();
      await untilQuiet(() => accepted, Math.min(withinMs, CROWDED_MS));
      kept = keptMs;
      // The HTTP server's own closes whatever is idle at this moment.
      gone = new Promise((resolve) => NetServer.prototype.close.call(server, () => resolve()));
      closeIdle();
    },
    async ended(graceMs, cut) {
      // In the check phase, when all that has come was read: a timer runs before that.
      const idle = setInterval(() => setImmediate(closeIdle), IDLE_EVERY_MS);
      const deadline = setTimeout(() => {
        cut?.();
        setImmediate(() => server.closeAllConnections());
      }, graceMs);
      await gone;
      clearInterval(idle);
      clearTimeout(deadline);
      // For its timers.
      server.close(() => {});
    },
  };
}

/** It asks for a listening stream, whose connection is of no use after it. */
function listens({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && headers.accept?.toLowerCase().includes('text/event-stream') === true;
}

/**
 * Resolves after a turn of the event loop in which nobody connected, a short one where that can be had: whom the kernel has
 * let in and we have not, it resets when the listener closes. Node accepts one connection in a turn.
 */
async function untilQuiet(accepted: () => number, longestMs: number): Promise<void> {
  const begin = performance.now();
  for (;;) {
    const [before, start] = [accepted(), performance.now()];
    await nextTurn();
    const now = performance.now();
    const busy = now - start > BUSY_MS && now - begin < BUSY_FOR_MS;
    if ((accepted() === before && !busy) || now - begin > longestMs) return;
  }
}
