/** How the connections of a server that stops end, so that no request is lost on its way. */
import type { Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

export type Connections = {
  /** From now on every answer whose head was not sent ends its connection (`Connection: close`, RFC 9112, section 9.6). */
  closeAfterAnswers(): void;
  /**
   * Closes the listener, in a moment when nobody connects where there is one within the time, and what is idle. From then on
   * every answer ends its connection, whatever its head said.
   */
  closeListener(withinMs: number): Promise<void>;
  /** Resolves when the last connection is closed. After `graceMs` it calls `cut` and closes the rest. */
  ended(graceMs: number, cut?: () => void): Promise<void>;
};

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
  const sockets = new Map<Socket, number>();
  const answers = new Set<ServerResponse>();
  let accepted = 0;
  let phase: 'open' | 'leaving' | 'closed' = 'open';
  let gone: Promise<void> | undefined;

  server.on('connection', (socket) => {
    accepted += 1;
    sockets.set(socket, performance.now());
    socket.once('close', () => sockets.delete(socket));
  });
  server.prependListener('request', ({ socket }, response) => {
    answers.add(response);
    if (phase !== 'open') response.shouldKeepAlive = false;
    response.once('finish', () => {
      // Its head was sent before, and promised that the connection is kept.
      if (phase === 'closed') socket.destroySoon();
    });
    response.once('close', () => answers.delete(response));
  });

  function closeAfterAnswers(): void {
    if (phase === 'open') phase = 'leaving';
    for (const answer of answers) if (!answer.headersSent) answer.shouldKeepAlive = false;
  }

  return {
    closeAfterAnswers,
    async closeListener(withinMs) {
      closeAfterAnswers();
      await untilQuiet(() => accepted, Math.min(withinMs, CROWDED_MS));
      phase = 'closed';
      gone = new Promise((resolve) => server.close(() => resolve()));
      for (const [socket, since] of sockets) closeUnused(socket, since);
    },
    async ended(graceMs, cut) {
      // In the check phase, when all that has come was read: a timer runs before that.
      const idle = setInterval(() => setImmediate(() => server.closeIdleConnections()), IDLE_EVERY_MS);
      const deadline = setTimeout(() => {
        cut?.();
        setImmediate(() => server.closeAllConnections());
      }, graceMs);
      await gone;
      clearInterval(idle);
      clearTimeout(deadline);
    },
  };
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

/** `closeIdleConnections` passes over those that have sent nothing yet. A request may be on its way to a new one. */
function closeUnused(socket: Socket, since: number): void {
  const close = (): void => {
    if (socket.bytesRead === 0) socket.destroy();
  };
  const left = since + UNUSED_MS - performance.now();
  if (left <= 0) return close();
  const late = setTimeout(close, left);
  socket.once('close', () => clearTimeout(late));
  return undefined;
}
