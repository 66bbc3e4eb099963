/** May a request be sent again when the backend may already have acted on it. Pure. */
import type { JsonRpcMessage } from './contract.ts';
import { isRequest } from './jsonrpc.ts';

export type ReplayPolicy = 'never' | 'safe' | 'always';

/** Reads, and writes that set rather than add. A lost `initialize` leaves a session that nobody holds. */
const SAFE = new Set([
  'ping',
  'initialize',
  'server/discover',
  'resources/read',
  'prompts/get',
  'completion/complete',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
]);

/**
 * The strictest member of a batch rules. Notifications and the client's answers are safe: a server ignores an answer
 * it no longer waits for. `safeTools` are the tools that `tools/list` called read-only or idempotent.
 */
export function mayReplay(
  messages: readonly JsonRpcMessage[],
  safeTools: readonly string[],
  policy: ReplayPolicy,
): boolean {
  if (policy !== 'safe') return policy === 'always';
  return messages.filter(isRequest).every(({ method, params }) => {
    if (method !== 'tools/call') return SAFE.has(method) || method.endsWith('/list');
    const name = params?.['name'];
    return typeof name === 'string' && safeTools.includes(name);
  });
}
