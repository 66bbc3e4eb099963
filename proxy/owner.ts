/** Whose a session is: what a request says of its owner, and what another may do. Compared, never verified. Pure. */
import { hash } from 'node:crypto';
import type { Exchange, Session } from './contract.ts';
import { isObject } from './jsonrpc.ts';

/**
 * What tells owners apart: `subject`, the issuer and subject of a bearer JWT, any other credentials as a whole; the value
 * of a header that an authenticating load balancer sets; or nothing.
 */
export type BindOwner = 'subject' | 'none' | `header:${string}`;

export const BIND_OWNER = 'subject, none, or header:NAME as in header:x-amzn-oidc-identity';

/** Undefined: it is none. */
export function readBindOwner(value: string): BindOwner | undefined {
  if (value === 'subject' || value === 'none') return value;
  const name = /^header:([\w!#$%&'*+.^`|~-]+)$/.exec(value)?.[1];
  return name === undefined ? undefined : `header:${name.toLowerCase()}`;
}

/** With its fields by lower-case name. */
type Request = {
  readonly headers: { readonly authorization?: string | undefined } & {
    readonly [name: string]: string | readonly string[] | undefined;
  };
};

/**
 * An owner is `how kind hash`: how owners were told apart, what the request brought, and the SHA-256 of that. Sessions are
 * not bound across a change of `--bind-owner`, which would end them all.
 */
const NOBODY = 'nobody';
const SUBJECT = 'subject';
const TOKEN = 'token';
const NAME = 'name';

/**
 * How the owner of a request is told; what it returns is undefined where owners are not told apart. `own` is the caller's
 * way: it returns a name that the caller has verified, or undefined for none.
 */
export function ownerTeller<R extends Request>(
  bind: BindOwner,
  own?: (request: R) => string | undefined,
): (request: R) => string | undefined {
  if (own !== undefined) return (request) => named('option', own(request));
  if (bind === 'none') return () => undefined;
  if (bind === 'subject') return subjectOf;
  const field = bind.slice('header:'.length);
  return ({ headers }) => named(bind, textOf(headers[field]));
}

function subjectOf({ headers: { authorization = '' } }: Request): string {
  // A scheme alone shows nothing.
  if (/^\S*\s*$/.test(authorization)) return owner('subject', NOBODY);
  const claims = claimsOf(authorization);
  return claims === undefined ? owner('subject', TOKEN, authorization) : owner('subject', SUBJECT, claims);
}

function named(how: string, name: string | undefined): string {
  return name === undefined || name === '' ? owner(how, NOBODY) : owner(how, NAME, name);
}

function owner(how: string, kind: string, secret?: string): string {
  return secret === undefined ? `${how} ${kind}` : `${how} ${kind} ${hash('sha256', secret)}`;
}

function textOf(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.join(', ');
}

/**
 * `iss` and `sub` of a JWT (RFC 7519, sections 3 and 4.1), where it has both, and the client that it was issued to (RFC
 * 9068, section 2.2; `azp` of OpenID Connect): servers tell a user's clients apart.
 */
function claimsOf(authorization: string): string | undefined {
  const [, payload] = /^(?:bearer|dpop) +[\w-]+\.([\w-]+)\.[\w-]*$/i.exec(authorization) ?? [];
  if (payload === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    if (!isObject(claims)) return undefined;
    const { iss, sub, client_id: client = claims['azp'] } = claims;
    return typeof iss === 'string' && typeof sub === 'string' ? JSON.stringify([iss, sub, client]) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * - `owner`: may cause whatever the session needs, a migration too. Anybody, where it was opened without credentials and
 *   its home has asked for some since: the first that are accepted bind it
 * - `candidate`: may be the owner with new credentials. Its home alone can say so, by a 2xx
 * - `stranger`: to be answered as if there were no such session
 */
export type Standing = 'owner' | 'candidate' | 'stranger';

export function standingOf(session: Session, { owner: asks }: Pick<Exchange, 'owner'>): Standing {
  const { owner: has } = session;
  if (has === undefined || asks === undefined || asks === has) return 'owner';
  const [how, kind] = partsOf(has);
  const [howNow, kindNow] = partsOf(asks);
  if (how !== howNow) return 'owner';
  if (kind === NOBODY && session.challenged === true) return 'owner';
  return kind === TOKEN && kindNow === TOKEN ? 'candidate' : 'stranger';
}

/** Whether it names somebody, so that what is theirs can be counted. */
export function isSomebody(one: string | undefined): one is string {
  return one !== undefined && partsOf(one)[1] !== NOBODY;
}

/** Whether the owner is told by what nobody but a backend can verify: the claims of a JWT, which anybody can write. */
export function isClaimed({ owner: has }: Session): boolean {
  return has !== undefined && partsOf(has)[1] === SUBJECT;
}

/**
 * The session as its home's answer leaves it; the same object where it changes nothing. Of two requests the later one
 * says whose it is, whichever is answered first.
 */
export function afterAnswer(
  session: Session,
  { owner: asks, at = 0 }: Pick<Exchange, 'owner' | 'at'>,
  status: number,
): Session {
  const { owner: has, challenged, ...kept } = session;
  if (has === undefined || asks === undefined || at < (session.ownedAt ?? 0)) return session;
  if (has === asks) {
    const challenges = status === 401 && challenged !== true && partsOf(has)[1] === NOBODY;
    return challenges ? { ...session, challenged: true } : session;
  }
  const accepted = status >= 200 && status < 300 && standingOf(session, { owner: asks }) !== 'stranger';
  return accepted && partsOf(has)[0] === partsOf(asks)[0] ? { ...kept, owner: asks, ownedAt: at } : session;
}

function partsOf(one: string): readonly string[] {
  return one.split(' ');
}
