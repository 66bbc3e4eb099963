/** Asks a home whether it knows a session. */
import type { Backend, Exchange, JsonRpcRequest, Known, Session, Upstream } from './contract.ts';
import { ask, ownPost, versionOf } from './own-requests.ts';
import type { Asked } from './own-requests.ts';
import { sameAnswer, verdictOf } from './session-doubt.ts';
import type { PingAnswer } from './session-doubt.ts';

export type Knows = (session: Session, home: Backend, exchange: Exchange) => Promise<Known>;

/** Milliseconds: a home that is too busy to answer in them proves nothing, and a client waits meanwhile. */
const PING_MS = 2_000;

/** What a ping proves; trouble on the way proves nothing. `token` is random, never the same twice. */
export function createKnows(upstream: Upstream, token: () => string): Knows {
  let sent = 0;

  async function ping(session: Session, home: Backend, exchange: Exchange): Promise<Asked> {
    const message: JsonRpcRequest = { jsonrpc: '2.0', id: `mcp-affinity-ping-${(sent += 1)}`, method: 'ping' };
    const intent: Exchange['intent'] = { kind: 'continue', id: session.id, verb: 'post', messages: [message] };
    return ask(upstream, ownPost(exchange, intent, message, versionOf(session)), session, home, PING_MS);
  }

  /** What the server says of a session that it does not know. */
  async function isSaidOfStrangers(
    answer: PingAnswer,
    session: Session,
    home: Backend,
    exchange: Exchange,
  ): Promise<Known> {
    const stranger = { ...session, backendSessionId: token() };
    const { attempt, said } = await ping(stranger, home, exchange);
    if (attempt.kind !== 'answered') return 'unclear';
    return sameAnswer(answer, { ...said, sessionId: stranger.backendSessionId }) ? 'unknown' : 'known';
  }

  async function knows(session: Session, home: Backend, exchange: Exchange, again: boolean): Promise<Known> {
    const { attempt, said } = await ping(session, home, exchange);
    if (attempt.kind === 'unsent' || attempt.kind === 'marked') return attempt;
    const answer: PingAnswer = { ...said, sessionId: session.backendSessionId };
    const verdict = verdictOf(answer);
    // A stream may say so, and end without a message.
    if (attempt.kind !== 'answered' && verdict === 'unknown') return verdict;
    // A connection that breaks may break alone; who has died refuses the next.
    if (attempt.kind === 'lost' && again) return knows(session, home, exchange, false);
    if (attempt.kind !== 'answered') return 'unclear';
    return verdict === 'ask-as-stranger' ? isSaidOfStrangers(answer, session, home, exchange) : verdict;
  }

  return (session, home, exchange) => knows(session, home, exchange, true);
}
