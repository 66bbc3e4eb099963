/** A client's connection: sends requests as a shape says, and reads the answers strictly. */

import { type Socket, connect } from 'node:net';
import { write } from './backend.ts';
import { type Message, readAnswer } from './http.ts';
import type { Connection } from './shapes.ts';

/** Milliseconds that an exchange may take: the proxy's own bounds are below. */
export const DEADLINE = 15_000;

export type Sent = {
  readonly bytes: string;
  readonly method: string;
  /** Milliseconds after which the client gives up, for what may rightly get no answer. */
  readonly patience: number;
};

export type Heard = {
  /** As many as came whole, in order. */
  readonly answers: readonly Message[];
  /** All that came. */
  readonly text: string;
  readonly fault: string | undefined;
  /** The client has left, or has given up. */
  readonly left: boolean;
};

export async function converse(
  port: number,
  requests: readonly Sent[],
  how: Pick<Connection, 'pipelined' | 'write' | 'leaves'>,
): Promise<Heard> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const wire = listenTo(
    socket,
    requests,
    how.leaves !== undefined && 'seen' in how.leaves ? how.leaves.seen : Infinity,
  );
  try {
    if (how.pipelined || (how.leaves !== undefined && 'sent' in how.leaves)) {
      const all = requests.map(({ bytes }) => bytes).join('');
      const part = how.leaves !== undefined && 'sent' in how.leaves ? how.leaves.sent : 1;
      await write(socket, all.slice(0, Math.floor(part * all.length)), how.write);
      if (part < 1) return { ...wire.heard(), left: true };
      const patience = Math.min(...requests.map((one) => one.patience));
      return await wire.until(requests.length, patience);
    }
    for (const [at, { bytes, patience }] of requests.entries()) {
      await write(socket, bytes, how.write);
      const heard = await wire.until(at + 1, patience);
      if (heard.fault !== undefined || heard.left || heard.answers.length <= at) return heard;
    }
    return wire.heard();
  } finally {
    socket.destroy();
  }
}

function listenTo(socket: Socket, requests: readonly Sent[], most: number) {
  const answers: Message[] = [];
  let text = '';
  let rest = '';
  let ended = false;
  let fault: string | undefined;
  let left = false;
  let changed = (): void => {};

  function take(): void {
    while (rest !== '' && fault === undefined) {
      const next = requests[answers.length];
      if (next === undefined) fault = `an answer that nobody asked for: ${JSON.stringify(rest.slice(0, 200))}`;
      const read = next === undefined ? 'more' : readAnswer(rest, next.method, ended);
      if (read === 'more') break;
      if ('fault' in read) fault = `an answer that is no HTTP: ${read.fault}`;
      else {
        answers.push(read.message);
        ({ rest } = read);
      }
    }
    changed();
  }
  socket.setEncoding('latin1').on('data', (piece: string) => {
    text += piece;
    rest += piece;
    if (text.length > most) {
      left = true;
      socket.destroy();
    }
    take();
  });
  socket.on('error', () => {});
  socket.once('close', () => {
    ended = true;
    take();
  });
  const heard = (): Heard => ({ answers, text, fault, left });

  return {
    heard,
    /** Resolves when so many answers are whole, or no more will come. */
    async until(count: number, patience: number): Promise<Heard> {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          if (patience >= DEADLINE) fault = `no answer after ${patience} ms, but ${JSON.stringify(rest.slice(0, 200))}`;
          left = true;
          resolve();
        }, patience);
        changed = () => {
          if (answers.length < count && !ended && fault === undefined) return;
          clearTimeout(timer);
          resolve();
        };
        changed();
      });
      return heard();
    },
  };
}
