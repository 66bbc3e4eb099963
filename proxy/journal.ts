/** What a client's message and its answer change in a session, and what a new home must be told. Pure. */
import type {
  Backend,
  JsonObject,
  JsonRpcMessage,
  JsonRpcNotification,
  JsonRpcRequest,
  JsonRpcResponse,
  JsonRpcResult,
  Journal,
  Session,
} from './contract.ts';
import { isObject, isRequest } from './jsonrpc.ts';

const INITIALIZED = 'notifications/initialized';

/**
 * Messages whose success changes the session: the client is shown their answer only when that is stored.
 * - `promise`: a new home must keep it, so an answer that could not be stored is refused
 * - `knowledge`: losing it only makes replay more careful
 */
export function remembered(message: JsonRpcMessage): 'promise' | 'knowledge' | undefined {
  if (!('method' in message)) return undefined;
  switch (message.method) {
    case 'logging/setLevel':
    case 'resources/subscribe':
    case 'resources/unsubscribe':
    case INITIALIZED:
      return 'promise';
    case 'tools/list':
      return 'knowledge';
    case 'tools/call':
      return message.params?.['task'] === undefined ? undefined : 'knowledge';
    default:
      return undefined;
  }
}

/** The session that an `initialize` and its result open. */
export function opened(
  initialize: JsonRpcRequest,
  answer: JsonRpcResult,
  fresh: {
    readonly id: string;
    readonly home: Backend;
    readonly revision: string;
    readonly now: number;
    /** The client's `initialize` as it wrote it. */
    readonly text: string;
    readonly path?: string | undefined;
    readonly owner?: string | undefined;
  },
): Session {
  return {
    id: fresh.id,
    backendSessionId: fresh.id,
    home: { id: fresh.home.id, origin: fresh.home.origin },
    epoch: 0,
    revision: fresh.revision,
    changes: 0,
    createdAt: fresh.now,
    ...(fresh.path !== undefined && { path: fresh.path }),
    ...(fresh.owner !== undefined && { owner: fresh.owner }),
    ...agreed(answer.result),
    journal: {
      initialize: initialize.params ?? {},
      ...(mustKeepText(initialize, fresh.text) && { initializeText: fresh.text }),
      initialized: false,
      subscriptions: [],
    },
    safeTools: [],
  };
}

/** Characters. It is kept with the session, beside its parsed params. */
const LONGEST_TEXT = 8192;

/** Whether a new home would be told something else from the parsed params alone: 9007199254740993, 1.0, a repeated key. */
function mustKeepText(initialize: JsonRpcRequest, text: string): boolean {
  if (text === '' || text.length > LONGEST_TEXT) return false;
  if (typeof initialize.params?.['protocolVersion'] !== 'string') return false;
  return JSON.stringify(initialize) !== text;
}

/** What an `initialize` result says of a home. */
export function agreed(result: JsonObject): Pick<Session, 'protocolVersion' | 'capabilities' | 'serverInfo'> {
  const { protocolVersion, capabilities, serverInfo } = result;
  return {
    protocolVersion: typeof protocolVersion === 'string' ? protocolVersion : '',
    capabilities: isObject(capabilities) ? capabilities : {},
    serverInfo: isObject(serverInfo) ? serverInfo : {},
  };
}

/** Why a new home cannot stand in for the old one, or undefined: every capability it had declared must still be there. */
export function incompatibility(
  session: Session,
  offered: Pick<Session, 'protocolVersion' | 'capabilities'>,
): string | undefined {
  if (offered.protocolVersion !== session.protocolVersion) {
    return `protocol version ${session.protocolVersion} became ${offered.protocolVersion || 'unknown'}`;
  }
  const missing = missingCapability(session.capabilities, offered.capabilities);
  return missing === undefined ? undefined : `capability ${missing} is gone`;
}

function missingCapability(had: JsonObject, has: JsonObject): string | undefined {
  for (const [name, value] of Object.entries(had)) {
    const now = has[name];
    if (value === true && now !== true) return name;
    if (!isObject(value)) continue;
    if (!isObject(now)) return name;
    const inner = missingCapability(value, now);
    if (inner !== undefined) return `${name}.${inner}`;
  }
  return undefined;
}

