/** What the proxy itself says to a backend on a session's behalf: the handshake of a migration. */
import { HEADER } from './contract.ts';
import type {
  AffinityMark,
  Backend,
  Exchange,
  Intent,
  JsonRpcNotification,
  JsonRpcRequest,
  Session,
  Upstream,
} from './contract.ts';
import { idField } from './headers.ts';
import { ask, ownPost, versionOf } from './own-requests.ts';
import type { Asked, Said } from './own-requests.ts';
import { idsOfIssued } from './session-id.ts';
import { doubtOf, doubtOfMessages } from './session-doubt.ts';
import { edited, findMessages } from './json-text.ts';
import type { Edit } from './json-text.ts';

export type Initialized = { readonly kind: 'said'; readonly said: Said };
/** `reached`: the backend may have acted on it. */
export type Refused = {
  readonly kind: 'failed';
  readonly cause: Error;
  readonly mark?: AffinityMark;
  readonly reached: boolean;
};

export interface Handshake {
  /**
   * The recorded `initialize`, with the version pinned to the negotiated one. `orphaned` is told the id of a session that
   * the backend has opened all the same where this fails, even if that is learnt later. `waitMs`: how long its answer is
   * waited for.
   */
  initialize(
    session: Session,
    to: Backend,
    exchange: Exchange,
    orphaned: (backendSessionId: string) => void,
    waitMs: number,
  ): Promise<Initialized | Refused>;
  /** Each step is answered before the next; the reason when one could not be. A refusal in JSON-RPC is an answer. */
  tell(
    steps: readonly Omit<JsonRpcRequest, 'id'>[],
    housed: Session,
    to: Backend,
    exchange: Exchange,
  ): Promise<Error | undefined>;
}

/** How long an answer to `initialize` is waited for after it is too late for the client, to close what it opened. */
const LATE_MS = 60_000;

export function createHandshake(upstream: Upstream): Handshake {
  let sent = 0;
  const nextId = (): string => `mcp-affinity-${(sent += 1)}`;

  return {
    async initialize(session, to, exchange, orphaned, waitMs) {
      const params = { ...session.journal.initialize, protocolVersion: session.protocolVersion };
      const initialize: JsonRpcRequest = { jsonrpc: '2.0', id: nextId(), method: 'initialize', params };
      const headers = [
        ...idField(HEADER.affinitySession, session.id),
        ...idField(HEADER.affinityPrevious, session.backendSessionId),
      ];
      // It was chosen because no other is left.
      if (to.draining) headers.push(HEADER.affinityStay, '1');
      const own = ownPost(exchange, { kind: 'open', initialize }, initialize, headers);
      const text = session.journal.initializeText;
      const request = text === undefined ? own : { ...own, body: inWordsOf(text, initialize) };
      const asked = ask(upstream, request, undefined, to, waitMs + LATE_MS);
      const inTime = await orLate(asked, waitMs);
      if (inTime === 'late') {
        void asked.then(({ said }) => idsOfIssued(said.issued).forEach(orphaned));
        return { kind: 'failed', cause: new Error(`no answer within ${waitMs / 1000} s`), reached: true };
      }
      const { attempt, said } = inTime;
      if (attempt.kind === 'answered') return { kind: 'said', said };
      idsOfIssued(said.issued).forEach(orphaned);
      return refusedBy(attempt);
    },

    async tell(steps, housed, to, exchange) {
      for (const step of steps) {
        const message: JsonRpcRequest | JsonRpcNotification = step.method.startsWith('notifications/')
          ? step
          : { ...step, id: nextId() };
        const intent: Intent = { kind: 'continue', id: housed.id, verb: 'post', messages: [message] };
        const { attempt, said } = await ask(
          upstream,
          ownPost(exchange, intent, message, versionOf(housed)),
          housed,
          to,
        );
        if (attempt.kind !== 'answered') return refusedBy(attempt).cause;
        if (said.status >= 300) return new Error(`${step.method} was answered with status ${said.status}`);
        if (hasForgotten(said)) return new Error('the new home has forgotten the session');
      }
      return undefined;
    },
  };
}

function hasForgotten(said: Said): boolean {
  return doubtOf(said) === 'strong' || doubtOfMessages(said.messages, said.body) === 'strong';
}

async function orLate(asked: Promise<Asked>, ms: number): Promise<Asked | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), ms);
  });
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The client's own `initialize`, under our id and with the version of ours. */
function inWordsOf(text: string, { id, params }: JsonRpcRequest): Buffer {
  const bytes = Buffer.from(text);
  const [message] = findMessages(bytes.toString('latin1'));
  const version = Buffer.from(JSON.stringify(params?.['protocolVersion'])).toString('latin1');
  const edits: Edit[] = [];
  for (const { from, to, place } of message?.names ?? []) {
    if (place === 'id') edits.push({ from, to, text: JSON.stringify(id) });
    if (place === 'params.protocolVersion') edits.push({ from, to, text: version });
  }
  return edited(bytes, edits);
}

function refusedBy(attempt: Exclude<Asked['attempt'], { kind: 'answered' }>): Refused {
  switch (attempt.kind) {
    case 'unsent':
      return { kind: 'failed', cause: attempt.cause, reached: false };
    case 'lost':
      return { kind: 'failed', cause: attempt.cause, reached: true };
    case 'marked': {
      const { mark } = attempt;
      const cause = mark === 'draining' ? 'the new home drains itself' : 'another task is at its address';
      return { kind: 'failed', cause: new Error(cause), mark, reached: true };
    }
    case 'abandoned':
      return { kind: 'failed', cause: new Error('no whole answer in time, or too long a one'), reached: true };
  }
}
