/** An exchange as the session's home of now is to get it. Pure. */
import { HEADER } from './contract.ts';
import type { Exchange, JsonRpcId, RawHeaders, Session } from './contract.ts';
import { headerValue, withoutHeaders } from './headers.ts';
import { isRequest } from './jsonrpc.ts';
import { cursorToHome, part, toHome } from './rewrite.ts';
import type { Sent } from './rewrite.ts';

/**
 * - `nothing`: all it holds are answers to questions that died with an older home
 * - `later`: it knows a later epoch than our copy of the session
 */
export type Addressed =
  | { readonly kind: 'exchange'; readonly exchange: Exchange }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'later' };

/** A session belongs to the endpoint that it was opened at; one of an early record, or of no endpoint, to any. */
export function openedAt(path: string | undefined, found: Session | undefined): Session | undefined {
  return path === undefined || found?.path === undefined || found.path === path ? found : undefined;
}

export function address(exchange: Exchange, session: Session | undefined): Addressed {
  const { intent } = exchange;
  if (intent.kind !== 'continue' || session === undefined) return { kind: 'exchange', exchange };
  if (intent.verb === 'listen') return addressCursor(exchange, session.epoch);
  if (exchange.body === undefined) return { kind: 'exchange', exchange };
  const renamed = toHome({ body: exchange.body, messages: intent.messages }, session.epoch);
  if (renamed.kind === 'later') return renamed;
  if (renamed.kind === 'as-is') return { kind: 'exchange', exchange };
  const { body, messages } = renamed.to;
  if (messages.length === 0) return { kind: 'nothing' };
  return { kind: 'exchange', exchange: { ...exchange, body, intent: { ...intent, messages } } };
}

function addressCursor(exchange: Exchange, epoch: number): Addressed {
  const cursor = headerValue(exchange.headers, HEADER.lastEventId);
  const renamed = cursor === undefined ? { kind: 'as-is' as const } : cursorToHome(cursor, epoch);
  if (renamed.kind === 'later') return renamed;
  if (renamed.kind === 'as-is') return { kind: 'exchange', exchange };
  return { kind: 'exchange', exchange: { ...exchange, headers: withCursor(exchange.headers, renamed.to) } };
}

/** A stream that goes on from `cursor`, or from now where there is none. */
export function withCursor(headers: RawHeaders, cursor: string | undefined): RawHeaders {
  const others = withoutHeaders(headers, (name) => name === HEADER.lastEventId);
  return cursor === undefined ? others : [...others, HEADER.lastEventId, cursor];
}

/** The part of an exchange that was not answered: what was answered once must not be again. */
export function unansweredPart(exchange: Exchange, unanswered: readonly JsonRpcId[]): Exchange {
  const { body, intent } = exchange;
  if (intent.kind === 'open' || body === undefined) return exchange;
  const sent: Sent = { body, messages: intent.messages };
  const rest = part(sent, (message) => !isRequest(message) || unanswered.includes(message.id));
  return rest === sent ? exchange : { ...exchange, body: rest.body, intent: { ...intent, messages: rest.messages } };
}
