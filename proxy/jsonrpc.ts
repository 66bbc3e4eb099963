/** Text ↔ JSON-RPC messages as MCP uses them, and what can be asked of a message. Pure. */
import { CODE } from './contract.ts';
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

/** Parsers may pass over one, and many servers do (RFC 8259, section 8.1). */
const BYTE_ORDER_MARK = '\uFEFF';

/**
 * Reads one message, or a batch (MCP 2025-03-26), as far as a proxy must: the bytes go on as they are, and the receiver
 * judges them. An id is a string or a number (MCP 2025-11-25, "Messages"). Params or a result that are no object read as
 * none, an error of another form as an internal one.
 */
export function parseMessages(text: string): Parsed {
  let value: unknown;
  try {
    value = JSON.parse(text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text);
  } catch {
    return { kind: 'not-json' };
  }
  const members: readonly unknown[] = Array.isArray(value) ? value : [value];
  const messages: JsonRpcMessage[] = [];
  for (const member of members) {
    const message = messageIn(member);
    if (message === undefined) return { kind: 'not-json-rpc' };
    messages.push(message);
  }
  return messages.length === 0 ? { kind: 'not-json-rpc' } : { kind: 'messages', messages };
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is JsonRpcId {
  return typeof value === 'string' || typeof value === 'number';
}

/** The request that a `notifications/cancelled` takes back. */
export function withdrawnBy(message: JsonRpcMessage): JsonRpcId | undefined {
  if (!('method' in message) || message.method !== 'notifications/cancelled') return undefined;
  const id = message.params?.['requestId'];
  return isId(id) ? id : undefined;
}

function messageIn(value: unknown): JsonRpcMessage | undefined {
  if (isMessage(value)) return value;
  if (!isObject(value) || value['jsonrpc'] !== '2.0') return undefined;
  const { id, method } = value;
  if ('method' in value) {
    if (typeof method !== 'string') return undefined;
    if (!('id' in value)) return { jsonrpc: '2.0', method };
    return isId(id) ? { jsonrpc: '2.0', id, method } : undefined;
  }
  if (!isId(id)) return undefined;
  if ('result' in value) return { jsonrpc: '2.0', id, result: {} };
  return 'error' in value ? errorMessage(id, CODE.internal, '') : undefined;
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

/** What an exchange says. */
export function messagesOf({ intent }: Pick<Exchange, 'intent'>): readonly JsonRpcMessage[] {
  return intent.kind === 'open' ? [intent.initialize] : intent.messages;
}

/** The ids of an exchange's requests, `initialize` included: each waits for an answer. */
export function idsOf({ intent }: Pick<Exchange, 'intent'>): readonly JsonRpcId[] {
  return intent.kind === 'open' ? [intent.initialize.id] : intent.messages.filter(isRequest).map(({ id }) => id);
}

/**
 * Takes answers off the set of ids that wait. An answer counts whatever its id became: one of another type (`"1"` for 1)
 * is that request's, and once as many came under null or unknown ids as requests still wait, none of them waits.
 */
export function takeAnswers(pending: Set<JsonRpcId>): (answer: JsonRpcResponse) => void {
  const asked = [...pending];
  let byText: ReadonlyMap<string, JsonRpcId> | undefined;
  let others = 0;
  return ({ id }) => {
    if (id === undefined || id === null) {
      others += 1;
    } else if (!pending.delete(id)) {
      byText ??= new Map(asked.map((one) => [String(one), one]));
      const alike = byText.get(String(id));
      if (alike === undefined) others += 1;
      else pending.delete(alike);
    }
    if (others >= pending.size) pending.clear();
  };
}

export function errorMessage(id: JsonRpcId | null, code: number, message: string): JsonRpcError {
  return { jsonrpc: '2.0', id, error: { code, message } };
}

/** Trouble of the server's own: JSON-RPC 2.0 keeps -32603 and -32000 to -32099 for it. */
export function isServerTrouble(message: JsonRpcMessage): boolean {
  if (!('error' in message)) return false;
  const { code } = message.error;
  return code === CODE.internal || (code <= -32_000 && code >= -32_099);
}
