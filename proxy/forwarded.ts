/** What a backend is told of the way that a request came: `X-Forwarded-*` and `Forwarded` (RFC 7239). Pure. */
import type { RawHeaders } from './contract.ts';

/** What we see of a request ourselves. */
export type Seen = {
  /** The address at the other end of the connection; undefined when it is gone already. */
  readonly peer: string | undefined;
  readonly scheme: 'http' | 'https';
  /** The request's Host. */
  readonly host: string | undefined;
};

/** The fields that `withForwarding` sets, in lower case. */
export const FORWARDING = [
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'forwarded',
] as const;

/** The way of a request: addresses from the client's to our peer, and what the outermost hop that we believe saw. */
type Way = {
  readonly addresses: readonly string[];
  readonly proto: string;
  readonly host: string | undefined;
  readonly port: string;
};

/**
 * The same fields, but those that tell of a request's way are ours. With `hops` 0 nothing that came in them passes. Else
 * the last `hops` addresses are believed, as the nearest hops have put them there, and the scheme, host and port that the
 * outermost of these saw. `Forwarded` is read only where no `X-Forwarded-For` came: a client may add the one that its hop
 * does not set. What cannot be read is `unknown`. Never throws.
 */
export function withForwarding(headers: RawHeaders, seen: Seen, hops: number): RawHeaders {
  const kept: string[] = [];
  let came: Came | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? '';
    const value = headers[at + 1] ?? '';
    const field = fieldOf(name);
    if (field === undefined) kept.push(name, value);
    else if (hops > 0) {
      came ??= new Map();
      came.set(field, [...(came.get(field) ?? []), value]);
      if (!OURS.has(field)) kept.push(name, value);
    }
  }
  const own = ownWay(seen);
  return kept.concat(came === undefined ? own.fields : fieldsOf(believed(came, own, hops), own));
}

type Came = Map<string, readonly string[]>;
const OURS: ReadonlySet<string> = new Set(FORWARDING);

/** The lower-case name of a field that tells of the way; undefined for all others, by their first letter mostly. */
function fieldOf(name: string): string | undefined {
  const first = name.charCodeAt(0) | 0x20;
  if (first !== X && first !== F) return undefined;
  const field = name.toLowerCase();
  return field.startsWith('x-forwarded-') || OTHERS.has(field) ? field : undefined;
}
/** The last two are read as the path itself by some servers (IIS, Symfony), which would fold any path into the endpoint. */
const OTHERS = new Set(['forwarded', 'x-real-ip', 'x-original-url', 'x-rewrite-url']);
const X = 0x78;
const F = 0x66;

type OwnWay = Way & { readonly fields: readonly string[] };
/** A connection's requests are seen alike, and a load balancer's too. */
const ways = new Map<string, OwnWay>();
const MOST_WAYS = 1000;

function ownWay({ peer = '', scheme, host = '' }: Seen): OwnWay {
  const key = `${scheme} ${peer} ${host}`;
  const known = ways.get(key);
  if (known !== undefined) return known;
  const named = HOST.test(host) ? host : undefined;
  const way = { addresses: [addressOf(peer)], proto: scheme, host: named, port: portOf(named, scheme) };
  const own = { ...way, fields: fieldsOf(way, way) };
  if (ways.size >= MOST_WAYS) ways.clear();
  // A host that is no name may be as long as a head.
  if (host === '' || named !== undefined) ways.set(key, own);
  return own;
}

function believed(came: Came, own: Way, hops: number): Way {
  const forwarded = came.has('x-forwarded-for') ? undefined : came.get('forwarded');
  const chain =
    forwarded === undefined ? lastOf(came.get('x-forwarded-for'), hops) : (elementsOf(forwarded)?.slice(-hops) ?? []);
  const addresses = chain.map((entry) => addressOf(typeof entry === 'string' ? entry : (entry.get('for') ?? '')));
  const outermost = chain[0];
  const said = (field: string, pair: string): string | undefined => {
    if (forwarded === undefined) return lastOf(came.get(field), hops)[0];
    return typeof outermost === 'object' ? outermost.get(pair) : undefined;
  };
  const proto = said('x-forwarded-proto', 'proto')?.toLowerCase();
  const host = said('x-forwarded-host', 'host');
  const port = forwarded === undefined ? said('x-forwarded-port', '') : undefined;
  const way = {
    addresses: [...addresses, ...own.addresses],
    proto: proto === 'http' || proto === 'https' ? proto : own.proto,
    host: host !== undefined && HOST.test(host) ? host : own.host,
  };
  return { ...way, port: port !== undefined && isPort(port) ? port : portOf(way.host, way.proto) };
}

