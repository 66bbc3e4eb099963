/** An unmodified SDK client in few words: what it called, which task answered, what it heard. */

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema,
  ElicitRequestSchema,
  type ElicitRequest,
  type ElicitResult,
  LoggingMessageNotificationSchema,
  ResourceUpdatedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';

export const CLOCK = 'demo://clock';
/** What an unsafe call gets whose server died under it. */
export const UNKNOWN = 'the outcome is unknown';

export type TalkOptions = {
  readonly fetch?: typeof fetch;
  /** Of a client that is there already: nothing is opened. */
  readonly sessionId?: string;
  /** Answers the server's questions. */
  readonly onQuestion?: (params: ElicitRequest['params'], signal: AbortSignal) => Promise<ElicitResult>;
};

export type Talk = {
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  /** As the client holds it now. */
  readonly sessionId: string;
  readonly heard: { readonly logs: unknown[]; readonly updates: string[] };
  /** Calls the tool; the text of its answer. */
  readonly call: (tool: string, args?: Record<string, unknown>) => Promise<string>;
  /** The task that answered. */
  readonly task: (tool: string, args?: Record<string, unknown>) => Promise<string>;
  /** The task that answered and its number in the session's memory there, as in `a1`. */
  readonly count: () => Promise<string>;
  /** The task that answered, or `UNKNOWN` when that is what the client was told. Any other failure rejects. */
  readonly outcome: (tool: string, args?: Record<string, unknown>) => Promise<string>;
  readonly close: () => Promise<void>;
};

const FACTS = z.object({ taskId: z.string(), value: z.number().optional() });

/** A fetch that sends each request to the MCP endpoint that `pick` names then. */
export function through(pick: () => string): typeof fetch {
  return (_url, init) => fetch(pick(), init);
}

/** Connects, and asks for the tools, as clients do. */
export async function startTalk(url: string, options: TalkOptions = {}): Promise<Talk> {
  const { onQuestion } = options;
  const client = new Client(
    { name: 'test', version: '1' },
    { capabilities: onQuestion ? { elicitation: { form: {} } } : {} },
  );
  const heard: Talk['heard'] = { logs: [], updates: [] };
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void heard.logs.push(params.data));
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => void heard.updates.push(params.uri));
  if (onQuestion) client.setRequestHandler(ElicitRequestSchema, ({ params }, { signal }) => onQuestion(params, signal));
  const { fetch: own, sessionId } = options;
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    ...(own && { fetch: own }),
    ...(sessionId !== undefined && { sessionId }),
  });
  await client.connect(transport);
  await client.listTools();

  const result = async (name: string, args: Record<string, unknown> = {}) =>
    CallToolResultSchema.parse(await client.callTool({ name, arguments: args }));
  const facts = async (name: string, args?: Record<string, unknown>) =>
    FACTS.parse((await result(name, args)).structuredContent);
  const task = async (name: string, args?: Record<string, unknown>) => (await facts(name, args)).taskId;
  return {
    client,
    transport,
    get sessionId() {
      return transport.sessionId ?? '';
    },
    heard,
    async call(name, args) {
      const { content } = await result(name, args);
      return content.map((part) => (part.type === 'text' ? part.text : part.type)).join(' ');
    },
    task,
    async count() {
      const { taskId, value } = await facts('counter');
      return `${taskId}${value}`;
    },
    async outcome(name, args) {
      try {
        return await task(name, args);
      } catch (error) {
        if (error instanceof Error && error.message.includes(UNKNOWN)) return UNKNOWN;
        throw error;
      }
    },
    close: () => client.close(),
  };
}

/** Calls without pause from each client, until stopped; rejects with the first call that failed. */
export function keepTalking(clients: readonly Talk[]): { readonly said: string[]; stop(): Promise<void> } {
  const said: string[] = [];
  const over = new AbortController();
  const all = Promise.all(
    clients.map(async (client) => {
      while (!over.signal.aborted) said.push(await client.task('ping'));
    }),
  );
  all.catch(() => {});
  return {
    said,
    async stop() {
      over.abort();
      await all;
    },
  };
}
