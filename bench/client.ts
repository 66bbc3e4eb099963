/** An unmodified SDK client behind a simple balancer, which says of each call how it ended. */

import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport, StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { type Outcome, type Tally, note, noteFailure } from './tally.ts';

/** A proxy as a client reaches it. */
export type Door = { readonly url: string; readonly life: () => AbortSignal };

export type ClientOptions = {
  /** The proxy for the next request; asked again where that one refuses the connection. */
  readonly pick: () => Door;
  readonly tally: Tally;
  /** Obeys `Retry-After` of a 503, of which nothing has run, for so many seconds; an SDK does not do so by itself. */
  readonly comesBackFor: number;
};

export type SdkClient = {
  readonly sessionId: string;
  /** A question that was sent on its listening stream may not have been answered. */
  readonly owes: boolean;
  /** Calls a tool and counts how that ended; `once`: a call that must not run twice, whose key is given. */
  readonly call: (tool: string, args?: Record<string, unknown>, once?: string) => Promise<Outcome>;
  /** Begins a call that nobody waits for. */
  readonly abandon: (tool: string, args: Record<string, unknown>) => void;
  readonly ping: () => Promise<Outcome>;
  readonly subscribe: (uri: string) => Promise<Outcome>;
  /** Breaks the listening stream off; the SDK opens another. */
  readonly cutStream: () => void;
  /** With a DELETE, or without a word. */
  readonly leave: (how: 'goodbye' | 'silently') => Promise<void>;
};

/** Milliseconds. */
const PATIENCE_MS = 60_000;
/** What had come of an answer when its proxy was killed is read by then. */
const GRACE_MS = 500;
const UNKNOWN = 'the outcome is unknown';
/** An SDK's client gives up a listening stream after two attempts, so that any longer outage would silence it for good. */
const RECONNECTION = {
  initialReconnectionDelay: 500,
  maxReconnectionDelay: 2_000,
  reconnectionDelayGrowFactor: 1.5,
  maxRetries: 1_000,
};

/** Tools that say that they may be repeated. */
const SAFE: ReadonlySet<string> = new Set(['safe_load', 'ping']);

/** The lives of proxies that a call has used. */
type Call = { readonly lives: Set<AbortSignal>; readonly over: AbortController };

