/** One request of an attempt: the fields that it is sent with, and what the head of its answer means. */
import { hostFor } from './backend-host.ts';
import type { BackendHost } from './backend-host.ts';
import { HEADER } from './contract.ts';
import type { Backend, Exchange, RawHeaders, Session, Sink } from './contract.ts';
import { headerValue, readRelease, requestHeaders } from './headers.ts';
import type { KnownPaths } from './known-paths.ts';
import { saysLoop } from './loops.ts';
import { redirectTarget, withoutInside } from './redirect.ts';
import type { Sent } from './redirect.ts';
import { issuedId } from './session-id.ts';

export type Way = {
  readonly exchange: Exchange;
  readonly session: Session | undefined;
  readonly to: Backend;
  readonly sink: Sink;
};

/** One request of an attempt: `exchange.target` is what the client asked for, `target` what the backend is asked. */
export type Hop = Way & Sent & { readonly hop: number };

/** What is told of an answer. */
export type Hearers = {
  /** The origins of all backends: no client is sent there. */
  readonly origins?: () => readonly string[];
  /** Told who has begun an answer, whatever it says. */
  readonly onAnswer?: (by: Backend) => void;
  /** Told when a home gives a session another id; its answer waits until this resolves. Never rejects. */
  readonly onRotation?: (asked: Session, issued: string) => Promise<void>;
  /** Told at each answer to an `initialize` that says it which release the backend runs. */
  readonly onRelease?: (id: string, release: number) => void;
};

/** Redirects of a backend to another path of its own that one attempt follows. */
const MAX_HOPS = 3;

export function readHead(
  told: Hearers,
  paths: KnownPaths,
  hop: Hop,
  status: number,
  raw: RawHeaders,
): { readonly headers: RawHeaders } | { readonly instead: string } {
  const { exchange, to, target } = hop;
  // A request that came back was not answered there.
  if (!saysLoop(status, raw)) told.onAnswer?.(to);
  const instead = hop.hop < MAX_HOPS ? redirectTarget(status, raw, hop) : undefined;
  if (instead !== undefined) return { instead };
  paths.answered(to, exchange.target, target, { status, headers: raw });
  // Its endpoint may be back where the client has it: that is asked where nothing has run, or it may run again.
  const mayAskAgain = exchange.intent.kind === 'open' || exchange.method === 'GET';
  if (status === 404 && hop.hop === 0 && target !== exchange.target && mayAskAgain) return { instead: exchange.target };
  if (exchange.intent.kind === 'open') noteRelease(to, raw, told.onRelease);
  return { headers: withoutInside(raw, hop, () => ({ origins: told.origins?.() ?? [], strict: true })) };
}

/** The id that a home has given a session in the place of the one that it was asked with. */
export function rotatedTo({ exchange, session }: Way, status: number, raw: RawHeaders): string | undefined {
  const { intent } = exchange;
  if (session === undefined || status >= 400 || intent.kind !== 'continue' || intent.verb === 'end') return undefined;
  const issued = issuedId(raw);
  return issued.kind === 'id' && issued.id !== session.backendSessionId ? issued.id : undefined;
}

function noteRelease({ id }: Backend, headers: RawHeaders, tell: Hearers['onRelease']): void {
  const release = readRelease(headerValue(headers, HEADER.affinityRelease));
  if (release !== undefined) tell?.(id, release);
}

export function headersOf(
  { exchange, session, to }: Way,
  backendHost: BackendHost | undefined,
  mark: RawHeaders,
): RawHeaders {
  const headers = requestHeaders(exchange.headers, {
    backendSessionId: session?.backendSessionId ?? exchange.ownId,
    clientSessionId: session?.id,
    backend: to.id,
    host: hostFor(backendHost, to.origin),
  });
  headers.push(...mark);
  return headers;
}
