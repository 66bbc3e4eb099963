/** Text ↔ JSON-RPC messages as MCP uses them, and what can be asked of a message. Pure. */
import type {
  Exchange,
  JsonObject,
  JsonRpcError,
  JsonRpcId,
  JsonRpcMessage,
  JsonRpcRequest,
  JsonRpcResponse,
} from './contract.ts';

export type Parsed =
  | { readonly kind: 'messages'; readonly messages: readonly JsonRpcMessage[] }
  | { readonly kind: 'not-json' }
  | { readonly kind: 'not-json-rpc' };

/**
 * Reads one message, or a batch (MCP 2025-03-26). Stricter than JSON-RPC 2.0 where MCP is: an id is a string or a
 * number, params are an object (MCP 2025-11-25, "Messages").
 */
export function parseMessages(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: 'not-json' };
  }
  const members: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (members.length === 0 || !members.every(isMessage)) return { kind: 'not-json-rpc' };
  return { kind: 'messages', messages: members };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is JsonRpcId {
  return typeof value === 'string' || typeof value === 'number';
}

function isMessage(value: unknown): value is JsonRpcMessage {
  if (!isObject(value) || value['jsonrpc'] !== '2.0') return false;
  if ('method' in value) {
    const params = value['params'];
    return (
      typeof value['method'] === 'string' &&
      (!('id' in value) || isId(value['id'])) &&
      (params === undefined || isObject(params))
    );
  }
  if ('result' in value) return isId(value['id']) && isObject(value['result']);
  const error = value['error'];
  const id = value['id'];
  return isObject(error) && typeof error['code'] === 'number' && (id === undefined || id === null || isId(id));
}

export function isRequest(message: JsonRpcMessage): message is JsonRpcRequest {
  return 'method' in message && 'id' in message;
}

export function isResponse(message: JsonRpcMessage): message is JsonRpcResponse {
  return !('method' in message);
}

/** The ids of an exchange's requests, `initialize` included: each waits for an answer. */
export function idsOf({ intent }: Pick<Exchange, 'intent'>): readonly JsonRpcId[] {
  return intent.kind === 'open' ? [intent.initialize.id] : intent.messages.filter(isRequest).map(({ id }) => id);
}

export function errorMessage(id: JsonRpcId | null, code: number, message: string): JsonRpcError {
  return { jsonrpc: '2.0', id, error: { code, message } };
}