/** Connects, and asks for the tools; where that fails, how. */
export async function connectClient({ pick, tally, comesBackFor }: ClientOptions): Promise<SdkClient | Outcome> {
  const calls = new Set<Call>();
  let stream: AbortController | undefined;
  let left = false;
  let owes = false;
  /** Listening streams that were asked for, and those that were had. */
  const streams = { asked: 0, had: 0 };

  const used = (life: AbortSignal): void => {
    for (const call of calls) {
      call.lives.add(life);
      life.addEventListener('abort', () => setTimeout(() => call.over.abort(), GRACE_MS), { signal: call.over.signal });
    }
  };
  const send: typeof fetch = async (_url, init) => {
    const deadline = performance.now() + comesBackFor * 1_000;
    for (;;) {
      const { url, life } = pick();
      used(life());
      const answer = await fetch(url, init).catch(async (error: unknown) => {
        if (!isRefusal(error) || performance.now() > deadline) throw error;
        await delay(50);
      });
      if (answer === undefined) continue;
      const seconds = answer.status === 503 ? Number(answer.headers.get('retry-after') ?? Number.NaN) : Number.NaN;
      if (Number.isNaN(seconds) || performance.now() > deadline || init?.method === 'GET') return answer;
      tally.refused += 1;
      await answer.body?.cancel();
      await delay(seconds * 1_000);
    }
  };
  const sendAll: typeof fetch = async (url, init) => {
    if (init?.method !== 'GET') return send(url, init);
    // An SDK's client that was closed while it asked for a stream goes on asking, until it is told that there is none.
    if (left) return new Response(null, { status: 405 });
    streams.asked += 1;
    const cut = (stream = new AbortController());
    const signals = [cut.signal, ...(init.signal ? [init.signal] : [])];
    const answer = await send(url, { ...init, signal: AbortSignal.any(signals) });
    if (answer.ok) {
      tally.streams += 1;
      streams.had += 1;
    }
    return answer;
  };

  const client = newAnsweringClient(tally);
  const transport = new StreamableHTTPClientTransport(new URL(pick().url), {
    fetch: sendAll,
    reconnectionOptions: RECONNECTION,
  });
  async function ended(work: (signal: AbortSignal) => Promise<unknown>, isSafe: boolean): Promise<Outcome> {
    const call: Call = { lives: new Set(), over: new AbortController() };
    calls.add(call);
    const outcome = await work(call.over.signal).then(
      () => 'answered' as const,
      (error: unknown) => outcomeOf(error, call, isSafe),
    );
    calls.delete(call);
    call.over.abort();
    if (typeof outcome === 'string') return outcome;
    noteFailure(tally, outcome.words);
    return outcome.kind;
  }
  async function counted(
    what: string,
    work: (signal: AbortSignal) => Promise<unknown>,
    isSafe: boolean,
    once?: string,
  ): Promise<Outcome> {
    const begun = performance.now();
    const outcome = await ended(work, isSafe);
    note(tally, what, outcome, performance.now() - begun, once);
    return outcome;
  }

  const connected = await ended(async (signal) => {
    await client.connect(transport, { signal, timeout: PATIENCE_MS });
    await client.listTools(undefined, { signal, timeout: PATIENCE_MS });
  }, true);
  if (connected !== 'answered') {
    left = true;
    await client.close();
    return connected;
  }
  tally.sessions += 1;

  return {
    sessionId: transport.sessionId ?? '',
    get owes() {
      return owes;
    },
    call: (tool, args = {}, once) =>
      counted(
        tool,
        async (signal) => {
          const before = { ...streams };
          const owed = owes;
          if (args['listening'] === true) owes = true;
          const options = { signal, timeout: PATIENCE_MS, ...(tool === 'slow' && { onprogress: () => {} }) };
          const result = await client.callTool({ name: tool, arguments: args }, undefined, options);
          const words = JSON.stringify(result.content);
          if (result.isError === true) throw new Error(`the tool ${tool} says ${words}`);
          if (!words.startsWith('[{"type":"text","text":"unanswered')) {
            owes = owed;
            return;
          }
          tally.unanswered += 1;
          // The SDK asks for another stream at once where one has ended: this one was there all the time.
          const listened = before.had > 0 && before.had === before.asked && before.asked === streams.asked;
          if (listened) throw new Error('a question did not reach a client that listened all the time');
        },
        SAFE.has(tool),
        once,
      ),
    abandon: (tool, args) => void client.callTool({ name: tool, arguments: args }).catch(() => {}),
    ping: () => counted('ping', (signal) => client.ping({ signal, timeout: PATIENCE_MS }), true),
    subscribe: (uri) =>
      counted('subscribe', (signal) => client.subscribeResource({ uri }, { signal, timeout: PATIENCE_MS }), true),
    cutStream: () => stream?.abort(),
    async leave(how) {
      left = true;
      if (how === 'goodbye') await transport.terminateSession().catch(() => {});
      await client.close();
    },
  };
}

/** Answers what servers ask: elicitation, sampling, roots. */
function newAnsweringClient(tally: Tally): Client {
  const client = new Client(
    { name: 'soak', version: '1' },
    { capabilities: { elicitation: { form: {} }, sampling: {}, roots: { listChanged: true } } },
  );
  const answers = <T>(answer: T) => {
    tally.asked += 1;
    return answer;
  };
  client.setRequestHandler(ElicitRequestSchema, () => answers({ action: 'accept' as const, content: { yes: true } }));
  client.setRequestHandler(ListRootsRequestSchema, () => answers({ roots: [{ uri: 'file:///soak' }] }));
  client.setRequestHandler(CreateMessageRequestSchema, () =>
    answers({ model: 'soak', role: 'assistant' as const, content: { type: 'text' as const, text: 'yes' } }),
  );
  return client;
}

type Failure = { readonly kind: 'lost' | 'failed'; readonly words: string };

/** What may be repeated has an outcome, whoever dies. */
function outcomeOf(error: unknown, { lives }: Call, isSafe: boolean): 'unknown' | 'cut' | Failure {
  const words = inFewWords(error);
  if (words.includes(UNKNOWN) && !isSafe) return 'unknown';
  if ([...lives].some(({ aborted }) => aborted)) return 'cut';
  return { kind: error instanceof StreamableHTTPError && error.code === 404 ? 'lost' : 'failed', words };
}

function inFewWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = error instanceof StreamableHTTPError ? `${error.code} ` : '';
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return `${code}${error.message}${cause}`.replaceAll(/\d{3,}(?= ?ms)/g, '…').slice(0, 160);
}

/** Nothing was sent: a balancer takes another. */
function isRefusal(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}
