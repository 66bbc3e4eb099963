/** Makes a configuration of flags and environment, or a list of every fault in them. */
import { z } from 'zod';
import { ORIGIN, readOrigin } from './backend-origin.ts';
import { clashes, discoveryOf } from './clashes.ts';
import { CLOUD_MAP, DNS_NAME, readCloudMapName, readDnsName } from './discovery-names.ts';
import { type Read, readObject, readOptions, shown } from './given.ts';
import { OPTIONS, type Option, optionOf } from './options.ts';
import { BIND_OWNER, type BindOwner, readBindOwner } from './owner.ts';
import { REDIS_URL, readRedisUrls } from './redis-url.ts';
import { RATE, readRate } from './token-bucket.ts';
import { WEB_ORIGIN, readWebOrigin } from './web-origin.ts';

/** What a proxy runs with: parsed once, at start. Times are in seconds. */
export type Config = {
  /** Where clients come in; port 0 picks a free one. */
  readonly port: number;
  readonly host: string;
  /** Where metrics and health are; port 0 picks a free one. */
  readonly opsPort: number;
  readonly opsHost: string;
  /** What operators show there; undefined: orders are taken from loopback only. */
  readonly opsToken: string | undefined;
  /** The MCP endpoints' paths, exactly, here and at the backends: one at least, none twice. */
  readonly path: readonly string[];
  readonly discovery: 'static' | 'dns' | 'cloud-map';
  /** Origins, as in `http://10.0.0.7:3000`, no two with the same host and port: at least one if static, else none. */
  readonly backends: readonly string[];
  /** The name of all backends, if dns; without a port it has SRV records. */
  readonly dns: { readonly name: string; readonly port: number | undefined } | undefined;
  /** The service of all backends, if cloud-map: a namespace's name or ARN, and a service's name. */
  readonly cloudMap: { readonly namespace: string; readonly service: string } | undefined;
  /** Of the backends that register no port with Cloud Map; undefined: all do. */
  readonly backendPort: number | undefined;
  /** What backends get as `Host`: see backend-host.ts. */
  readonly backendHost: string | undefined;
  /** How often discovery is asked. */
  readonly refreshSeconds: number;
  /** Whether backends at loopback addresses that DNS or Cloud Map names are taken. */
  readonly allowLoopback: boolean;
  /** A path that a healthy backend answers with 2xx; undefined: it takes TCP connections. */
  readonly healthPath: string | undefined;
  /** The registry's URLs (see redis-url.ts); undefined keeps sessions in memory. May hold a password. */
  readonly redis: readonly string[] | undefined;
  /** Idle life of a session. */
  readonly sessionTtl: number;
  /** After which a session ends though it is used; undefined: never. */
  readonly sessionMaxAge: number | undefined;
  /** How long an exchange waits for a home; 0 refuses at once. */
  readonly holdSeconds: number;
  /** How long a backend may take to begin its answer, or to go on with a body; undefined is without end. */
  readonly answerSeconds: number | undefined;
  /** How long a stream may be silent before it gets a comment; undefined: it gets none. */
  readonly commentSeconds: number | undefined;
  /** How long a client's idle connection is kept. */
  readonly keepAliveSeconds: number;
  readonly onSessionLost: 'migrate' | 'not-found';
  readonly replay: 'never' | 'safe' | 'always';
  /** A backend that holds so many sessions gets no new ones; Infinity for no limit. */
  readonly maxSessions: number;
  /** Sessions that an owner, or a client's address, may have; Infinity for no limit. */
  readonly maxSessionsPerOwner: number;
  readonly maxSessionsPerClient: number;
  /** How often a client's address may send `initialize`, as in `10/min`; `off`: as often as it likes. */
  readonly initializeRate: string;
  /** How often a client's address may ask for sessions that are not there, as in `20/s`; `off`: as often as it likes. */
  readonly guessRate: string;
  /** A session that has so many listening streams open here gets no other. */
  readonly maxStreamsPerSession: number;
  /** Without `redis`: so many sessions, and no new ones beside them. */
  readonly maxSessionsInMemory: number;
  /** With `redis`: what the sessions that are known may take in memory, in bytes. */
  readonly cacheBytes: number;
  /** The proxy's own, as discovery names zones; undefined: with Cloud Map the ECS task's, else none is preferred. */
  readonly zone: string | undefined;
  /** What tells the owners of sessions apart: see owner.ts. */
  readonly bindOwner: BindOwner;
  /** The drill: each session is migrated before every request of its client's, when it is quiet. */
  readonly chaosMigrate: boolean;
  /** Host names without port, in lower case; undefined: loopback names on a loopback host, else any. */
  readonly allowedHosts: readonly string[] | undefined;
  /** Origins, in lower case; undefined: loopback origins on a loopback host, else one that equals the Host. */
  readonly allowedOrigins: readonly string[] | undefined;
  /** Origins as these, allowed besides, whose pages get CORS fields from us where a backend sends none. */
  readonly cors: readonly string[] | undefined;
  /** Bytes. */
  readonly maxBody: number;
  /** Bytes of all request bodies in memory; undefined: a quarter of V8's heap limit, at least `maxBody`. */
  readonly maxBodies: number | undefined;
  /** Proxies in front of us whose forwarding fields are believed. */
  readonly trustProxy: number;
  /** Whether paths other than the MCP endpoint's go to a backend. */
  readonly passthrough: boolean;
  /** How long our own shutdown may take in all, its lame duck included. */
  readonly drainSeconds: number;
  /** How long we serve on after SIGTERM, not ready any more, before the listener closes; at most `drainSeconds`. */
  readonly lameDuckSeconds: number;
  /** Metrics for CloudWatch among the log lines, under this name of the service; undefined writes none. */
  readonly emf: string | undefined;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
};