/** A name or an address, with or without a port: what needs no escaping. */
const HOST = /^([\w.-]{1,253}|\[[\da-f:.]{2,45}\])(:\d{1,5})?$/i;

/** The last `count` entries of a list that may be spread over lines; empty ones do not count (RFC 9110, section 5.6.1). */
function lastOf(lines: readonly string[] | undefined, count: number): readonly string[] {
  const found: string[] = [];
  const text = lines?.join(',') ?? '';
  for (let end = text.length; end > 0 && found.length < count;) {
    const comma = text.lastIndexOf(',', end - 1);
    const entry = text.slice(comma + 1, end).trim();
    if (entry !== '') found.unshift(entry);
    end = comma;
  }
  return found;
}

/**
 * The elements of `Forwarded`, each by its lower-case names (RFC 7239, section 4). Undefined when anything in it is not
 * as it should be: a quote that somebody left open might swallow what a hop has added.
 */
function elementsOf(lines: readonly string[]): readonly ReadonlyMap<string, string>[] | undefined {
  const text = lines.join(',');
  const elements = [new Map<string, string>()];
  let at = 0;
  while (at < text.length) {
    PAIR.lastIndex = at;
    const pair = PAIR.exec(text);
    if (pair === null) return undefined;
    const [whole, name, token, quoted, next] = pair;
    at += whole.length;
    if (name !== undefined) elements.at(-1)?.set(name.toLowerCase(), token ?? quoted?.replaceAll(/\\(.)/g, '$1') ?? '');
    if (next === ',') elements.push(new Map<string, string>());
  }
  return elements.filter(({ size }) => size > 0);
}
/**
 * One pair, or none, and what ends it. An address without its quotes is let pass: many write it so. Blanks are in one
 * place only where there is no pair: in two, a long run of them could be shared out in as many ways as it is long.
 */
const PAIR = /[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=(?:([\w!#$%&'*+.^`|~:[\]-]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?([,;]|$)/y;

/** An address without port, zone and brackets; an IPv4 one that came in IPv6's clothes as itself; else `unknown`. */
function addressOf(entry: string): string {
  const [, bracketed, bare = entry] = /^(?:\[([^\]]*)\]|([\d.]+))(?::\d{1,5})?$/.exec(entry) ?? [];
  const [text = ''] = (bracketed ?? bare).toLowerCase().split('%', 1);
  const address = text.startsWith('::ffff:') && text.includes('.') ? text.slice(7) : text;
  if (address.includes(':')) return isIPv6(address) ? address : UNKNOWN;
  return IPV4.test(address) ? address : UNKNOWN;
}
const UNKNOWN = 'unknown';

function isIPv6(text: string): boolean {
  return /^[\da-f:.]{2,45}$/.test(text) && URL.canParse(`http://[${text}]`);
}
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?=\d)|$)){4}$/;

function portOf(host: string | undefined, proto: string): string {
  const port = host === undefined ? undefined : /:(\d+)$/.exec(host)?.[1];
  return port !== undefined && isPort(port) ? port : proto === 'https' ? '443' : '80';
}

function isPort(text: string): boolean {
  return /^[1-9]\d{0,4}$/.test(text) && Number(text) < 65_536;
}

/** In `Forwarded` the first element carries what the outermost hop saw, the last one what we saw. */
function fieldsOf(way: Way, own: Way): string[] {
  const { addresses, proto, host, port } = way;
  const last = addresses.length - 1;
  const elements = addresses.map((address, at) => {
    if (at === 0) return elementOf(address, way);
    return at === last ? elementOf(address, own) : elementOf(address, undefined);
  });
  const fields = ['X-Forwarded-For', addresses.join(', '), 'X-Forwarded-Proto', proto];
  if (host !== undefined) fields.push('X-Forwarded-Host', host);
  fields.push('X-Forwarded-Port', port, 'Forwarded', elements.join(', '));
  return fields;
}

function elementOf(address: string, way: Way | undefined): string {
  const node = address.includes(':') ? `for="[${address}]"` : `for=${address}`;
  if (way === undefined) return node;
  const host = way.host === undefined ? '' : `;host=${/[:[]/.test(way.host) ? `"${way.host}"` : way.host}`;
  return `${node};proto=${way.proto}${host}`;
}
