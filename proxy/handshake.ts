/** What the proxy itself says to a backend on a session's behalf: the handshake of a migration, and goodbye. */
import { HEADER } from './contract.ts';
import type {
  AffinityMark,
  Attempt,
  Backend,
  Exchange,
  Intent,
  JsonObject,
  JsonRpcMessage,
  JsonRpcNotification,
  JsonRpcRequest,
  RawHeaders,
  Session,
  Sink,
  SseEvent,
  Unsent,
  Upstream,
} from './contract.ts';
import { headerValue, withoutHeaders } from './headers.ts';
import { parseMessages } from './jsonrpc.ts';

/** A backend's whole answer. */
export type Said = {
  readonly kind: 'said';
  readonly status: number;
  readonly headers: RawHeaders;
  readonly body: Buffer;
  readonly sessionId: string | undefined;
  readonly result: JsonObject | undefined;
};
type Unsaid = { readonly kind: 'failed'; readonly cause: Error; readonly mark?: AffinityMark };

export interface Handshake {
  /** The recorded `initialize`, with the version pinned to the negotiated one. */
  initialize(session: Session, to: Backend, exchange: Exchange): Promise<Said | Unsaid>;
  /** Each step is answered before the next; the reason when one could not be. A refusal in JSON-RPC is an answer. */
  tell(
    steps: readonly Omit<JsonRpcRequest, 'id'>[],
    housed: Session,
    to: Backend,
    exchange: Exchange,
  ): Promise<Error | undefined>;
  /** Whether a ping is answered as one of a session that is known; trouble on the way says neither. */
  knows(session: Session, home: Backend, exchange: Exchange): Promise<boolean | Unsent>;
  /** DELETEs a backend session that is nobody's home. Best effort, not awaited. */
  discard(housed: Session, to: Backend, exchange: Exchange): Promise<void>;
}

/** A backend that takes longer is as good as dead: the client's exchange waits meanwhile. */
const ANSWER_MS = 10_000;
/** After each goodbye that is not answered: a backend that is cut off for a moment must not keep an orphan. */
const GOODBYE_PAUSES_MS = [500, 5_000, 0];
/** Of the exchange that caused it, and wrong for ours. Credentials, forwarding fields and `Host` stay. */
const NOT_OURS = new Set<string>([
  HEADER.session,
  HEADER.lastEventId,
  HEADER.protocolVersion,
  'accept',
  'content-type',
  'content-length',
  'content-encoding',
  'mcp-method',
  'mcp-name',
]);
/** The first revision whose requests name it (MCP 2025-06-18, "Protocol Version Header"). */
const FIRST_NAMED_REVISION = '2025-06-18';

