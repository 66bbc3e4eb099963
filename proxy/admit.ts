/** What is decided about a request from its head alone: whether it may enter, and which way it goes. Pure. */
import { HEADER } from './contract.ts';
import type { RawHeaders } from './contract.ts';
import { isFolded } from './folding.ts';
import { mayEnter } from './guard.ts';
import type { GuardRules } from './guard.ts';
import { headerCount } from './headers.ts';
import { isLoop } from './loops.ts';

export type AdmitRules = GuardRules & {
  /** The proxy's name in `Mcp-Affinity-Via`. */
  readonly self: string;
  /** The MCP endpoints' paths. */
  readonly path: readonly string[];
  /** Whether other paths go to a backend; else they are not found. */
  readonly passthrough: boolean;
};

/** What is read of Node's IncomingMessage. */
export type Head = {
  readonly url?: string | undefined;
  readonly rawHeaders: RawHeaders;
  readonly headers: {
    readonly host?: string | undefined;
    readonly origin?: string | undefined;
    readonly [HEADER.affinityVia]?: string | string[] | undefined;
  };
};

export type Admitted =
  /** `target` is path and query; `path` the endpoint's, without a slash at its end. */
  | { readonly kind: 'mcp'; readonly target: string; readonly path: string }
  | { readonly kind: 'other'; readonly target: string }
  | { readonly kind: 'refused'; readonly status: 400 | 403 | 404 | 508 };

/** Why a request may not come in by its Host and Origin, whatever its path; undefined when it may. */
export function entryFault({ rawHeaders, headers }: Head, rules: GuardRules): 400 | 403 | undefined {
  // The backend might read another one than the rule (RFC 9112, section 3.2).
  if (headerCount(rawHeaders, 'host') !== 1 || headerCount(rawHeaders, 'authorization') > 1) return 400;
  return mayEnter({ host: headers.host, origin: headers.origin }, rules) ? undefined : 403;
}

/** Every request passes this one rule, upgrades included. */
export function admit(head: Head, rules: AdmitRules): Admitted {
  const fault = entryFault(head, rules);
  if (fault !== undefined) return { kind: 'refused', status: fault };
  if (isLoop(head.headers[HEADER.affinityVia], rules.self)) return { kind: 'refused', status: 508 };
  const { url } = head;
  const target = targetOf(url ?? '');
  const [path] = target?.split('?', 1) ?? [];
  if (target === undefined || path === undefined) return NOT_FOUND;
  const endpoint = rules.path.find((one) => withoutSlash(one) === withoutSlash(path));
  if (endpoint !== undefined) return { kind: 'mcp', target, path: withoutSlash(endpoint) };
  return rules.passthrough && !isFolded(path, rules.path) ? { kind: 'other', target } : NOT_FOUND;
}

/** One slash at the end is the endpoint's too. */
export function withoutSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

const NOT_FOUND: Admitted = { kind: 'refused', status: 404 };

/** Path and query: a target in absolute form (RFC 9112, section 3.2.2) loses its authority. Undefined for any other. */
export function targetOf(url: string): string | undefined {
  if (url.startsWith('/')) return url;
  if (!/^https?:\/\/[^/?#]/i.test(url) || !URL.canParse(url)) return undefined;
  const { pathname, search } = new URL(url);
  return pathname + search;
}
