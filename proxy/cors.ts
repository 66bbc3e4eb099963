/** What a browser is told of an answer to a page of another origin (Fetch standard, section 3.2, "CORS protocol"). Pure. */
import type { RawHeaders } from './contract.ts';
import { mayCall } from './guard.ts';
import type { GuardRules } from './guard.ts';
import { headerCount, headerValue, withoutHeaders } from './headers.ts';

/** What is read of Node's IncomingMessage. */
export type CorsRequest = {
  readonly method?: string | undefined;
  readonly headers: { readonly [name: string]: string | readonly string[] | undefined };
};

export type Cors = {
  /** Of the page, as the browser sent it. Undefined: no page asks, but the answer would differ for one. */
  readonly origin: string | undefined;
  /** It is in `--cors`: where the server does no CORS for it, we do. */
  readonly listed: boolean;
  /** The fields that a preflight asks for, as far as we may allow them; undefined: it is none. */
  readonly preflight: readonly string[] | undefined;
};

/** What MCP's clients send that is not allowed by itself (MCP 2025-11-25, "Streamable HTTP"; RFC 6750). */
const REQUEST_FIELDS = [
  'Content-Type',
  'Accept',
  'Authorization',
  'Last-Event-ID',
  'Mcp-Session-Id',
  'Mcp-Protocol-Version',
];
const KNOWN_FIELDS: ReadonlySet<string> = new Set(REQUEST_FIELDS.map((name) => name.toLowerCase()));
/** What else MCP may come to send; ours are nobody's to set. */
const MCP_FIELD = /^mcp-(?!affinity-)[\w-]{1,60}$/;
const MOST_FIELDS = 32;
/** What a client must read of an answer. */
const EXPOSED_FIELDS = ['Mcp-Session-Id', 'Mcp-Protocol-Version', 'Retry-After', 'WWW-Authenticate', 'Allow'];
/** Seconds: as long as Chromium keeps one. What we say in a server's place is not kept, as the server may say otherwise. */
const MAX_AGE = { listed: '7200', inPlace: '0' };

/** Undefined where nothing is due: no page asks, or one that may not. */
export function corsOf({ method, headers }: CorsRequest, rules: GuardRules): Cors | undefined {
  const { origin, host, 'access-control-request-method': asks, 'access-control-request-headers': fields } = headers;
  if (typeof origin !== 'string') {
    return rules.cors === undefined ? undefined : { origin: undefined, listed: true, preflight: undefined };
  }
  if (!mayCall(origin, typeof host === 'string' ? host : undefined, rules)) return undefined;
  const listed = rules.cors?.includes(origin.toLowerCase()) === true;
  const preflight = method === 'OPTIONS' && asks !== undefined ? mcpFields(String(fields ?? '')) : undefined;
  return { origin, listed, preflight };
}

function mcpFields(asked: string): readonly string[] {
  const names = new Set(asked.split(',').map((name) => name.trim().toLowerCase()));
  return [...names].filter((name) => MCP_FIELD.test(name) && !KNOWN_FIELDS.has(name)).slice(0, MOST_FIELDS);
}

/**
 * The fields of an answer with what is due. `own`: the answer is ours, so that the page may read it. A server's own CORS is
 * left as it is, but that what a client must read is exposed to a listed origin.
 */
export function withCors(headers: RawHeaders, cors: Cors | undefined, own: boolean): RawHeaders {
  if (cors === undefined || (!own && (!cors.listed || cors.preflight !== undefined))) return headers;
  const { origin } = cors;
  if (origin === undefined) return own ? headers : withVary(headers);
  const allowed = allows(headers, origin);
  const kept = allowed ? headers : withoutHeaders(headers, (name) => OVERRULED.has(name));
  const exposed = listOf(kept, 'access-control-expose-headers');
  const missing = EXPOSED_FIELDS.filter((name) => !exposed.has('*') && !exposed.has(name.toLowerCase()));
  return withVary([
    ...kept,
    ...(allowed ? [] : ['access-control-allow-origin', origin]),
    ...(missing.length === 0 ? [] : ['access-control-expose-headers', missing.join(', ')]),
  ]);
}

/** What a server says of another origin than the one that asks. */
const OVERRULED: ReadonlySet<string> = new Set(['access-control-allow-origin', 'access-control-allow-credentials']);

/**
 * Our answer (204) to a preflight in the place of the one that there is: of ours, so that no server could be asked, or of a
 * server that does no CORS for a listed origin. Undefined where that answer stands.
 */
export function preflightFields(
  cors: Cors,
  answer: { readonly status: number; readonly headers: RawHeaders; readonly own: boolean },
): RawHeaders | undefined {
  const { origin, listed, preflight } = cors;
  if (origin === undefined || preflight === undefined) return undefined;
  const answered = answer.status >= 200 && answer.status < 300 && allows(answer.headers, origin);
  if (!answer.own && (!listed || answered)) return undefined;
  const fields = [
    ['access-control-allow-origin', origin],
    ['access-control-allow-methods', 'GET, POST, DELETE'],
    ['access-control-allow-headers', [...REQUEST_FIELDS, ...preflight].join(', ')],
    ['access-control-max-age', listed ? MAX_AGE.listed : MAX_AGE.inPlace],
    ['vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers'],
  ];
  return fields.flat();
}

function allows(headers: RawHeaders, origin: string): boolean {
  const value = headerValue(headers, 'access-control-allow-origin')?.trim();
  // Browsers take two for none.
  return (value === '*' || value === origin) && headerCount(headers, 'access-control-allow-origin') === 1;
}

/** For caches: the answer to another origin is another one. */
function withVary(headers: RawHeaders): RawHeaders {
  const varies = listOf(headers, 'vary');
  return varies.has('*') || varies.has('origin') ? headers : [...headers, 'vary', 'Origin'];
}

/** The members of a field that is a list, in lower case. */
function listOf(headers: RawHeaders, name: string): ReadonlySet<string> {
  const members = new Set<string>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    if (headers[at]?.toLowerCase() !== name) continue;
    for (const member of headers[at + 1]?.split(',') ?? []) members.add(member.trim().toLowerCase());
  }
  return members;
}
