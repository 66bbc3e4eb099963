/** Asks a home whether it knows a session. */
import { BoundedSet } from './bounded.ts';
import type { Backend, Exchange, JsonRpcRequest, Known, Session, Upstream } from './contract.ts';
import { ask, ownPost, versionOf } from './own-requests.ts';
import type { Asked } from './own-requests.ts';
import { sameAnswer, verdictOf } from './session-doubt.ts';
import type { PingAnswer } from './session-doubt.ts';

export type Knows = (session: Session, home: Backend, exchange: Exchange) => Promise<Known>;

/** Milliseconds: a home that is too busy to answer in them proves nothing, and a client waits meanwhile. */
const PING_MS = 3_000;
/** Sessions of which it is remembered that their homes answer no pings. */
const MOST = 20_000;

/** What a ping proves; trouble on the way proves nothing. `token` is random, never the same twice. */
export function createKnows(upstream: Upstream, token: () => string): Knows {
  const pingless = new BoundedSet(MOST);

  function send(session: Session, home: Backend, exchange: Exchange, method: string): Promise<Asked> {
    // Another proxy may ask the same session at the same time: servers tell requests apart by their ids.
    const message: JsonRpcRequest = { jsonrpc: '2.0', id: `mcp-affinity-${method}-${token()}`, method };
    const intent: Exchange['intent'] = { kind: 'continue', id: session.id, verb: 'post', messages: [message] };
    return ask(upstream, ownPost(exchange, intent, message, versionOf(session)), session, home, PING_MS);
  }

  /** A server may know no pings, or no session: what it has said that it offers, it answers to a session alone. */
  async function answersOtherwise(session: Session, home: Backend, exchange: Exchange): Promise<boolean> {
    const offered = LISTS.find((one) => one in session.capabilities);
    if (offered === undefined) return false;
    const { attempt, said } = await send(session, home, exchange, `${offered}/list`);
    const answers = attempt.kind === 'answered' && said.status < 300 && said.result !== undefined;
    if (answers) pingless.add(session.backendSessionId);
    return answers;
  }

  /** Whether it is what the server says of a session that it does not know. */
  async function isSaidOfStrangers(answer: PingAnswer, session: Session, home: Backend, exchange: Exchange) {
    const stranger = { ...session, backendSessionId: token() };
    const { attempt, said } = await send(stranger, home, exchange, 'ping');
    if (attempt.kind !== 'answered') return 'unclear';
    return sameAnswer(answer, { ...said, sessionId: stranger.backendSessionId }) ? 'unknown' : 'known';
  }

  async function knows(session: Session, home: Backend, exchange: Exchange, again: boolean): Promise<Known> {
    if (pingless.has(session.backendSessionId) && (await answersOtherwise(session, home, exchange))) return 'known';
    const { attempt, said } = await send(session, home, exchange, 'ping');
    if (attempt.kind === 'unsent' || attempt.kind === 'marked') return attempt;
    const answer: PingAnswer = { ...said, sessionId: session.backendSessionId };
    const verdict = verdictOf(answer);
    // A stream may say so, and end without a message.
    if (attempt.kind !== 'answered' && verdict === 'unknown') return verdict;
    // A connection that breaks may break alone; who has died refuses the next.
    if (attempt.kind === 'lost' && again) return knows(session, home, exchange, false);
    if (attempt.kind !== 'answered') return 'unclear';
    if (verdict !== 'rejected') return verdict;
    if (await answersOtherwise(session, home, exchange)) return 'known';
    // MCP 2025-11-25, "Session Management": what 404 means where the session is named.
    if (said.status === 404 || said.status === 410) return 'unknown';
    return isSaidOfStrangers(answer, session, home, exchange);
  }

  return (session, home, exchange) => knows(session, home, exchange, true);
}

/** Capabilities that come with a request to list what is offered (MCP 2025-11-25, "Server Features"). */
const LISTS = ['tools', 'resources', 'prompts'] as const;
