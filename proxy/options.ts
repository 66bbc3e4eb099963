/** Everything that can be set, as one table, and what flags and environment say about it. */

import { parseArgs } from 'node:util';

/** One thing that can be set, by a flag or a variable. The rule for its value is in config.ts. */
export type Option = {
  /** Without its dashes. */
  readonly flag: string;
  readonly env: string;
  /** What stands for the value in the help text. */
  readonly value: string;
  /** The default, as it would be written on the command line. */
  readonly fallback?: string;
  /** What the help text says of the default where there is no `fallback`. */
  readonly unset?: string;
  /** The flag may be repeated; the variable separates by commas. */
  readonly many?: true;
  /** No fault shows more of the value than its scheme. */
  readonly secret?: true;
  readonly meaning: string;
};

/** By the name that the value has in `Config`. */
export const OPTIONS = {
  port: { flag: 'port', env: 'PORT', value: 'PORT', fallback: '8080', meaning: 'the MCP port (0 picks one)' },
  host: { flag: 'host', env: 'HOST', value: 'HOST', fallback: '127.0.0.1', meaning: 'the address to listen on' },
  opsPort: {
    flag: 'ops-port',
    env: 'OPS_PORT',
    value: 'PORT',
    fallback: '9464',
    meaning: 'the port of metrics and health (0 picks one)',
  },
  opsHost: {
    flag: 'ops-host',
    env: 'OPS_HOST',
    value: 'HOST',
    unset: 'as --host',
    meaning: 'the address of metrics and health',
  },
  path: {
    flag: 'path',
    env: 'MCP_PATH',
    value: 'PATH',
    fallback: '/mcp',
    meaning: "the MCP endpoint's path, the same at the backends",
  },
  backends: {
    flag: 'backend',
    env: 'BACKENDS',
    value: 'URL',
    unset: 'required without --dns',
    many: true,
    meaning: 'a backend, as in http://10.0.0.7:3000 (repeatable; BACKENDS: with commas)',
  },
  discovery: {
    flag: 'discovery',
    env: 'DISCOVERY',
    value: 'HOW',
    unset: 'dns with --dns, else static',
    meaning: 'who the backends are: static (--backend) or dns (--dns)',
  },
  dns: {
    flag: 'dns',
    env: 'DNS_NAME',
    value: 'NAME[:PORT]',
    unset: 'none',
    meaning: 'the name of all backends: A and AAAA records with a port, else SRV records',
  },
  refreshSeconds: {
    flag: 'refresh',
    env: 'REFRESH_SECONDS',
    value: 'SECONDS',
    fallback: '2',
    meaning: 'how often discovery is asked',
  },
  healthPath: {
    flag: 'health-path',
    env: 'HEALTH_PATH',
    value: 'PATH',
    unset: 'none: a TCP connect',
    meaning: 'a path that a healthy backend answers with 2xx',
  },
  redis: {
    flag: 'redis',
    env: 'REDIS_URL',
    value: 'URL',
    unset: 'in memory',
    secret: true,
    meaning: 'where sessions are registered: redis:// or rediss://',
  },
  sessionTtl: {
    flag: 'session-ttl',
    env: 'SESSION_TTL_SECONDS',
    value: 'SECONDS',
    fallback: '86400',
    meaning: 'idle life of a session',
  },
  holdSeconds: {
    flag: 'hold-seconds',
    env: 'HOLD_SECONDS',
    value: 'SECONDS',
    fallback: '10',
    meaning: 'how long an exchange waits for a home before 503',
  },
  answerSeconds: {
    flag: 'answer-seconds',
    env: 'ANSWER_SECONDS',
    value: 'SECONDS',
    fallback: 'off',
    meaning: 'how long a backend may take to begin its answer, or off',
  },
  onSessionLost: {
    flag: 'on-session-lost',
    env: 'ON_SESSION_LOST',
    value: 'WHAT',
    fallback: 'migrate',
    meaning: 'when the home is lost: migrate, or not-found',
  },
  replay: {
    flag: 'replay',
    env: 'REPLAY',
    value: 'WHEN',
    fallback: 'safe',
    meaning: 'requests to send again when their fate is unknown: never, safe or always',
  },
  maxSessions: {
    flag: 'max-sessions-per-backend',
    env: 'MAX_SESSIONS_PER_BACKEND',
    value: 'COUNT',
    unset: 'unlimited',
    meaning: 'a backend that holds so many gets no new ones; all full: 503',
  },
  zone: {
    flag: 'zone',
    env: 'ZONE',
    value: 'NAME',
    unset: 'none',
    meaning: "the proxy's own zone: backends known to be in it are preferred",
  },
  allowedHosts: {
    flag: 'allowed-host',
    env: 'ALLOWED_HOSTS',
    value: 'NAME',
    unset: 'loopback names on a loopback host, else any',
    many: true,
    meaning: 'a Host that is served, without port (repeatable)',
  },
  allowedOrigins: {
    flag: 'allowed-origin',
    env: 'ALLOWED_ORIGINS',
    value: 'ORIGIN',
    unset: 'loopback names on a loopback host, else equal to the Host',
    many: true,
    meaning: 'an Origin that is served (repeatable)',
  },
  maxBody: {
    flag: 'max-body',
    env: 'MAX_BODY_BYTES',
    value: 'BYTES',
    fallback: '4194304',
    meaning: 'the largest request body',
  },
  drainSeconds: {
    flag: 'drain-seconds',
    env: 'DRAIN_SECONDS',
    value: 'SECONDS',
    fallback: '25',
    meaning: 'how long our own shutdown may take',
  },
  logLevel: {
    flag: 'log-level',
    env: 'LOG_LEVEL',
    value: 'LEVEL',
    fallback: 'info',
    meaning: 'error, warn, info or debug; JSON lines on stdout',
  },
} as const satisfies { readonly [name: string]: Option };

