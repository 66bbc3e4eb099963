/** Both ends of one attempt without a proxy around it: exchanges in few words, and a Sink that writes down its calls. */

import type { Exchange, JsonRpcId, JsonRpcMessage, RawHeaders, Session, Sink, SseEvent } from '../../proxy/contract.ts';

export const call = (id: JsonRpcId, name = 'effect') =>
  ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name } }) as const;
export const result = (id: JsonRpcId, text = 'done') => ({ jsonrpc: '2.0', id, result: { text } }) as const;
export const note = (data: unknown) =>
  ({ jsonrpc: '2.0', method: 'notifications/message', params: { level: 'info', data } }) as const;

export type ExchangeOptions = {
  readonly session?: Session | undefined;
  readonly headers?: RawHeaders;
  readonly signal?: AbortSignal;
};

/** A POST of one message or a batch; of a session where one is given. */
export function posting(body: JsonRpcMessage | readonly JsonRpcMessage[], options: ExchangeOptions = {}): Exchange {
  const { session } = options;
  const messages: readonly JsonRpcMessage[] = 'jsonrpc' in body ? [body] : body;
  return {
    ...exchange(options, ['content-type', 'application/json', 'accept', 'application/json, text/event-stream']),
    method: 'POST',
    body: Buffer.from(JSON.stringify(body)),
    intent:
      session === undefined ? { kind: 'any', messages } : { kind: 'continue', id: session.id, verb: 'post', messages },
  };
}

export function listening(session: Session, options: Omit<ExchangeOptions, 'session'> = {}): Exchange {
  return {
    ...exchange(options, ['accept', 'text/event-stream']),
    method: 'GET',
    intent: { kind: 'continue', id: session.id, verb: 'listen', messages: [] },
  };
}

function exchange({ headers = [], signal }: ExchangeOptions, own: RawHeaders): Omit<Exchange, 'method' | 'intent'> {
  return {
    target: '/mcp',
    headers: ['host', 'mcp.test', ...own, ...headers],
    body: undefined,
    signal: signal ?? new AbortController().signal,
  };
}

export class RecordingSink implements Sink {
  shown: Sink['shown'] = 'nothing';
  status: number | undefined;
  headers: RawHeaders = [];
  readonly events: SseEvent[] = [];
  bytes = 0;
  ending: 'open' | 'end' | 'cut' = 'open';
  #chunks: Buffer[] = [];
  #full = false;
  #waiting: (() => void)[] = [];

  get body(): string {
    return Buffer.concat(this.#chunks).toString('utf8');
  }

  /** The events as they came. */
  get texts(): readonly string[] {
    return this.events.map(({ raw }) => raw.toString('utf8'));
  }

  /** From now on every write says: wait. */
  fill(): void {
    this.#full = true;
  }

  drain(): void {
    this.#full = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  head(status: number, headers: RawHeaders): void {
    this.status = status;
    this.headers = headers;
    const streams = headers.some((field) => field.startsWith('text/event-stream'));
    this.shown = streams ? 'stream' : 'body';
  }

  event(event: SseEvent): boolean {
    this.events.push(event);
    this.bytes += event.raw.length;
    return !this.#full;
  }

  chunk(bytes: Buffer): boolean {
    this.#chunks.push(bytes);
    this.bytes += bytes.length;
    return !this.#full;
  }

  drained(): Promise<void> {
    return this.#full ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve();
  }

  end(): void {
    this.ending = 'end';
  }

  cut(): void {
    this.ending = 'cut';
  }
}
