/** One client's conversation, call by call, with what the demo wants to know of each. */

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

/** No call may take longer, in milliseconds. */
const PATIENCE = 8000;

/** How a call went. `unknown`: the proxy cannot know whether it ran, and did not run it again. */
export type Call = {
  readonly tool: string;
  readonly outcome: 'answered' | 'unknown' | 'failed';
  /** The task that answered; undefined when none did. */
  readonly task: string | undefined;
  readonly milliseconds: number;
  readonly text: string;
  readonly value: unknown;
};

export type Talk = {
  readonly sessionId: () => string | undefined;
  /** Never rejects. `onProgress` hears each progress notification. */
  call(tool: string, args?: Record<string, unknown>, onProgress?: () => void): Promise<Call>;
  /** Updates of the clock that came on the listening stream so far. */
  readonly updates: () => number;
  /** Resolves when another update has come; false when none came within `milliseconds`. */
  nextUpdate(milliseconds: number): Promise<boolean>;
  /** Ends the session. */
  end(): Promise<void>;
};

/** Opens a session with an unmodified SDK client, listens, and subscribes to the clock; `hear` gets every call. */
export async function startTalk(url: URL, hear: (call: Call) => void): Promise<Talk> {
  const client = new Client({ name: 'mcp-affinity-demo', version: '1' });
  const transport = new StreamableHTTPClientTransport(url);
  let updates = 0;
  const waiting = new Set<() => void>();
  client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => {
    updates += 1;
    for (const wake of waiting) wake();
    waiting.clear();
  });
  await client.connect(transport);
  await client.listTools();
  await client.subscribeResource({ uri: 'demo://clock' });

  return {
    sessionId: () => transport.sessionId,
    async call(tool, args = {}, onProgress = () => {}) {
      const begun = performance.now();
      const options = { timeout: PATIENCE, onprogress: onProgress };
      const said = await client.callTool({ name: tool, arguments: args }, undefined, options).then(answered, failed);
      const call = { tool, milliseconds: performance.now() - begun, ...said };
      hear(call);
      return call;
    },
    updates: () => updates,
    nextUpdate: (milliseconds) =>
      new Promise((resolve) => {
        const late = setTimeout(() => resolve(false), milliseconds);
        waiting.add(() => {
          clearTimeout(late);
          resolve(true);
        });
      }),
    async end() {
      await transport.terminateSession();
      await client.close();
    },
  };
}

type Said = Omit<Call, 'tool' | 'milliseconds'>;

function answered(result: unknown): Said {
  const { content, structuredContent, isError } = CallToolResultSchema.parse(result);
  const task = structuredContent?.['taskId'];
  const text = content.map((part) => (part.type === 'text' ? part.text : '')).join(' ');
  return {
    outcome: isError ? 'failed' : 'answered',
    task: typeof task === 'string' ? task : undefined,
    text: text.replace(` taskId=${String(task)}`, ''),
    value: structuredContent?.['value'],
  };
}

function failed(error: unknown): Said {
  const text = error instanceof Error ? error.message : String(error);
  return { outcome: /outcome is unknown/i.test(text) ? 'unknown' : 'failed', task: undefined, text, value: undefined };
}
