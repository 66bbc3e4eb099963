/** Clients of a model: each has one session, speaks through either proxy, and notes how each request ended. */

import { type Exchange, HEADER, type JsonRpcMessage } from '../../../proxy/contract.ts';
import { headerValue } from '../../../proxy/headers.ts';
import type { Router } from '../../../proxy/router.ts';
import { RecordingSink } from '../recording.ts';
import type { Schedule } from './schedule.ts';

/** A request of a client, until its answer has ended. */
export type Request = { readonly what: string; readonly sink: RecordingSink; over: boolean };
export type ModelClient = {
  /** What it holds; undefined before it was told, and when it was told that its session is gone. */
  readonly session: string | undefined;
  /** All that it has ever held: a DELETE may have been refused. */
  readonly sessions: readonly string[];
  readonly listening: boolean;
  readonly open: () => void;
  readonly call: (key: string, safe: boolean) => void;
  readonly listen: () => void;
  readonly hangUp: () => void;
  readonly end: () => void;
};

export function newClient(routers: readonly Router[], schedule: Schedule, requests: Request[]): ModelClient {
  const { draw, say } = schedule;
  let session: string | undefined;
  let ears: AbortController | undefined;
  const sessions: string[] = [];
  let opening = false;
  let ids = 0;

  async function ask(what: string, exchange: Omit<Exchange, 'target' | 'headers'>): Promise<RecordingSink> {
    const sink = new RecordingSink();
    const request: Request = { what, sink, over: false };
    requests.push(request);
    say(what);
    const router = routers[Math.floor(draw() * routers.length)];
    await router?.handle({ ...exchange, target: '/mcp', headers: ['host', 'model'] }, sink);
    request.over = true;
    say(`${what} ended with ${sink.status}`);
    return sink;
  }
  const signal = (): AbortSignal => new AbortController().signal;
  function post(id: string, message: JsonRpcMessage, what: string): Promise<RecordingSink> {
    const body = Buffer.from(JSON.stringify(message));
    const intent = { kind: 'continue', id, verb: 'post', messages: [message] } as const;
    return ask(what, { method: 'POST', body, signal: signal(), intent });
  }
  async function open(): Promise<void> {
    const initialize = { jsonrpc: '2.0', id: 'open', method: 'initialize', params: {} } as const;
    const body = Buffer.from(JSON.stringify(initialize));
    const sink = await ask('open', { method: 'POST', body, signal: signal(), intent: { kind: 'open', initialize } });
    session = headerValue(sink.headers, HEADER.session);
    if (session === undefined) return;
    sessions.push(session);
    await post(session, { jsonrpc: '2.0', method: 'notifications/initialized' }, 'initialized');
  }
  async function call(id: string, key: string, safe: boolean): Promise<void> {
    const params = safe ? { key } : { name: 'effect', key };
    const method = safe ? 'ping' : 'tools/call';
    const sink = await post(id, { jsonrpc: '2.0', id: (ids += 1), method, params }, `${method} ${key}`);
    if (sink.status === 404 && session === id) session = undefined;
  }
  async function listen(id: string, leaving: AbortController): Promise<void> {
    const intent = { kind: 'continue', id, verb: 'listen', messages: [] } as const;
    await ask('listen', { method: 'GET', body: undefined, signal: leaving.signal, intent });
    if (ears === leaving) ears = undefined;
  }

  return {
    get session() {
      return session;
    },
    sessions,
    get listening() {
      return ears !== undefined;
    },
    open() {
      if (session !== undefined || opening) return;
      opening = true;
      void open().finally(() => {
        opening = false;
      });
    },
    call: (key, safe) => void (session !== undefined && call(session, key, safe)),
    listen() {
      if (session === undefined || ears !== undefined) return;
      ears = new AbortController();
      void listen(session, ears);
    },
    hangUp() {
      ears?.abort();
      ears = undefined;
    },
    end() {
      if (session === undefined) return;
      const intent = { kind: 'continue', id: session, verb: 'end', messages: [] } as const;
      session = undefined;
      ears = undefined;
      void ask('DELETE', { method: 'DELETE', body: undefined, signal: signal(), intent });
    },
  };
}
