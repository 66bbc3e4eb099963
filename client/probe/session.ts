/** The probe's one session: opened once by an unmodified SDK client, never opened again. */

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { type CallToolResult, CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import type { ProbeOptions } from './options.ts';

const NEEDED = ['set_session_value', 'get_session_state'] as const;
/** The longest that the session's end may take, in seconds. */
const END = 5;

export type Session = {
  /** `initialize`, and the listening stream that the SDK opens by itself. */
  open(): Promise<void>;
  /** The names of the tools. */
  tools(): Promise<readonly string[]>;
  /** Writes a key and reads the state back: how many keys it holds. Rejects where one that was written is missing. */
  call(number: number): Promise<number>;
  /** Whether there is a session to end. */
  readonly opened: () => boolean;
  /** DELETE. */
  end(): Promise<void>;
  /** Closes all connections; what is running rejects. */
  close(): Promise<void>;
};

/** Each step rejects after `timeout` seconds; `hear` gets the task of every answer. */
export function createSession(
  { endpoint, headers, timeout }: ProbeOptions,
  recorded: typeof fetch,
  hear: (task: string) => void,
): Session {
  const client = new Client({ name: 'mcp-affinity-probe', version: '1' });
  const requestInit = { headers: headers.map(([name, value]): [string, string] => [name, value]) };
  const transport = new StreamableHTTPClientTransport(endpoint, { fetch: recorded, requestInit });
  const patience = timeout * 1000;
  const written = new Map<string, string>();

  const ask = async (name: (typeof NEEDED)[number], args: Record<string, string>, until: number) => {
    const options = { timeout: Math.max(1, until - performance.now()) };
    const result = CallToolResultSchema.parse(await client.callTool({ name, arguments: args }, undefined, options));
    const task = result.structuredContent?.['taskId'];
    if (typeof task === 'string') hear(task);
    if (result.isError) throw new Error(`${name} was refused: ${wordsOf(result)}`);
    return result;
  };

  return {
    // The SDK's own timeout, which comes later, does not cover `notifications/initialized`.
    open: () => within(timeout, client.connect(transport, { timeout: patience + 1000 })),
    async tools() {
      return (await client.listTools(undefined, { timeout: patience })).tools.map(({ name }) => name);
    },
    async call(number) {
      const [key, value, late] = [`probe-${number}`, String(number), performance.now() + patience];
      await ask('set_session_value', { key, value }, late);
      written.set(key, value);
      const state = valuesIn(await ask('get_session_state', {}, late));
      const missing = [...written].filter(([one, expected]) => state.get(one) !== expected).map(([one]) => one);
      if (missing.length > 0) throw new Error(`The state has lost ${missing.length} keys, ${missing[0]} the first`);
      return state.size;
    },
    opened: () => transport.sessionId !== undefined,
    end: () => within(Math.min(timeout, END), transport.terminateSession()),
    close: () => client.close(),
  };
}

/** What the sample server must offer for the probe, and this one does not. */
export function lacking(tools: readonly string[]): readonly string[] {
  return NEEDED.filter((name) => !tools.includes(name));
}

/** The same promise, or a rejection after so many seconds. */
export async function within<T>(seconds: number, promise: Promise<T>): Promise<T> {
  let late: NodeJS.Timeout | undefined;
  const tooLate = new Promise<never>((_, reject) => {
    late = setTimeout(() => reject(new Error(`No answer within ${seconds} s`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, tooLate]);
  } finally {
    clearTimeout(late);
  }
}

function valuesIn({ structuredContent }: CallToolResult): ReadonlyMap<string, unknown> {
  const values = structuredContent?.['values'];
  return new Map(typeof values === 'object' && values ? Object.entries(values) : []);
}

function wordsOf({ content }: CallToolResult): string {
  return content.map((part) => (part.type === 'text' ? part.text : part.type)).join(' ');
}