/** `list_changed` notifications that are due when a session has got a home that is not the same server. */
export function listsThatMayDiffer(before: Session, now: Session): readonly string[] {
  if (JSON.stringify(before.serverInfo) === JSON.stringify(now.serverInfo)) return [];
  return ['tools', 'prompts', 'resources']
    .filter((kind) => {
      const declared = now.capabilities[kind];
      return isObject(declared) && declared['listChanged'] === true;
    })
    .map((kind) => `notifications/${kind}/list_changed`);
}

/** The session after `message` was answered, or (a notification) taken; the same object where nothing changes. */
export function fold(
  session: Session,
  message: JsonRpcRequest | JsonRpcNotification,
  answer: JsonRpcResponse | undefined,
): Session {
  const { journal } = session;
  if (message.method === INITIALIZED) {
    return journal.initialized ? session : withJournal(session, { ...journal, initialized: true });
  }
  if (!isRequest(message) || answer === undefined || !('result' in answer)) return session;
  const uri = message.params?.['uri'];
  switch (message.method) {
    case 'logging/setLevel': {
      const level = message.params?.['level'];
      if (typeof level !== 'string' || level === journal.level) return session;
      return withJournal(session, { ...journal, level });
    }
    case 'resources/subscribe':
      if (typeof uri !== 'string' || journal.subscriptions.includes(uri)) return session;
      return withJournal(session, { ...journal, subscriptions: [...journal.subscriptions, uri] });
    case 'resources/unsubscribe':
      if (typeof uri !== 'string' || !journal.subscriptions.includes(uri)) return session;
      return withJournal(session, { ...journal, subscriptions: journal.subscriptions.filter((one) => one !== uri) });
    case 'tools/list':
      return withSafeTools(session, message, answer.result);
    case 'tools/call':
      return withTask(session, answer.result);
    default:
      return session;
  }
}

function withJournal(session: Session, journal: Journal): Session {
  return { ...session, journal };
}

/** What a task without an end of its own is given, in milliseconds. */
const ENDLESS_TASK = 86_400_000;

/** A task's result can be asked for until its time is over (MCP 2025-11-25, "Tasks", `ttl`), and only where it ran. */
function withTask(session: Session, { task }: JsonObject): Session {
  if (!isObject(task) || typeof task['createdAt'] !== 'string') return session;
  const until = Date.parse(task['createdAt']) + (typeof task['ttl'] === 'number' ? task['ttl'] : ENDLESS_TASK);
  // NaN where the time cannot be read.
  return until > (session.busyUntil ?? 0) ? { ...session, busyUntil: until } : session;
}

/** The first page replaces what earlier lists said, later pages add to it. */
function withSafeTools(session: Session, list: JsonRpcRequest, { tools }: JsonObject): Session {
  const listed = Array.isArray(tools) ? tools.filter(isObject) : [];
  const safe = listed.filter(({ annotations }) => isSafe(annotations)).map(({ name }) => name);
  const before = list.params?.['cursor'] === undefined ? [] : session.safeTools;
  const unsafe = new Set(listed.map(({ name }) => name));
  const names = safe.filter((name) => typeof name === 'string');
  const safeTools = [...before.filter((name) => !unsafe.has(name)), ...names];
  const same =
    safeTools.length === session.safeTools.length && safeTools.every((name) => session.safeTools.includes(name));
  return same ? session : { ...session, safeTools };
}

/** MCP 2025-11-25, "Tools", ToolAnnotations: hints, believed because the operator runs the server. */
function isSafe(annotations: unknown): boolean {
  return isObject(annotations) && (annotations['readOnlyHint'] === true || annotations['idempotentHint'] === true);
}

/** What follows `initialize` on a new home, in order. */
export function replay(journal: Journal, told: Journal | undefined): readonly Omit<JsonRpcRequest, 'id'>[] {
  const steps: Omit<JsonRpcRequest, 'id'>[] = [];
  const step = (method: string, params?: JsonObject): void => {
    steps.push({ jsonrpc: '2.0', method, ...(params !== undefined && { params }) });
  };
  if (journal.initialized && told?.initialized !== true) step(INITIALIZED);
  if (journal.level !== undefined && journal.level !== told?.level) step('logging/setLevel', { level: journal.level });
  const before = told?.subscriptions ?? [];
  for (const uri of journal.subscriptions) if (!before.includes(uri)) step('resources/subscribe', { uri });
  for (const uri of before) if (!journal.subscriptions.includes(uri)) step('resources/unsubscribe', { uri });
  return steps;
}
