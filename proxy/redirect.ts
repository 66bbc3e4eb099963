/** Where a backend's `Location` leads: to a path of its own, or out; and what of it a client may see. Pure. */
import type { RawHeaders } from './contract.ts';
import { headerCount, headerValue } from './headers.ts';

/** A request as it was sent. */
export type Sent = {
  /** The backend's. */
  readonly origin: string;
  /** Path and query. */
  readonly target: string;
  /** With the `Host` and the `X-Forwarded-*` that the backend got. */
  readonly headers: RawHeaders;
};

/**
 * The path and query that the same backend is to be asked at instead, with the same method and body; undefined where the
 * answer is no 307 or 308 (RFC 9110, sections 15.4.8 and 15.4.9), or leads elsewhere. A backend may name itself as we
 * know it, or by the Host that it was told; scheme and port are often wrong behind TLS.
 */
export function redirectTarget(status: number, headers: RawHeaders, sent: Sent): string | undefined {
  if ((status !== 307 && status !== 308) || headerCount(headers, 'location') !== 1) return undefined;
  const url = urlOf(headerValue(headers, 'location') ?? '', sent.origin + sent.target);
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    return undefined;
  const { inner, outer } = namesOf(sent);
  if (!inner.has(authorityOf(url)) && !outer.has(authorityOf(url))) return undefined;
  const target = url.pathname + url.search;
  return target === sent.target ? undefined : target;
}

/** What is known of the inside. */
export type Inside = {
  /** The origins of all backends. */
  readonly origins: readonly string[];
  /**
   * Whether loopback and private addresses are of the inside too. Of other paths than the MCP endpoint's they need not be:
   * a login ends with a redirect to loopback, at the client's (RFC 8252, section 7.3).
   */
  readonly strict: boolean;
};

/**
 * The fields of an answer without addresses of the inside. A `Location` that names a backend is a path, which the client
 * asks the proxy for; one of a place that only the inside can reach is left out. In `WWW-Authenticate`, where a URL must
 * be a whole one, the backend goes by the name that the client has used.
 */
export function withoutInside(headers: RawHeaders, sent: Sent, inside: () => Inside): RawHeaders {
  if (!headers.some((field, at) => at % 2 === 0 && NAMING.test(field))) return headers;
  const shown: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    const outer = outerValue(name, value, sent, inside);
    if (outer !== undefined) shown.push(name, outer);
  }
  return shown;
}

const NAMING = /^(?:(?:content-)?location|www-authenticate)$/i;

/** Undefined where the client must not see it. */
function outerValue(name: string, value: string, sent: Sent, inside: () => Inside): string | undefined {
  if (!NAMING.test(name)) return value;
  return /^www/i.test(name) ? outerChallenge(value, sent) : outerLocation(value, sent, inside());
}

function outerChallenge(challenge: string, sent: Sent): string {
  const { inner, client, proto = 'http' } = namesOf(sent);
  return challenge.replaceAll(/https?:\/\/[^\s"/?#,]+/gi, (named) => {
    const url = urlOf(named, NOWHERE);
    return client !== undefined && url !== undefined && inner.has(authorityOf(url))
      ? `${proto}://${client.host}`
      : named;
  });
}

function outerLocation(location: string, sent: Sent, { origins, strict }: Inside): string | undefined {
  const url = urlOf(location, NOWHERE);
  if (url === undefined) return undefined;
  // A relative one, or of an application, as the redirects of an OAuth client are.
  if (url.origin === NOWHERE || !/^https?:$/.test(url.protocol)) return location;
  const authority = authorityOf(url);
  const { inner, outer, client, proto } = namesOf(sent);
  if (outer.has(authority)) {
    // A client that came over TLS must not be led out of it; one that did not may be led into it.
    return inner.has(authority) || url.protocol === 'http:' || proto === 'https' ? pathOf(url) : location;
  }
  const backends = origins.map((origin) => new URL(origin));
  if (inner.has(authority) || backends.some((one) => authorityOf(one) === authority)) return pathOf(url);
  const { hostname } = url;
  if (hostname === client?.hostname) return location;
  const loopback = LOOPBACK.test(hostname);
  const ofBackend = [new URL(sent.origin), ...backends].some((one) => one.hostname === hostname);
  return (ofBackend && !loopback) || (strict && (loopback || PRIVATE.test(hostname))) ? undefined : location;
}

const NOWHERE = 'http://nowhere.invalid';

function urlOf(location: string, base: string): URL | undefined {
  return URL.canParse(location, base) ? new URL(location, base) : undefined;
}

/** Without an authority: one that began with two slashes would be read as one (RFC 3986, section 4.2). */
function pathOf({ pathname, search, hash }: URL): string {
  return `${pathname.startsWith('//') ? '/.' : ''}${pathname}${search}${hash}`;
}

/** Host and port, where the ports of both schemes are the same: none. */
function authorityOf({ hostname, port }: Pick<URL, 'hostname' | 'port'>): string {
  return port === '' || port === '80' || port === '443' ? hostname : `${hostname}:${port}`;
}

type Names = {
  /** How the proxy names the backend: by its origin, and by a Host that no client has said. */
  readonly inner: ReadonlySet<string>;
  /** How the client names the proxy. */
  readonly outer: ReadonlySet<string>;
  /** Its main one. */
  readonly client: URL | undefined;
  /** The scheme that the client has used. */
  readonly proto: string | undefined;
};

function namesOf({ origin, headers }: Sent): Names {
  const host = hostOf(headerValue(headers, 'host'));
  const client = hostOf(headerValue(headers, 'x-forwarded-host')) ?? host;
  const outer = new Set<string>();
  if (client !== undefined) {
    outer.add(authorityOf(client));
    const port = headerValue(headers, 'x-forwarded-port');
    if (port !== undefined) outer.add(authorityOf({ hostname: client.hostname, port }));
  }
  const own = new URL(origin);
  // Servers that listen everywhere may say just that.
  const everywhere = ['0.0.0.0', '[::]'].map((hostname) => authorityOf({ hostname, port: own.port }));
  const inner = new Set([authorityOf(own), ...everywhere]);
  if (host !== undefined && !outer.has(authorityOf(host))) inner.add(authorityOf(host));
  return { inner, outer, client, proto: headerValue(headers, 'x-forwarded-proto') };
}

function hostOf(host: string | undefined): URL | undefined {
  return host === undefined ? undefined : urlOf(`http://${host}`, NOWHERE);
}

const LOOPBACK = /^(?:localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/;
/** RFC 1918, 3927, 4193, 6598. */
const PRIVATE =
  /^(?:10\.[\d.]+|169\.254\.[\d.]+|192\.168\.[\d.]+|172\.(?:1[6-9]|2\d|3[01])\.[\d.]+|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.[\d.]+|\[(?:f[cd]|fe[89ab])[\da-f:.]*\])$/;