/** A configuration, or all that is wrong with it: a sentence for each fault. */
export type Parsed = { readonly kind: 'config'; readonly config: Config } | Faults;
type Faults = { readonly kind: 'faults'; readonly faults: readonly string[] };

/** In seconds. Beyond a day a wait is a mistake, and timers end at 24; most load balancers have noticed after 5 seconds. */
const [LONGEST_WAIT, LONGEST_LIFE, LAME_DUCK] = [86_400, 366 * 86_400, 5];
/** A body is one Buffer. */
const LARGEST_BODY = 1_073_741_824;
/** A Map of V8's has 16,777,216 entries at most. */
const [MOST_IN_MEMORY, LARGEST_CACHE] = [10_000_000, 1_099_511_627_776];

const number = (from: number, to: number, what: string) => {
  const error = `${what} from ${from} to ${to}`;
  return z
    .string(error)
    .regex(/^\d+(\.\d+)?$/, { error, abort: true })
    .transform(Number)
    .pipe(z.number().min(from, error).max(to, error));
};
const whole = (from: number, to: number, what: string) => {
  const error = `${what} from ${from} to ${to}`;
  return number(from, to, what).pipe(z.int(error));
};
const formed = (form: RegExp, error: string) => z.string(error).regex(form, error);
const listenHost = formed(/^[\w:.][\w:.-]*$/, 'an IP address or host name');
const HOST = /^([a-z\d][\w.-]*|\[[\da-f:.]+\])(:\d{1,5})?$/i;
const seconds = number(0, LONGEST_WAIT, 'seconds');

const wrong = (context: z.RefinementCtx, message: string) => {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
};
const url = (value: string) => (URL.canParse(value) ? new URL(value) : undefined);

const OPS_TOKEN = 'a token of 16 characters or more (letters, digits and -._~+/=)';
/** What may stand after `Bearer` (RFC 6750, section 2.1); a short one can be guessed. */
const operatorToken = z
  .string(OPS_TOKEN)
  .regex(/^[\w.~+/-]+=*$/, { error: OPS_TOKEN, abort: true })
  .min(16, OPS_TOKEN);

