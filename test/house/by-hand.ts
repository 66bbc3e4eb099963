/** Requests that an SDK client would not make: by hand, over fetch. */

import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';

const ACCEPT = 'application/json, text/event-stream';

/** What a client says of each message that it posts. */
export const POSTED = { 'content-type': 'application/json', accept: ACCEPT } as const;

export type RawAnswer = {
  readonly status: number;
  readonly headers: Headers;
  /** The JSON-RPC message in the body or in its last event; undefined when there is none. */
  readonly message: unknown;
};

export async function rawPost(url: string, message: object, headers: Record<string, string> = {}): Promise<RawAnswer> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { ...POSTED, ...headers },
    body: JSON.stringify({ jsonrpc: '2.0', ...message }),
  });
  const text = await answer.text();
  const data = text.startsWith('{')
    ? text
    : text
        .split('\n')
        .findLast((line) => line.startsWith('data: {'))
        ?.slice(6);
  const said: unknown = data === undefined ? undefined : JSON.parse(data);
  return { status: answer.status, headers: answer.headers, message: said };
}

/** An `initialize` and nothing after it. The id is empty where none was issued. */
export async function rawOpen(
  url: string,
  headers: Record<string, string> = {},
): Promise<RawAnswer & { readonly id: string }> {
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };
  const answer = await rawPost(url, { id: 0, method: 'initialize', params }, headers);
  return { ...answer, id: answer.headers.get('mcp-session-id') ?? '' };
}

export function rawPing(url: string, id: string): Promise<RawAnswer> {
  return rawPost(url, { id: 1, method: 'ping' }, { 'mcp-session-id': id });
}

/** The text of the tool's answer. */
export async function rawCall(url: string, id: string, name: string, args: object = {}): Promise<string> {
  const call = { id: 2, method: 'tools/call', params: { name, arguments: args } };
  const { status, message } = await rawPost(url, call, { 'mcp-session-id': id });
  if (typeof message !== 'object' || !message || !('result' in message)) {
    throw new Error(`${name} was answered with ${status}: ${JSON.stringify(message)}`);
  }
  const [part] = CallToolResultSchema.parse(message.result).content;
  return part?.type === 'text' ? part.text : '';
}

/** The status of a GET for the session's stream, which stays open until `signal` is aborted, or of a DELETE. */
export async function rawStatus(
  url: string,
  method: 'GET' | 'DELETE',
  id: string,
  signal = AbortSignal.timeout(10_000),
): Promise<number> {
  const accept = method === 'GET' ? 'text/event-stream' : ACCEPT;
  return (await fetch(url, { method, headers: { accept, 'mcp-session-id': id }, signal })).status;
}
