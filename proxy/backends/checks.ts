/** One look at a backend: does its port take a connection, or does a path of it answer well. */

import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect, isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { asError } from '../as-error.ts';
import { type BackendHost, hostFor } from '../backend-host.ts';
import { type OwnAddresses, lacksIPv6 } from '../blame.ts';
import { HEADER } from '../contract.ts';
import { endpointOf } from '../endpoint.ts';
import { readRelease } from '../headers.ts';

/**
 * - `well`: it takes a connection, or answers with 2xx
 * - `unwell`: it answers, with another status
 * - `refused`: a live host says that nobody listens, or breaks the connection off
 * - `silent`: no answer in time, or no way there: a hung process, or a host that has vanished
 * - `answered`: no check at all: an exchange was answered there
 * - `unknown`: our own trouble, which says nothing about it
 */
export type Finding =
  | { readonly kind: 'well'; readonly release?: number }
  | { readonly kind: 'answered' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unwell' | 'refused' | 'silent'; readonly cause: string };

/** Never rejects, whatever the origin; after `signal` is aborted, whatever it resolves with means nothing. */
export type Check = (origin: string, signal: AbortSignal) => Promise<Finding>;

/** A TCP connect: a stopped process passes it, for its kernel takes connections still. `timeoutMs` is for all of it. */
export function connectCheck(timeoutMs: number): Check {
  return (origin, signal) =>
    finding(timeoutMs, signal, (found) => {
      const socket = connect(endpointOf(origin));
      socket.once('connect', () => found({ kind: 'well' })).on('error', (error) => found(findingOf(error)));
      return () => socket.destroy();
    });
}

/**
 * A GET of `path` on a connection of its own; the body is not read. `timeoutMs` is for all of it. Where the backend gets
 * the client's Host, it gets its own here.
 */
export function pathCheck(path: string, timeoutMs: number, backendHost?: BackendHost): Check {
  return (origin, signal) =>
    finding(timeoutMs, signal, (found) => {
      const request = origin.startsWith('https:') ? requestHttps : requestHttp;
      const named = hostFor(backendHost, origin);
      const headers = { accept: '*/*', 'user-agent': 'mcp-affinity', ...(named !== undefined && { host: named }) };
      const endpoint = endpointOf(origin);
      const servername = isIP(endpoint.host) === 0 ? endpoint.host : '';
      // Apart, so that no path can name another host.
      const options = { ...endpoint, servername, path, agent: false, headers } as const;
      const sent = request(options, ({ statusCode = 0, headers: said }) => {
        if (statusCode < 200 || statusCode >= 300) return found({ kind: 'unwell', cause: `status ${statusCode}` });
        const release = readRelease([said[HEADER.affinityRelease]].flat()[0]);
        return found({ kind: 'well', ...(release !== undefined && { release }) });
      });
      sent.on('error', (error) => found(findingOf(error))).end();
      return () => sent.destroy();
    });
}

/** Of the path, or where there is none of the port. */
export function checkOf(path: string | undefined, timeoutMs: number, backendHost: BackendHost): Check {
  return path === undefined ? connectCheck(timeoutMs) : pathCheck(path, timeoutMs, backendHost);
}

function finding(
  timeoutMs: number,
  signal: AbortSignal,
  begin: (found: (what: Finding) => void) => () => void,
): Promise<Finding> {
  return new Promise((resolve) => {
    let over = false;
    let end = (): void => {};
    const found = (what: Finding): void => {
      over = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
      end();
      resolve(what);
    };
    const leave = (): void => found({ kind: 'unknown' });
    // When we have been busy ourselves, the answer may be there, unread: it is read before this is called late.
    const late = (): void => void setImmediate(found, { kind: 'silent', cause: `no answer in ${timeoutMs} ms` });
    const timer = setTimeout(late, timeoutMs);
    if (signal.aborted) return leave();
    signal.addEventListener('abort', leave, { once: true });
    try {
      end = begin(found);
    } catch (error) {
      // There is nothing that a request could be made of.
      found(findingOf(asError(error)));
    }
    // It may have been found before there was anything to end.
    if (over) end();
  });
}

/** There is no way to the host. */
const VANISHED =
  /^(ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|EAFNOSUPPORT|ENOTFOUND|EAI_AGAIN)$/;
const OURS = /^(EMFILE|ENFILE|ENOBUFS|ENOMEM|EADDRNOTAVAIL)$/;

/** Whether an attempt failed because there is no way to the host, or it does not answer. */
export function hasVanished(cause: Error, own: OwnAddresses = networkInterfaces): boolean {
  return ('code' in cause && typeof cause.code === 'string' && VANISHED.test(cause.code)) || lacksIPv6(cause, own);
}

/** What a connection that failed says of who is there. */
export function findingOf(error: NodeJS.ErrnoException, own: OwnAddresses = networkInterfaces): Finding {
  const code = error.code ?? error.message;
  if (hasVanished(error, own)) return { kind: 'silent', cause: code };
  return OURS.test(code) ? { kind: 'unknown' } : { kind: 'refused', cause: code };
}
