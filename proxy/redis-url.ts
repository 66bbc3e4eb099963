/** Reads the URLs that say where Redis is: one server, the nodes of a cluster, or sentinels. Pure. */

export type RedisHost = { readonly host: string; readonly port: number };
type Credentials = { readonly username?: string; readonly password?: string };

/** Where Redis is, and how one gets in. */
export type RedisAddress = Credentials & {
  readonly tls: boolean;
  /** At least one: the server, some nodes of the cluster, or the sentinels. */
  readonly hosts: readonly RedisHost[];
} & (
    | { readonly kind: 'single'; readonly db: number }
    | { readonly kind: 'cluster' }
    /** `name` is what the sentinels call the primary; `sentinel` is how one gets in to them. */
    | { readonly kind: 'sentinel'; readonly db: number; readonly name: string; readonly sentinel: Credentials }
  );

export type ReadRedis =
  | { readonly kind: 'address'; readonly address: RedisAddress }
  /** What was expected instead; nothing of what was got. */
  | { readonly kind: 'fault'; readonly expected: string };

export const REDIS_URL =
  'a URL as in redis://user:password@host:6379/0, rediss://…, redis+sentinel://…/NAME or redis+cluster://…, a password percent-encoded';
const SAME = 'the same scheme, user, password and path in each URL of --redis';

const FORM = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^/?#]*)@)?([^@/?#]+)(\/[^?#]*)?(?:\?([^#@]*))?$/i;
const HOST = /^([\w.-]+|\[[\d.:a-f]+\])(?::(\d{1,5}))?$/i;
const PORT = 6379;
const SENTINEL_PORT = 26_379;

/** Several URLs are one cluster, or the sentinels of one primary. Expects at least one. */
export function readRedisUrls(urls: readonly string[]): ReadRedis {
  const [first, ...others] = urls.map(readOne);
  if (first === undefined || others.includes(undefined)) return { kind: 'fault', expected: REDIS_URL };
  const all = [first, ...others].flatMap((one) => one ?? []);
  const { hosts: _, ...like } = first;
  const alike = all.every(({ hosts: __, ...one }) => JSON.stringify(one) === JSON.stringify(like));
  if (!alike) return { kind: 'fault', expected: SAME };
  const address = { ...first, hosts: all.flatMap(({ hosts }) => hosts) };
  if (address.kind !== 'single' || address.hosts.length === 1) return { kind: 'address', address };
  if (address.db !== 0) return { kind: 'fault', expected: 'no database in the URLs of a cluster' };
  const { db: ___, kind: ____, ...rest } = address;
  return { kind: 'address', address: { ...rest, kind: 'cluster' } };
}

function readOne(url: string): RedisAddress | undefined {
  const [, s = '', how = '', user, hosts = '', path = '', query = ''] = FORM.exec(url) ?? [];
  const read = hosts.split(',').map((host) => readHost(host, how.toLowerCase() === 'sentinel' ? SENTINEL_PORT : PORT));
  const known = read.flatMap((host) => host ?? []);
  const credentials = readUser(user);
  if (known.length < read.length || !credentials) return undefined;
  const common = { tls: s !== '', hosts: known, ...credentials };
  if (how.toLowerCase() === 'sentinel') return readSentinel(common, path, query);
  if (query !== '') return undefined;
  if (how !== '') return /^\/?$/.test(path) ? { ...common, kind: 'cluster' } : undefined;
  return /^(\/\d*)?$/.test(path) && known.length === 1
    ? { ...common, kind: 'single', db: Number(path.slice(1)) }
    : undefined;
}

type Common = Pick<RedisAddress, 'tls' | 'hosts' | 'username' | 'password'>;

/** `/NAME` or `/NAME/DB`, and who one is to the sentinels, if anybody, as `?username=…&password=…`. */
function readSentinel(common: Common, path: string, query: string): RedisAddress | undefined {
  const [, name, db] = /^\/([\w.-]+)(?:\/(\d+))?$/.exec(path) ?? [];
  const said = new URLSearchParams(query);
  const [username, password] = [said.get('username'), said.get('password')];
  const strange = [...said.keys()].some((key) => key !== 'username' && key !== 'password');
  if (name === undefined || strange) return undefined;
  const sentinel = { ...(username !== null && { username }), ...(password !== null && { password }) };
  return { ...common, kind: 'sentinel', db: Number(db ?? 0), name, sentinel };
}

function readHost(text: string, otherwise: number): RedisHost | undefined {
  const [, host, port] = HOST.exec(text.trim()) ?? [];
  const number = port === undefined ? otherwise : Number(port);
  if (host === undefined || number < 1 || number > 65_535) return undefined;
  return { host: host.replaceAll(/[[\]]/g, ''), port: number };
}

function readUser(text: string | undefined): Credentials | undefined {
  const [, user = '', password] = /^([^:]*)(?::(.*))?$/s.exec(text ?? '') ?? [];
  try {
    const username = decodeURIComponent(user);
    return {
      ...(username !== '' && { username }),
      ...(password !== undefined && { password: decodeURIComponent(password) }),
    };
  } catch {
    return undefined;
  }
}
