/** The sample server's tools whose memory outlives the task. */

import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { CallToolResult, RequestInfo } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import { HEADER } from '../../proxy/contract.ts';
import type { SessionState } from '../state.ts';
import { answer, refusal, type Task } from './tools.ts';

const READS = { readOnlyHint: true };
const SETS = { readOnlyHint: false, destructiveHint: false, idempotentHint: true, openWorldHint: false };

const NEVER_SEEN = 'Nothing was ever set in this session.';
const KEY = z.string().min(1).max(256);
const VALUE = z.string().max(65_536);

/** Registers `set_session_value`, `get_session_value` and `get_session_state` on one session's server. */
export function offerStateTools(server: McpServer, task: Task, state: SessionState): void {
  const set = { description: "Set a value in the session's state", inputSchema: { key: KEY, value: VALUE } };
  server.registerTool('set_session_value', { ...set, annotations: SETS }, ({ key, value }, { requestInfo }) =>
    inSession(requestInfo, async (session) => {
      await state.set(session, key, value);
      return answer(task, `${key}=${value}`, { key, value });
    }),
  );
  const get = { description: "Read a value of the session's state", inputSchema: { key: KEY } };
  server.registerTool('get_session_value', { ...get, annotations: READS }, ({ key }, { requestInfo }) =>
    inSession(requestInfo, async (session) => {
      const found = await state.get(session, key);
      if (found.kind === 'value') return answer(task, `${key}=${found.value}`, { key, value: found.value });
      return refusal(found.kind === 'no-session' ? NEVER_SEEN : `"${key}" was never set in this session.`);
    }),
  );
  const all = { description: "Read the whole of the session's state" };
  server.registerTool('get_session_state', { ...all, annotations: READS }, ({ requestInfo }) =>
    inSession(requestInfo, async (session) => {
      const found = await state.all(session);
      if (found.kind === 'no-session') return refusal(NEVER_SEEN);
      const values = Object.fromEntries(found.values);
      return answer(task, JSON.stringify(values), { values });
    }),
  );
}

/** The client's id of the session: what the proxy says, since the id that a home issued changes with the home. */
async function inSession(
  request: RequestInfo | undefined,
  work: (session: string) => Promise<CallToolResult>,
): Promise<CallToolResult> {
  const session = request?.headers[HEADER.affinitySession] ?? request?.headers[HEADER.session];
  if (typeof session !== 'string') return refusal('This request belongs to no session.');
  try {
    return await work(session);
  } catch {
    // Where the store is, and why it failed, is not the client's business.
    return refusal('The state store cannot be reached.');
  }
}
