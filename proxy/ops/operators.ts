/** Who may ask and order on the ops port: the one rule for all of it but the health of the process. */

import { hash as digest, timingSafeEqual } from 'node:crypto';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import { isLoopback } from '../guard.ts';

export type OperatorRules = {
  /** What an operator shows as `Authorization: Bearer …`; undefined: nobody is asked for one. */
  readonly opsToken: string | undefined;
  /** The address that is listened on. */
  readonly opsHost: string;
};

type Refused = { readonly status: 401 | 403 | 415; readonly error: string };

/** Asked by browsers, who take any user and the token as password. */
const CHALLENGES = ['Bearer realm="mcp-affinity"', 'Basic realm="mcp-affinity", charset="UTF-8"'];

/**
 * With a token: who shows it may do everything, from anywhere. Without: orders are taken from loopback, and by a
 * loopback name (DNS rebinding); a port on loopback answers by such a name only. Either way a POST has
 * `Content-Type: application/json`, which a page of another site cannot send unasked.
 */
export function onlyOperators(rules: OperatorRules): RequestHandler {
  return (request: Request, response: Response, next: NextFunction): void => {
    const refused = refusalOf(request, rules);
    if (refused === undefined) return next();
    if (refused.status === 401) response.setHeader('WWW-Authenticate', CHALLENGES);
    response.status(refused.status).json({ error: refused.error });
    return undefined;
  };
}

function refusalOf(request: Request, { opsToken, opsHost }: OperatorRules): Refused | undefined {
  const orders = request.method !== 'GET' && request.method !== 'HEAD';
  if (opsToken !== undefined) {
    if (!isToken(request.headers.authorization, opsToken)) {
      return { status: 401, error: 'the token of the ops port is expected: Authorization: Bearer …' };
    }
  } else if (orders && !isLoopback(request.socket.remoteAddress)) {
    return { status: 403, error: 'orders are taken from loopback only, or with a token (--ops-token)' };
  } else if ((orders || isLoopback(opsHost)) && !isLoopback(request.hostname)) {
    return { status: 403, error: 'a loopback name is expected as Host' };
  }
  if (request.method === 'POST' && request.is('application/json') === false) {
    return { status: 415, error: 'Content-Type: application/json is expected' };
  }
  return undefined;
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