const PATH = "a path that starts with '/', as in /mcp, and not with '//', without query or fragment";
const path = z
  .string(PATH)
  // What begins with '//' is a host where URLs are put together.
  .refine((value) => url(`http://host${value}`)?.pathname === value && /^\/(?!\/)/.test(value), PATH);

const backend = z.string(ORIGIN).transform((value, context) => {
  const read = readOrigin(value);
  return read.kind === 'origin' ? read.origin : wrong(context, read.expected);
});

const dnsName = z.string(DNS_NAME).transform((value, context) => readDnsName(value) ?? wrong(context, DNS_NAME));
const cloudMapService = z
  .string(CLOUD_MAP)
  .transform((value, context) => readCloudMapName(value) ?? wrong(context, CLOUD_MAP));

const redisUrls = z.array(z.string(REDIS_URL)).superRefine((urls, context) => {
  const read = readRedisUrls(urls);
  if (read.kind === 'fault') context.addIssue({ code: 'custom', message: read.expected });
});

const HOST_NAME = 'a host name without port, as in mcp.example.com';
const hostName = z
  .string(HOST_NAME)
  .toLowerCase()
  .refine((value) => url(`http://${value}`)?.host === value, HOST_NAME);

const webOrigin = z
  .string(WEB_ORIGIN)
  .transform((value, context) => readWebOrigin(value) ?? wrong(context, WEB_ORIGIN));

const choice = <const T extends string>(...of: readonly T[]) =>
  z.enum(of, of.join(', ').replace(/, (\w[\w-]*)$/, ' or $1'));

/** The rule says itself that `off` is one too. */
const offOr = <T extends z.ZodType>(rule: T, expected: string) =>
  z.union([z.literal('off').transform(() => undefined), rule], expected);
const OFF_OR = 'off, or seconds';
const offOrSeconds = offOr(number(0.1, LONGEST_WAIT, OFF_OR), `${OFF_OR} from 0.1 to ${LONGEST_WAIT}`);

const rate = z.string(RATE).refine((value) => value === 'off' || readRate(value) !== undefined, RATE);

/** Undefined where nothing is said. */
const orNot = <T extends z.ZodType>(rule: T) => rule.optional().transform((value) => value);

