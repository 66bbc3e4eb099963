/** A `fetch` that changes nothing and records every exchange. */

import { readAnswer } from './answer.ts';
import type { Evidence } from './evidence.ts';
import { reasonOf } from './reason.ts';

export type Recorder = {
  readonly fetch: typeof fetch;
  /** Exchanges that begin from now on belong to this call; null: to none. */
  begin(call: number | null): void;
  /** Records that the call, or the opening, failed, unless one of its exchanges shows it. */
  failed(why: string, milliseconds: number): void;
  /** Resolves when every exchange has ended: close the client first, for a listening stream ends with it. */
  settled(): Promise<void>;
};

type Exchange = {
  readonly time: string;
  readonly begun: number;
  readonly call: number | null;
  readonly method: string;
  readonly jsonrpc_method: string | null;
  readonly session: string | undefined;
  /** The probe itself has given it up, which is no error of the other side. */
  readonly abandoned: () => boolean;
};

export function createRecorder(evidence: Evidence): Recorder {
  const running = new Set<Promise<void>>();
  const shownAsFailed = new Set<number | null>();
  let call: number | null = null;

  const observe = async (exchange: Exchange, pending: Promise<Response>) => {
    const { begun, abandoned, ...seen } = exchange;
    const end = { task_id: null, status: null, error: undefined };
    const add = (more: Partial<Parameters<Evidence['add']>[0]>) =>
      evidence.add({ ...seen, ...end, milliseconds: performance.now() - begun, ...more });
    let response: Response;
    try {
      response = await pending;
    } catch (error) {
      if (abandoned()) return add({});
      shownAsFailed.add(exchange.call);
      return add({ error: reasonOf(error) });
    }
    const { status } = response;
    const session = response.headers.get('mcp-session-id') ?? exchange.session;
    if (session !== undefined) evidence.sessionUsed(session);
    const refused = status >= 400 && !(status === 405 && exchange.method !== 'POST');
    // Before the body is read: the client may have done so first.
    if (refused) shownAsFailed.add(exchange.call);
    const { task, text, broken } = await readAnswer(response);
    if (status === 404 && /-32001|session not found/i.test(text)) evidence.sessionNotFound();
    const brokeOff = broken !== undefined && !abandoned();
    if (brokeOff) shownAsFailed.add(exchange.call);
    const error = refused ? `HTTP ${status} ${text}` : brokeOff ? broken : undefined;
    return add({ status, session, task_id: task ?? null, error });
  };

  return {
    begin: (number) => void (call = number),
    async fetch(url, init) {
      const answered = fetch(url, init);
      // The client keeps the very response that it got.
      const observed = observe(
        newExchange(init, call),
        answered.then((response) => response.clone()),
      );
      running.add(observed);
      void observed.finally(() => running.delete(observed));
      return answered;
    },
    failed(why, milliseconds) {
      if (shownAsFailed.has(call)) return;
      const time = new Date(Date.now() - milliseconds).toISOString();
      const noExchange = { method: null, jsonrpc_method: null, status: null, task_id: null };
      evidence.add({ time, call, ...noExchange, milliseconds, session: undefined, error: why });
    },
    async settled() {
      await Promise.all(running);
    },
  };
}

/** Only what is sent belongs to a call: a listening stream outlives it. */
function newExchange(init: RequestInit | undefined, call: number | null): Exchange {
  const method = init?.method ?? 'GET';
  return {
    time: new Date().toISOString(),
    begun: performance.now(),
    call: method === 'POST' ? call : null,
    method,
    jsonrpc_method: methodIn(init?.body),
    session: new Headers(init?.headers).get('mcp-session-id') ?? undefined,
    abandoned: () => init?.signal?.aborted === true,
  };
}

function methodIn(body: unknown): string | null {
  if (typeof body !== 'string') return null;
  const message: unknown = JSON.parse(body);
  if (typeof message !== 'object' || !message || !('method' in message)) return null;
  return String(message.method);
}
