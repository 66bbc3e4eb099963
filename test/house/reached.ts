/** An SDK client that servers ask over its listening stream, and whether each thing that they said arrived. */

import { createHash } from 'node:crypto';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { until } from './until.ts';

const ROOT = 'file:///home/of/the/client';

const SAID = z.object({
  roots: z.string(),
  sampling: z.string(),
  elicitation: z.string(),
  rootsAtStart: z.string().default(ROOT),
  /** The roots that the server worked with when the call began. */
  known: z.string().default(ROOT),
  port: z.string(),
});

export type Reached = {
  readonly sessionId: () => string;
  /** SHA-256 of its session id. */
  readonly hash: () => string;
  /** The origin that answered. Rejects unless the server reached the client each time, at once, once, and in order. */
  readonly reach: () => Promise<string>;
  /** Ends the session. Idempotent. */
  readonly close: () => Promise<void>;
};

let keys = 0;

/** Listens at one MCP endpoint, and sends all else to another. Resolves when it listens. */
export async function startReached(url: string, listenAt: string = url): Promise<Reached> {
  const client = new Client(
    { name: 'reached', version: '1' },
    { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
  );
  const logs: unknown[] = [];
  const asked: string[] = [];
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void logs.push(params.data));
  let listed = 0;
  client.setRequestHandler(ListRootsRequestSchema, () => {
    listed += 1;
    return { roots: [{ uri: ROOT }] };
  });
  client.setRequestHandler(CreateMessageRequestSchema, ({ params: { messages } }) => {
    const content = messages[0]?.content;
    const text = content !== undefined && 'text' in content ? content.text : '';
    asked.push(text);
    return { model: 'none', role: 'assistant', content: { type: 'text', text: `sampled ${text}` } };
  });
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => {
    asked.push(params.message);
    return { action: 'accept', content: { key: `elicited ${params.message}` } };
  });
  let listens = false;
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    async fetch(_url, init) {
      if (init?.method !== 'GET') return fetch(url, init);
      const answer = await fetch(listenAt, init);
      listens ||= answer.ok;
      return answer;
    },
  });
  await client.connect(transport);
  await until('it listens', () => listens);
  // The server asked for them when nobody listened yet.
  await client.sendRootsListChanged();
  await until('it is asked for its roots', () => listed > 0);
  const sessionId = () => transport.sessionId ?? '';

  return {
    sessionId,
    hash: () => createHash('sha256').update(sessionId()).digest('hex'),
    async reach() {
      const key = `k${(keys += 1)}`;
      const [logged, wasAsked] = [logs.length, asked.length];
      const called = await client.callTool({ name: 'reach', arguments: { key } });
      const [part] = CallToolResultSchema.parse(called).content;
      const said = SAID.parse(JSON.parse(part?.type === 'text' ? part.text : ''));
      await until(`the last message of ${key}`, () => logs.includes(`${key} 4`), 3_000);
      const seen = [said.roots, said.sampling, said.elicitation, ...logs.slice(logged), ...asked.slice(wasAsked)];
      const wanted = [ROOT, `sampled ${key}`, `elicited ${key}`, ...[1, 2, 3, 4].map((at) => `${key} ${at}`), key, key];
      for (const roots of [said.rootsAtStart, said.known]) if (roots !== ROOT) seen.push(roots);
      if (seen.join() !== wanted.join()) throw new Error(`Expected ${wanted.join()}, got ${seen.join()}`);
      return `http://127.0.0.1:${said.port}`;
    },
    async close() {
      if (transport.sessionId !== undefined) await transport.terminateSession();
      await client.close();
    },
  };
}
