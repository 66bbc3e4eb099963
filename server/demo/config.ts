/** Makes the sample server's configuration of its environment, or a list of every fault in it. */

import { z } from 'zod';

/** What a sample server runs with. */
export type DemoConfig = {
  /** 0 picks a free one. */
  readonly port: number;
  readonly host: string;
  /** The MCP endpoint's path. */
  readonly path: string;
  readonly stateless: boolean;
  /** What `/health` and `ping` say; undefined is the package's own. */
  readonly version: string | undefined;
  /** Idle life of a session and of its tool state, in seconds. */
  readonly sessionTtlSeconds: number;
  /** How often `demo://clock` changes by itself, in milliseconds; 0 never. */
  readonly clockMs: number;
  /** How long a drain may take, in seconds; 5 less than ECS waits before it kills. */
  readonly drainSeconds: number;
  /** Whether ECS is asked to leave the task alone while it holds sessions; it holds deployments back, too. */
  readonly protection: boolean;
  /** The service that metrics for CloudWatch are written under; undefined writes none. */
  readonly emf: string | undefined;
  readonly store: Store;
};

/** Where tool state is kept. A URL may hold a password. */
export type Store =
  | { readonly kind: 'memory' }
  | { readonly kind: 'redis'; readonly url: string }
  | { readonly kind: 'files'; readonly directory: string };

export type ParsedConfig =
  | { readonly kind: 'config'; readonly config: DemoConfig }
  | { readonly kind: 'faults'; readonly faults: readonly string[] };

/** Timers end at 24 days. */
const LONGEST_LIFE = 2_147_483;
const LONGEST_TICK = 86_400_000;

const whole = (from: number, to: number, what: string) => {
  const error = `${what} from ${from} to ${to}`;
  return z
    .string()
    .regex(/^\d{1,16}$/, { error, abort: true })
    .transform(Number)
    .pipe(z.int(error).min(from, error).max(to, error));
};
const pattern = (rule: RegExp, error: string) => z.string().regex(rule, error);

const SCHEMA = z.object({
  PORT: whole(0, 65_535, 'a port').default(3000),
  HOST: pattern(/^[\w:.][\w:.-]*$/, 'an IP address or host name').default('127.0.0.1'),
  MCP_PATH: pattern(/^\/[\w/.~-]*$/, "a path that starts with '/', as in /mcp").default('/mcp'),
  MCP_STATELESS_HTTP: z.enum(['true', 'false'], 'true or false').default('false'),
  VERSION: pattern(/^\S{1,64}$/, 'a word of at most 64 characters').optional(),
  SESSION_TTL_SECONDS: whole(1, LONGEST_LIFE, 'whole seconds').default(86_400),
  SCALE_IN_PROTECTION: z.enum(['true', 'false'], 'true or false').default('false'),
  EMF: pattern(/^[\w./-]{1,250}$/, 'off, on, or a name').default('off'),
  DRAIN_SECONDS: whole(0, LONGEST_LIFE, 'whole seconds').default(25),
  CLOCK_MS: whole(0, LONGEST_TICK, 'whole milliseconds').default(5000),
  REDIS_URL: pattern(/^rediss?:\/\/\S+$/, 'a URL as in redis://host:6379').optional(),
  STATE_DIR: z.string().optional(),
});

/** The names of all that it may hold. */
export const DEMO_VARIABLES: readonly string[] = Object.keys(SCHEMA.shape);

/** Parses `env`; an empty variable counts as unset. All faults are reported at once; a password is never in them. */
export function parseDemoConfig(env: Readonly<Record<string, string | undefined>>): ParsedConfig {
  const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ''));
  const parsed = SCHEMA.safeParse(given);
  const faults = (parsed.error?.issues ?? []).map((issue) => fault(String(issue.path[0]), issue.message, given));
  if (given['REDIS_URL'] !== undefined && given['STATE_DIR'] !== undefined) {
    faults.push('STATE_DIR: expected nothing where REDIS_URL is set, got both');
  }
  if (!parsed.success || faults.length > 0) return { kind: 'faults', faults };
  const { data } = parsed;
  const config = {
    port: data.PORT,
    host: data.HOST,
    path: data.MCP_PATH,
    stateless: data.MCP_STATELESS_HTTP === 'true',
    version: data.VERSION,
    sessionTtlSeconds: data.SESSION_TTL_SECONDS,
    clockMs: data.CLOCK_MS,
    drainSeconds: data.DRAIN_SECONDS,
    protection: data.SCALE_IN_PROTECTION === 'true',
    emf: data.EMF === 'off' ? undefined : data.EMF === 'on' ? 'mcp-server' : data.EMF,
    store: storeOf(data.REDIS_URL, data.STATE_DIR),
  };
  return { kind: 'config', config };
}

function storeOf(url: string | undefined, directory: string | undefined): Store {
  if (url !== undefined) return { kind: 'redis', url };
  return directory === undefined ? { kind: 'memory' } : { kind: 'files', directory };
}

function fault(name: string, expected: string, given: Readonly<Record<string, string | undefined>>): string {
  const got = name === 'REDIS_URL' ? 'something else (not shown: it may hold a password)' : JSON.stringify(given[name]);
  return `${name}: expected ${expected}, got ${got}`;
}
