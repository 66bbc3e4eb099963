/** A WebSocket on its way to a backend: from the upgrade to the end of both connections. */
import { ServerResponse } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { HEADER } from './contract.ts';
import type { Refusal } from './contract.ts';
import { isSendable } from './head.ts';
import { limitInterim } from './interim.ts';
import type { Journey } from './journey.ts';
import { Looped, saysLoop } from './loops.ts';
import { show } from './passing.ts';
import type { Passing } from './passing.ts';
import { LOOP, OUTCOME_UNKNOWN, STOPPING, refuse } from './refusal.ts';
import { ResponseSink } from './sink.ts';

/** How long a peer may take to end its side, once the other has ended or we stop, in milliseconds. */
const HANG_UP_MS = 1000;

/** An answer of our own to an upgrade: Node leaves the bare socket to us. */
export function refuseUpgrade(
  request: IncomingMessage,
  socket: Socket,
  refusal: Pick<Refusal, 'code' | 'message' | 'retryAfter' | 'mark'> & { readonly status: number },
): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  refuse(new ResponseSink(responseOn(request, socket), { closing: () => true }), refusal, []);
}

/** An answer that is no upgrade: the connection ends with it. */
function responseOn(request: IncomingMessage, socket: Socket): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket);
  response.once('finish', () => hangUp(socket));
  return response;
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
  function answered(answer: IncomingMessage): void {
    if (ending !== undefined || !socket.writable) return void answer.destroy();
    [status, ending] = passAnswer(answer, request, socket, journey);
    return undefined;
  }
  function stop(): void {
    hangUp(socket);
    if (backend !== undefined) hangUp(backend);
  }

  // Whoever carries the bytes listens too, at both ends.
  socket.setMaxListeners(0);
  socket.once('close', () => journey.end(ending === undefined ? 499 : status, ending ?? 'abandoned'));
  return {
    refuse: (refusal) => end(refusal, 'refused'),
    sending(sent: ClientRequest): void {
      journey.watch(sent);
      socket.once('close', () => sent.destroy());
      limitInterim(sent);
      sent.once('response', answered);
      leaveAnswerToUs(sent);
      sent.once('upgrade', (answer: IncomingMessage, other: Socket) => {
        status = 101;
        ending = 'answered';
        backend = other;
        answer.headers = ofUpgrade(answer.headers);
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

/**
 * httpxy writes the head of an answer unchecked; one that it takes for an upgrade it leaves to others. While it looks, the
 * answer is one: its listener comes between these two. Node looks at the same flag afterwards.
 */
function leaveAnswerToUs(sent: ClientRequest): void {
  const flag = (upgrade: boolean) => (answer: IncomingMessage) => void Object.assign(answer, { upgrade });
  sent.prependOnceListener('response', flag(true));
  process.nextTick(() => sent.once('response', flag(false)));
}

/** The backend takes no upgrade: its answer is the client's, or one of ours where it is none. Returns what the client sees. */
function passAnswer(
  answer: IncomingMessage,
  request: IncomingMessage,
  socket: Socket,
  journey: Journey,
): [number, 'answered' | 'refused' | 'lost'] {
  const response = responseOn(request, socket);
  const refuseWith = (refusal: Refusal): void =>
    refuse(new ResponseSink(response, { closing: () => true }), refusal, []);
  if (saysLoop(answer.statusCode, answer.rawHeaders)) {
    answer.resume();
    refuseWith(journey.fail(new Looped()));
    return [LOOP.status, 'refused'];
  }
  let refused = false;
  answer.once('error', () => {
    if (!refused) socket.destroy();
  });
  socket.once('close', () => answer.destroy());
  try {
    show(answer, journey.shown(answer.rawHeaders), response, true);
    return [answer.statusCode ?? 502, 'answered'];
  } catch {
    refused = true;
    answer.destroy();
    refuseWith(OUTCOME_UNKNOWN);
    return [OUTCOME_UNKNOWN.status, 'lost'];
  }
}

/** What httpxy writes into the head of the 101. A `Location` means nothing there, and might name a backend. */
function ofUpgrade(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name, value = '']) =>
        !name.startsWith(HEADER.affinityPrefix) &&
        name !== 'location' &&
        [value].flat().every((one) => isSendable(name, one)),
    ),
  );
}
