/** A request's head and body → what it wants: both eras, and every malformed shape. Pure. */
import { CODE, HEADER } from './contract.ts';
import type { Intent } from './contract.ts';
import { MOST_DEPTH, MOST_MEMBERS, MOST_MESSAGES, WHOLE_TEXT, skim } from './json-bounds.ts';
import type { Bound, Skimmed } from './json-bounds.ts';
import { isRequest, parseMessages } from './jsonrpc.ts';
import { isSessionId } from './session-id.ts';

type Malformed = Extract<Intent, { kind: 'malformed' }>;

const REVISION = /^\d{4}-\d{2}-\d{2}$/;
const FIRST_SESSIONLESS_REVISION = '2026-07-28';
const ALLOW = 'GET, POST, DELETE, OPTIONS, HEAD';

/** `header` looks a field up by its lower-case name; a repeated field arrives joined by commas. */
export function classify(
  method: string,
  header: (name: string) => string | undefined,
  body: Buffer | undefined,
): Intent {
  const sessionId = sessionless(header(HEADER.protocolVersion)) ? undefined : header(HEADER.session);
  if (sessionId !== undefined && !isSessionId(sessionId)) {
    return malformed(400, CODE.invalidRequest, 'Mcp-Session-Id must be visible ASCII characters');
  }
  switch (method) {
    case 'POST':
      return classifyPost(sessionId, header('content-type'), body);
    case 'GET':
      return sessionId === undefined ? ANY : { kind: 'continue', id: sessionId, verb: 'listen', messages: [] };
    case 'DELETE':
      return sessionId === undefined ? ANY : { kind: 'continue', id: sessionId, verb: 'end', messages: [] };
    case 'OPTIONS':
    case 'HEAD':
      return ANY;
    default:
      return { ...malformed(405, CODE.server, 'Method not allowed'), allow: ALLOW };
  }
}

const ANY: Intent = { kind: 'any', messages: [] };

/** From 2026-07-28 on there are no sessions: an `Mcp-Session-Id` beside such a version means nothing. */
function sessionless(version: string | undefined): boolean {
  return version !== undefined && REVISION.test(version) && version >= FIRST_SESSIONLESS_REVISION;
}

function classifyPost(
  sessionId: string | undefined,
  contentType: string | undefined,
  body: Buffer | undefined,
): Intent {
  const essence = contentType?.split(';', 1)[0]?.trim().toLowerCase();
  if (essence !== 'application/json') return malformed(415, CODE.server, 'Content-Type must be application/json');
  const skimmed = skim(body ?? NOTHING);
  if (skimmed.kind === 'beyond') {
    return { ...malformed(400, CODE.invalidRequest, `Invalid Request: ${BEYOND[skimmed.bound]}`), bound: 'json' };
  }
  const parsed = skimmed.kind === 'text' ? parseMessages(skimmed.text) : skimmed;
  if (parsed.kind === 'not-json') return malformed(400, CODE.parse, 'Parse error: the body is not JSON');
  if (parsed.kind === 'not-json-rpc') {
    return malformed(400, CODE.invalidRequest, 'Invalid Request: the body is not a JSON-RPC message');
  }
  const { messages } = parsed;
  const initialize = messages.find((message) => isRequest(message) && message.method === 'initialize');
  if (initialize !== undefined && isRequest(initialize)) {
    if (messages.length > 1) {
      return malformed(400, CODE.invalidRequest, 'Invalid Request: initialize must stand alone');
    }
    if (!mayBeKept(skimmed, body?.length ?? 0)) {
      return { ...malformed(400, CODE.invalidParams, TOO_MUCH), bound: 'initialize', id: initialize.id };
    }
    return { kind: 'open', initialize, ...(sessionId !== undefined && { id: sessionId }) };
  }
  return sessionId === undefined
    ? { kind: 'any', messages }
    : { kind: 'continue', id: sessionId, verb: 'post', messages };
}

const NOTHING = Buffer.alloc(0);

const BEYOND: Readonly<Record<Bound, string>> = {
  depth: `the body has more than ${MOST_DEPTH} objects and arrays within each other`,
  batch: `a batch has at most ${MOST_MESSAGES} messages`,
  members: `messages of this size have at most ${MOST_MEMBERS} members outside of their arguments`,
};

/** An `initialize` is kept with its session, wherever that is. */
const DEEPEST_INITIALIZE = 64;
const TOO_MUCH = `Invalid params: an initialize has at most ${WHOLE_TEXT / 1024} KiB, and params of at most ${DEEPEST_INITIALIZE} levels`;

function mayBeKept(skimmed: Skimmed, bytes: number): boolean {
  return bytes <= WHOLE_TEXT && skimmed.kind === 'text' && skimmed.depth <= DEEPEST_INITIALIZE + 1;
}

function malformed(status: Malformed['status'], code: number, message: string): Malformed {
  return { kind: 'malformed', status, code, message };
}