/** What was said for an option: the values, never none, and the flag or variable to name when one is wrong. */
export type Given = { readonly source: string; readonly values: readonly string[] };

/** What was said, by the option's name in `OPTIONS`, and a sentence for each argument that says nothing we know. */
export type Read = { readonly given: ReadonlyMap<string, Given>; readonly faults: readonly string[] };

const BY_FLAG: ReadonlyMap<string, string> = new Map(Object.entries(OPTIONS).map(([name, { flag }]) => [flag, name]));

/** Takes flags first, then the environment; an empty variable says nothing, of a flag given twice the last counts. */
export function readOptions(args: readonly string[], env: Readonly<Record<string, string | undefined>>): Read {
  const { values, faults } = readFlags(args);
  const given = new Map<string, Given>();
  for (const [name, option] of Object.entries<Option>(OPTIONS)) {
    const flags = values.get(name);
    const said = env[option.env]?.trim() ?? '';
    const variable = (option.many ? said.split(',').map((part) => part.trim()) : [said]).filter((part) => part !== '');
    if (flags) given.set(name, { source: `--${option.flag}`, values: option.many ? flags : flags.slice(-1) });
    else if (variable.length > 0) given.set(name, { source: option.env, values: variable });
    else if (option.fallback !== undefined) given.set(name, { source: `--${option.flag}`, values: [option.fallback] });
  }
  return { given, faults };
}

/** Takes options as an object holds them; what is undefined says nothing. */
export function readObject(options: Readonly<Record<string, unknown>>): Read {
  const given = new Map<string, Given>();
  const faults = Object.keys(options)
    .filter((name) => !(name in OPTIONS))
    .map((name) => `${name}: unknown option`);
  for (const [name, option] of Object.entries<Option>(OPTIONS)) {
    const value = options[name];
    const values = (Array.isArray(value) ? value : [value]).filter((one) => one !== undefined).map(String);
    if (values.length > 0) given.set(name, { source: name, values });
    else if (option.fallback !== undefined) given.set(name, { source: name, values: [option.fallback] });
  }
  return { given, faults };
}

function readFlags(args: readonly string[]): { values: ReadonlyMap<string, string[]>; faults: string[] } {
  const options = Object.fromEntries([...BY_FLAG.keys()].map((flag) => [flag, { type: 'string' } as const]));
  const { tokens } = parseArgs({ args, options, strict: false, allowPositionals: true, tokens: true });
  const values = new Map<string, string[]>();
  const faults: string[] = [];
  let afterUnknown = -1;
  for (const token of tokens) {
    if (token.kind === 'option') {
      const name = BY_FLAG.get(token.name);
      if (name === undefined || !token.rawName.startsWith('--')) {
        faults.push(unknownFlag(token.rawName));
        afterUnknown = token.inlineValue ? -1 : token.index + 1;
      } else values.set(name, [...(values.get(name) ?? []), token.value ?? '']);
    } else if (token.kind === 'positional' && token.index !== afterUnknown) {
      faults.push(`${shown(token.value)}: expected a flag (a backend is given as --backend URL)`);
    }
  }
  return { values, faults };
}

function unknownFlag(flag: string): string {
  const near = [...BY_FLAG.keys(), 'help', 'version']
    .map((known) => ({ known, distance: flag.startsWith(`--${known}`) ? 1 : distance(flag, `--${known}`) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
  const hint = near && near.distance <= 2 ? `did you mean --${near.known}?` : 'see --help';
  return `${masked(flag)}: unknown flag, ${hint}`;
}

/** Edits between two words (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 0; i < a.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j += 1) {
      next.push(Math.min((row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1, (row[j] ?? 0) + (a[i] === b[j] ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** A value as a fault shows it: quoted, cut, without what may be a password; of a secret, its scheme. */
export function shown(value: string, secret = false): string {
  if (value === '') return 'nothing';
  return JSON.stringify(secret ? `${schemeOf(value)}…` : masked(value));
}

/** Cut, and what stands before an `@` hidden. */
function masked(value: string): string {
  const scheme = schemeOf(value);
  const rest = value.slice(scheme.length).replace(/^.*@/s, '***@');
  return scheme + (rest.length > 80 ? `${rest.slice(0, 80)}…` : rest);
}

function schemeOf(value: string): string {
  return /^[a-z][a-z\d+.-]*:\/\//i.exec(value)?.[0] ?? '';
}
