/** Who may ask and order on the ops port: the one rule for all of it but the health of the process. */

import { hash as digest, timingSafeEqual } from 'node:crypto';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import { isLoopback, mayCall } from '../guard.ts';
import type { Guesses } from './guesses.ts';

export type OperatorRules = {
  /** What an operator shows as `Authorization: Bearer …`; undefined: nobody is asked for one. */
  readonly opsToken: string | undefined;
  /** The address that is listened on. */
  readonly opsHost: string;
};

type Refused = {
  readonly status: 401 | 403 | 415 | 429;
  readonly error: string;
  /** Seconds. */
  readonly retryAfter?: number;
};

/** Asked by browsers, who take any user and the token as password. */
const CHALLENGES = ['Bearer realm="mcp-affinity"', 'Basic realm="mcp-affinity", charset="UTF-8"'];

/**
 * With a token: who shows it may do everything, from anywhere. Without: orders are taken from loopback, and by a
 * loopback name (DNS rebinding); a port on loopback answers by such a name only. Either way an order comes from no page of
 * another origin, and a POST has `Content-Type: application/json`, which such a page cannot send unasked. After ten wrong
 * tokens a client's are not looked at (429), but for one each six seconds.
 */
export function onlyOperators(rules: OperatorRules, guesses: Guesses): RequestHandler {
  return (request: Request, response: Response, next: NextFunction): void => {
    const refused =
      (rules.opsToken === undefined ? placeFault : tokenFault)(request, rules, guesses) ?? pageFault(request);
    if (refused === undefined) return next();
    if (refused.retryAfter !== undefined) response.setHeader('Retry-After', refused.retryAfter);
    if (refused.status === 401) response.setHeader('WWW-Authenticate', CHALLENGES);
    response.status(refused.status).json({ error: refused.error });
    return undefined;
  };
}

function tokenFault(request: Request, rules: OperatorRules, guesses: Guesses): Refused | undefined {
  const { authorization } = request.headers;
  const from = request.socket.remoteAddress ?? '';
  const seconds = authorization === undefined ? 0 : guesses.wait(from);
  if (seconds > 0) {
    return { status: 429, error: `too many wrong tokens: try again in ${seconds} s`, retryAfter: seconds };
  }
  if (rules.opsToken !== undefined && isToken(authorization, rules.opsToken)) return undefined;
  if (authorization !== undefined) guesses.wrong(from);
  return { status: 401, error: 'the token of the ops port is expected: Authorization: Bearer …' };
}

/** Where no token is asked for, it matters where a request comes from and by which name. */
function placeFault(request: Request, { opsHost }: OperatorRules): Refused | undefined {
  const orders = isOrder(request);
  if (orders && !isLoopback(request.socket.remoteAddress)) {
    return { status: 403, error: 'orders are taken from loopback only, or with a token (--ops-token)' };
  }
  if ((orders || isLoopback(opsHost)) && !isLoopback(request.hostname)) {
    return { status: 403, error: 'a loopback name is expected as Host' };
  }
  return undefined;
}

function pageFault(request: Request): Refused | undefined {
  if (isOrder(request) && isOfOtherOrigin(request)) {
    return { status: 403, error: 'orders are not taken from pages of another origin' };
  }
  if (request.method === 'POST' && request.is('application/json') === false) {
    return { status: 415, error: 'Content-Type: application/json is expected' };
  }
  return undefined;
}

function isOrder({ method }: Request): boolean {
  return method !== 'GET' && method !== 'HEAD';
}

const SAME_HOST = { host: '', allowedHosts: undefined, allowedOrigins: undefined, cors: undefined } as const;

/**
 * Whether a browser says so: no page can set or leave out these fields. Older ones, and all over plain HTTP but to loopback,
 * send `Origin` alone; what is no browser sends neither.
 */
function isOfOtherOrigin({ headers }: Request): boolean {
  const { 'sec-fetch-site': site, origin, host } = headers;
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  return origin !== undefined && !mayCall(origin, host, SAME_HOST);
}

/** Takes the same time for every wrong token, whatever its length. */
function isToken(authorization: string | undefined, token: string): boolean {
  const [, scheme = '', said = ''] = /^(bearer|basic) +([^\s]+) *$/i.exec(authorization ?? '') ?? [];
  const shown = scheme.toLowerCase() === 'basic' ? passwordOf(said) : said;
  return timingSafeEqual(digest('sha256', shown, 'buffer'), digest('sha256', token, 'buffer'));
}

function passwordOf(credentials: string): string {
  return /^[^:]*:(.*)$/s.exec(Buffer.from(credentials, 'base64').toString('utf8'))?.[1] ?? '';
}
