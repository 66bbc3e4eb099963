/** A WebSocket on its way to a backend: from the upgrade to the end of both connections. */
import { ServerResponse } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { HEADER } from './contract.ts';
import type { Refusal } from './contract.ts';
import type { Journey } from './journey.ts';
import type { Passing } from './passing.ts';
import { OUTCOME_UNKNOWN, STOPPING, refuse } from './refusal.ts';
import { ResponseSink } from './sink.ts';

/** How long a peer may take to end its side, once the other has ended or we stop, in milliseconds. */
const HANG_UP_MS = 1000;

/** An answer of our own to an upgrade: Node leaves the bare socket to us. */
export function refuseUpgrade(
  request: IncomingMessage,
  socket: Socket,
  refusal: Pick<Refusal, 'code' | 'message' | 'retryAfter'> & { readonly status: number },
): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => hangUp(socket));
  refuse(new ResponseSink(response, { closing: () => true }), refusal, []);
}

/** Ends the connection, and closes it when the other side does not follow. */
function hangUp(socket: Socket): void {
  socket.end();
  // What is unread would turn the end into a reset.
  socket.resume();
  const late = setTimeout(() => socket.destroy(), HANG_UP_MS);
  socket.once('close', () => clearTimeout(late));
}

/** `journey` has chosen a backend; what happens on the way is told by whoever carries the bytes. */
export function passUpgrade(
  request: IncomingMessage,
  socket: Socket,
  journey: Journey,
): Passing & { refuse(refusal: Refusal): void } {
  let status = 0;
  let ending: 'answered' | 'refused' | 'lost' | undefined;
  let backend: Socket | undefined;
  let closing = false;

  function end(refusal: Refusal, as: 'refused' | 'lost'): void {
    status = refusal.status;
    ending = as;
    refuseUpgrade(request, socket, refusal);
  }
  function stop(): void {
    hangUp(socket);
    if (backend !== undefined) hangUp(backend);
  }

  socket.once('close', () => journey.end(ending === undefined ? 499 : status, ending ?? 'abandoned'));
  return {
    refuse: (refusal) => end(refusal, 'refused'),
    sending(sent: ClientRequest): void {
      journey.watch(sent);
      socket.once('close', () => sent.destroy());
      sent.once('response', (answer: IncomingMessage) => {
        status = answer.statusCode ?? 0;
        ending = 'answered';
        answer.headers = shownFields(answer.headers, journey);
      });
      sent.once('upgrade', (answer: IncomingMessage, other: Socket) => {
        status = 101;
        ending = 'answered';
        backend = other;
        answer.headers = shownFields(answer.headers, journey);
        other.once('close', () => hangUp(socket));
        socket.once('close', () => other.destroy());
        if (closing) setImmediate(stop);
      });
    },
    failed(cause: Error): void {
      if (ending !== undefined || socket.destroyed) return;
      const refusal = journey.fail(cause);
      end(refusal, refusal === OUTCOME_UNKNOWN ? 'lost' : 'refused');
    },
    /** A WebSocket has no end of its own: it is ended. One that has not begun may get its answer. */
    close(): void {
      closing = true;
      if (backend !== undefined) stop();
    },
    cut(): void {
      if (ending === undefined) end(STOPPING, 'refused');
      else socket.destroy();
      backend?.destroy();
    },
  };
}

function shownFields(headers: IncomingHttpHeaders, journey: Journey): IncomingHttpHeaders {
  const shown: IncomingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(HEADER.affinityPrefix)) continue;
    const fields = typeof value === 'string' ? journey.shown([name, value]) : [name];
    if (fields.length > 0) shown[name] = fields[1] ?? value;
  }
  return shown;
}