export function createHandshake(upstream: Upstream): Handshake {
  let sent = 0;
  const nextId = (): string => `mcp-affinity-${(sent += 1)}`;

  async function say(exchange: Exchange, session: Session | undefined, to: Backend): Promise<Said | Unsaid> {
    const { sink, said } = listener();
    const attempt = await upstream.send(exchange, session, to, sink);
    if (attempt.kind === 'answered') return said();
    return { kind: 'failed', cause: causeOf(attempt), ...(attempt.kind === 'marked' && { mark: attempt.mark }) };
  }

  return {
    initialize(session, to, exchange) {
      const params = { ...session.journal.initialize, protocolVersion: session.protocolVersion };
      const initialize: JsonRpcRequest = { jsonrpc: '2.0', id: nextId(), method: 'initialize', params };
      const headers = [HEADER.affinitySession, session.id, HEADER.affinityPrevious, session.backendSessionId];
      // It was chosen because no other is left.
      if (to.draining) headers.push(HEADER.affinityStay, '1');
      return say(post(exchange, { kind: 'open', initialize }, initialize, headers), undefined, to);
    },

    async tell(steps, housed, to, exchange) {
      for (const step of steps) {
        const message: JsonRpcRequest | JsonRpcNotification = step.method.startsWith('notifications/')
          ? step
          : { ...step, id: nextId() };
        const intent: Intent = { kind: 'continue', id: housed.id, verb: 'post', messages: [message] };
        const said = await say(post(exchange, intent, message, versionOf(housed)), housed, to);
        if (said.kind === 'failed') return said.cause;
        if (said.status >= 300) return new Error(`${step.method} was answered with status ${said.status}`);
      }
      return undefined;
    },

    async knows(session, home, exchange) {
      const ping: JsonRpcRequest = { jsonrpc: '2.0', id: nextId(), method: 'ping' };
      const intent: Exchange['intent'] = { kind: 'continue', id: session.id, verb: 'post', messages: [ping] };
      const { sink } = listener();
      const attempt = await upstream.send(post(exchange, intent, ping, versionOf(session)), session, home, sink);
      if (attempt.kind === 'answered') return true;
      if (attempt.kind === 'unsent') return attempt;
      if (attempt.kind === 'gone' || attempt.kind === 'doubtful' || attempt.kind === 'marked') return false;
      return { kind: 'unsent', cause: causeOf(attempt), blame: 'backend' };
    },

    async discard(housed, to, exchange) {
      const headers = [...kept(exchange.headers), 'accept', 'application/json'];
      const intent: Exchange['intent'] = { kind: 'continue', id: housed.id, verb: 'end', messages: [] };
      for (const pauseMs of GOODBYE_PAUSES_MS) {
        const goodbye: Exchange = { ...ours(exchange), method: 'DELETE', headers, body: undefined, intent };
        const { kind } = await upstream.send(goodbye, housed, to, listener().sink);
        if (kind !== 'unsent' && kind !== 'lost' && kind !== 'abandoned') return;
        await new Promise((resolve) => setTimeout(resolve, pauseMs).unref());
      }
    },
  };
}

function versionOf({ protocolVersion }: Session): RawHeaders {
  return protocolVersion >= FIRST_NAMED_REVISION ? [HEADER.protocolVersion, protocolVersion] : [];
}

function ours({ target }: Exchange): Pick<Exchange, 'target' | 'signal'> {
  return { target, signal: AbortSignal.timeout(ANSWER_MS) };
}

function kept(headers: RawHeaders): string[] {
  return withoutHeaders(headers, (name) => NOT_OURS.has(name));
}

function post(exchange: Exchange, intent: Exchange['intent'], message: JsonRpcMessage, extra: RawHeaders): Exchange {
  return {
    ...ours(exchange),
    method: 'POST',
    headers: [
      ...kept(exchange.headers),
      'content-type',
      'application/json',
      'accept',
      'application/json, text/event-stream',
      ...extra,
    ],
    body: Buffer.from(JSON.stringify(message)),
    intent,
  };
}

function causeOf(attempt: Exclude<Attempt, { kind: 'answered' }>): Error {
  switch (attempt.kind) {
    case 'unsent':
    case 'lost':
      return attempt.cause;
    case 'gone':
    case 'doubtful':
      return new Error('the new home has forgotten the session');
    case 'marked':
      return new Error(attempt.mark === 'draining' ? 'the new home drains itself' : 'another task is at its address');
    case 'abandoned':
      return new Error(`no answer within ${ANSWER_MS / 1000} s`);
  }
}

/** A sink that keeps what it gets. */
function listener(): { sink: Sink; said: () => Said } {
  let status = 0;
  let headers: RawHeaders = [];
  const chunks: Buffer[] = [];
  const messages: JsonRpcMessage[] = [];
  const sink: Sink = {
    shown: 'nothing',
    head(code, fields) {
      status = code;
      headers = fields;
    },
    event(event: SseEvent) {
      messages.push(...event.messages);
      return true;
    },
    chunk(bytes) {
      chunks.push(bytes);
      return true;
    },
    drained: () => Promise.resolve(),
    end() {},
    cut() {},
  };
  return {
    sink,
    said() {
      const body = Buffer.concat(chunks);
      const parsed = parseMessages(body.toString('utf8'));
      const all = parsed.kind === 'messages' ? parsed.messages : messages;
      const answer = all.find((message) => 'result' in message);
      return {
        kind: 'said',
        status,
        headers,
        body,
        sessionId: headerValue(headers, HEADER.session),
        result: answer !== undefined && 'result' in answer ? answer.result : undefined,
      };
    },
  };
}