/** The rule for each value; the message of each is what a fault says was expected. */
const SCHEMA = z.object({
  port: whole(0, 65_535, 'a port'),
  host: listenHost,
  opsPort: whole(0, 65_535, 'a port'),
  opsHost: orNot(listenHost),
  opsToken: orNot(operatorToken),
  path: z.array(path),
  backends: z.array(backend),
  discovery: orNot(choice('static', 'dns', 'cloud-map')),
  dns: orNot(dnsName),
  cloudMap: orNot(cloudMapService),
  backendPort: orNot(whole(1, 65_535, 'a port')),
  backendHost: orNot(formed(HOST, 'keep, origin, or a Host as in mcp.internal:3000')),
  refreshSeconds: number(0.1, LONGEST_WAIT, 'seconds'),
  allowLoopback: choice('on', 'off').transform((word) => word === 'on'),
  healthPath: orNot(path),
  redis: orNot(redisUrls),
  sessionTtl: whole(1, LONGEST_LIFE, 'whole seconds'),
  sessionMaxAge: offOr(
    whole(1, LONGEST_LIFE, 'off, or whole seconds'),
    `off, or whole seconds from 1 to ${LONGEST_LIFE}`,
  ),
  holdSeconds: seconds,
  answerSeconds: offOrSeconds,
  commentSeconds: offOrSeconds,
  keepAliveSeconds: number(1, LONGEST_WAIT, 'seconds'),
  onSessionLost: choice('migrate', 'not-found'),
  replay: choice('never', 'safe', 'always'),
  maxSessions: orNot(whole(1, 1_000_000_000, 'sessions')),
  maxSessionsPerOwner: orNot(whole(1, 1_000_000, 'sessions')),
  maxSessionsPerClient: orNot(whole(1, 1_000_000, 'sessions')),
  initializeRate: rate,
  guessRate: rate,
  maxStreamsPerSession: whole(1, 1_000_000, 'streams'),
  maxSessionsInMemory: whole(1, MOST_IN_MEMORY, 'sessions'),
  cacheBytes: whole(1_048_576, LARGEST_CACHE, 'whole bytes'),
  zone: orNot(formed(/^[\w.:-]+$/, 'a name')),
  bindOwner: z.string(BIND_OWNER).transform((value, context) => readBindOwner(value) ?? wrong(context, BIND_OWNER)),
  chaosMigrate: choice('on', 'off').transform((word) => word === 'on'),
  allowedHosts: orNot(z.array(hostName)),
  allowedOrigins: orNot(z.array(webOrigin)),
  cors: orNot(z.array(webOrigin)),
  maxBody: whole(1, LARGEST_BODY, 'whole bytes'),
  maxBodies: orNot(whole(1, Number.MAX_SAFE_INTEGER, 'whole bytes')),
  trustProxy: whole(0, 32, 'a whole number of proxies'),
  passthrough: choice('on', 'off').transform((value) => value === 'on'),
  drainSeconds: seconds,
  lameDuckSeconds: orNot(seconds),
  emf: formed(/^[\w./-]{1,250}$/, 'off, on, or a name').transform((word) =>
    word === 'off' ? undefined : word === 'on' ? 'mcp-affinity' : word,
  ),
  logLevel: choice('error', 'warn', 'info', 'debug'),
});

/**
 * Parses `args` (without node and script) and `env`: flags win. All faults are reported at once, each naming the flag or
 * variable, what was expected and what it got; a password is never in them.
 */
export function parseConfig(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Parsed {
  return check(readOptions(args, env), true);
}

/** The same rules for options given in code, under the names of `Config`; `listens`: a proxy of its own is to run with them. */
export function checkOptions(options: Readonly<Record<string, unknown>>, listens = true): Parsed {
  return check(readObject(options), listens);
}

function check(read: Read, listens: boolean): Parsed {
  const { given, faults } = read;
  const raw = Object.fromEntries(
    Object.entries<Option>(OPTIONS).map(([name, { many }]) => {
      const values = given.get(name)?.values;
      return [name, many ? values : values?.[0]];
    }),
  );
  const parsed = SCHEMA.safeParse({ ...raw, backends: raw['backends'] ?? [] });
  const all = [
    ...faults,
    ...(parsed.error?.issues ?? []).map((issue) => fault(issue, read)),
    ...clashes(read, listens),
  ];
  if (!parsed.success || all.length > 0) return { kind: 'faults', faults: all };
  const { discovery = discoveryOf(given), opsHost = parsed.data.host, drainSeconds } = parsed.data;
  // Half at least is left for what runs.
  const { lameDuckSeconds = Math.min(LAME_DUCK, drainSeconds / 2) } = parsed.data;
  const { maxSessions = Infinity, maxSessionsPerOwner = Infinity, maxSessionsPerClient = Infinity } = parsed.data;
  const most = { maxSessions, maxSessionsPerOwner, maxSessionsPerClient };
  return { kind: 'config', config: { ...parsed.data, ...most, discovery, opsHost, lameDuckSeconds } };
}

function fault(issue: z.core.$ZodIssue, { given, wanted }: Read): string {
  const [key, index] = issue.path;
  const name = String(key);
  const said = given.get(name);
  const got = said?.values[typeof index === 'number' ? index : 0] ?? '';
  return `${said?.source ?? wanted(name)}: expected ${issue.message}, got ${shown(got, optionOf(name)?.secret)}`;
}
