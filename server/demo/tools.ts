/** The sample server's tools that live in one task: answering, counting, asking, taking their time. */

import { setTimeout as delay } from 'node:timers/promises';
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { type CallToolResult, LoggingLevelSchema } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import type { Clock } from './clock.ts';
import type { SessionMemory } from './sessions.ts';

/** The task that answers. */
export type Task = { readonly id: string; readonly version: string };

/** Changes something, adds and does not destroy: nothing that may be run twice. */
const ACTS = { readOnlyHint: false, destructiveHint: false, idempotentHint: false, openWorldHint: false };

/** An answer in words for people and in facts for programs; `taskId` is in both. */
export function answer(task: Task, words: string, facts: Readonly<Record<string, unknown>> = {}): CallToolResult {
  return {
    content: [{ type: 'text', text: `${words} taskId=${task.id}` }],
    structuredContent: { ...facts, taskId: task.id },
  };
}

/** A refusal of the tool, which is not an error of the protocol: the model may read it. */
export function refusal(words: string): CallToolResult {
  return { content: [{ type: 'text', text: words }], isError: true };
}

/** Registers `ping`, `counter`, `slow`, `confirm`, `log` and `touch_resource` on one session's server. */
export function offerTools(server: McpServer, task: Task, memory: SessionMemory, clock: Clock): void {
  offerPing(server, task);
  offerCounter(server, task, memory);
  offerSlow(server, task);
  offerConfirm(server, task);
  offerLog(server, task);
  server.registerTool(
    'touch_resource',
    { description: 'Change demo://clock now, and tell the sessions of this task that subscribed', annotations: ACTS },
    async () => {
      await clock.touch();
      return answer(task, 'touched');
    },
  );
}

function offerPing(server: McpServer, task: Task): void {
  server.registerTool(
    'ping',
    { description: 'Which task answers, and how long it took in ms', annotations: { readOnlyHint: true } },
    () => {
      const begun = performance.now();
      const facts = { taskId: task.id, version: task.version };
      const text = () => `pong! taskId=${task.id} v=${task.version} d=${(performance.now() - begun).toFixed(3)}`;
      return { structuredContent: facts, content: [{ type: 'text', text: text() }] };
    },
  );
}

function offerCounter(server: McpServer, task: Task, memory: SessionMemory): void {
  const description = 'Add one to a number in the memory of this task: it starts again at 1 after a migration';
  server.registerTool('counter', { description, annotations: ACTS }, () => {
    memory.counter += 1;
    return answer(task, `counter=${memory.counter}`, { value: memory.counter });
  });
}

function offerSlow(server: McpServer, task: Task): void {
  const inputSchema = { ms: z.int().min(0).max(600_000).default(1000), steps: z.int().min(1).max(1000).default(4) };
  const description = 'Take `ms` milliseconds, and report progress after each of `steps` steps';
  server.registerTool(
    'slow',
    { description, inputSchema, annotations: ACTS },
    async ({ ms, steps }, { _meta: meta, signal, sendNotification }) => {
      const progressToken = meta?.progressToken;
      for (let progress = 1; progress <= steps; progress += 1) {
        await delay(ms / steps, undefined, { signal });
        if (progressToken === undefined) continue;
        const params = { progressToken, progress, total: steps, message: `step ${progress} of ${steps}` };
        await sendNotification({ method: 'notifications/progress', params });
      }
      return answer(task, `slept ${ms} ms`, { ms, steps });
    },
  );
}

function offerConfirm(server: McpServer, task: Task): void {
  const inputSchema = { question: z.string().min(1).max(1000).default('Shall we go on?') };
  const description = 'Ask the user a question that is answered by yes or no';
  server.registerTool('confirm', { description, inputSchema, annotations: ACTS }, async ({ question }, extra) => {
    const elicitation = server.server.getClientCapabilities()?.elicitation;
    if (!elicitation) return refusal('This client cannot be asked: it has no elicitation.');
    const requestedSchema = {
      type: 'object' as const,
      properties: { yes: { type: 'boolean' as const, title: question } },
      required: ['yes'],
    };
    const reply = await server.server.elicitInput(
      { mode: 'form', message: question, requestedSchema },
      { relatedRequestId: extra.requestId, signal: extra.signal },
    );
    const said = reply.action === 'accept' ? (reply.content?.['yes'] === true ? 'yes' : 'no') : reply.action;
    return answer(task, `said=${said}`, { said });
  });
}

function offerLog(server: McpServer, task: Task): void {
  const inputSchema = { level: LoggingLevelSchema.default('info'), text: z.string().max(10_000) };
  const description = "Send a log message to the client, if the session's level lets it through";
  server.registerTool('log', { description, inputSchema, annotations: ACTS }, async ({ level, text }, extra) => {
    await server.sendLoggingMessage({ level, logger: 'demo', data: { text, taskId: task.id } }, extra.sessionId);
    return answer(task, `logged level=${level}`, { level });
  });
}
