/** A listening stream by hand, at the client's end and at the server's. */

import type { ServerResponse } from 'node:http';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { z } from 'zod';
import type { Plain } from './plain.ts';
import { until } from './until.ts';

const SAID = z.object({ params: z.object({ data: z.string() }) });

export type RawStream = {
  /** What the log messages said, in order. */
  readonly heard: readonly string[];
  /** The server, or the proxy, has ended it, or broken it off. */
  readonly over: () => boolean;
  /** Resolves when it was heard. */
  readonly hears: (said: string) => Promise<void>;
  readonly leave: () => void;
};

/** Resolves when the stream has begun. Rejects where it is refused. */
export async function rawListen(url: string, id: string): Promise<RawStream> {
  const leaving = new AbortController();
  const headers = { accept: 'text/event-stream', 'mcp-session-id': id };
  const { status, body } = await fetch(url, { headers, signal: leaving.signal });
  if (status !== 200 || body === null) throw new Error(`GET was answered with ${status}`);
  const heard: string[] = [];
  let over = false;
  const reading = async () => {
    const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
    for await (const { data } of events) {
      const said = SAID.safeParse(JSON.parse(data));
      if (said.success) heard.push(said.data.params.data);
    }
  };
  const end = () => {
    over = true;
  };
  reading().then(end, end);
  return {
    heard,
    over: () => over,
    async hears(said) {
      await until(`${said} is heard`, () => heard.includes(said));
    },
    leave: () => leaving.abort(),
  };
}

export type ServedStream = { readonly session: string; readonly response: ServerResponse };

/** A log message, as an event. False: the other side does not read. */
export function sayOn({ response }: ServedStream, data: string): boolean {
  const params = { level: 'info', data };
  return response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/message', params })}\n\n`);
}

/** The streams that are open at the server now, in the order in which they were asked for. */
export function openStreams(plain: Plain): readonly ServedStream[] {
  return plain.streams.filter(({ response }) => !response.destroyed);
}
