/** Everything that can be set, as one table. */

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
  opsToken: {
    flag: 'ops-token',
    env: 'OPS_TOKEN',
    value: 'TOKEN',
    unset: 'none: orders from loopback only',
    secret: true,
    meaning: 'what operators show as Authorization: Bearer',
  },
  path: {
    flag: 'path',
    env: 'MCP_PATH',
    value: 'PATH',
    fallback: '/mcp',
    many: true,
    meaning: "the MCP endpoint's path, the same at the backends (repeatable; MCP_PATH: with commas)",
  },
  backends: {
    flag: 'backend',
    env: 'BACKENDS',
    value: 'URL',
    unset: 'needed for static',
    many: true,
    meaning: 'a backend, as in http://10.0.0.7:3000 (repeatable; BACKENDS: with commas)',
  },
  discovery: {
    flag: 'discovery',
    env: 'DISCOVERY',
    value: 'HOW',
    unset: 'what is given',
    meaning: 'who the backends are: static (--backend), dns or cloud-map',
  },
  dns: {
    flag: 'dns',
    env: 'DNS_NAME',
    value: 'NAME[:PORT]',
    unset: 'none',
    meaning: 'the name of all backends: A and AAAA records with a port, else SRV records',
  },
  cloudMap: {
    flag: 'cloud-map',
    env: 'CLOUD_MAP_SERVICE',
    value: 'NAMESPACE/SERVICE',
    unset: 'none',
    meaning: 'the AWS Cloud Map service of all backends',
  },
  backendPort: {
    flag: 'backend-port',
    env: 'BACKEND_PORT',
    value: 'PORT',
    unset: 'none',
    meaning: 'the port of those that register none with Cloud Map',
  },
  backendHost: {
    flag: 'backend-host',
    env: 'BACKEND_HOST',
    value: 'HOST',
    unset: "the client's, or localhost",
    meaning: "Host for backends: keep (the client's), origin (their own), or this",
  },
  refreshSeconds: {
    flag: 'refresh',
    env: 'REFRESH_SECONDS',
    value: 'SECONDS',
    fallback: '2',
    meaning: 'how often discovery is asked',
  },
  allowLoopback: {
    flag: 'allow-loopback',
    env: 'ALLOW_LOOPBACK',
    value: 'WHETHER',
    fallback: 'off',
    meaning: 'on: backends at loopback addresses that dns or cloud-map names are taken',
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
    many: true,
    secret: true,
    meaning: 'where sessions are registered: redis://, redis+sentinel:// or redis+cluster:// (below)',
  },
  sessionTtl: {
    flag: 'session-ttl',
    env: 'SESSION_TTL_SECONDS',
    value: 'SECONDS',
    fallback: '86400',
    meaning: 'idle life of a session',
  },
  sessionMaxAge: {
    flag: 'session-max-age',
    env: 'SESSION_MAX_AGE_SECONDS',
    value: 'SECONDS',
    fallback: 'off',
    meaning: 'after which a session ends though it is used, or off',
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
    meaning: 'how long a backend may take to begin its answer, or to go on with a body, or off',
  },
  commentSeconds: {
    flag: 'comment-seconds',
    env: 'COMMENT_SECONDS',
    value: 'SECONDS',
    fallback: '8',
    meaning: 'how long a stream may be silent before it gets a comment, or off',
  },
  keepAliveSeconds: {
    flag: 'keep-alive-seconds',
    env: 'KEEP_ALIVE_SECONDS',
    value: 'SECONDS',
    fallback: '620',
    meaning: "how long a client's idle connection is kept: longer than the load balancer's",
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
  maxSessionsPerOwner: {
    flag: 'max-sessions-per-owner',
    env: 'MAX_SESSIONS_PER_OWNER',
    value: 'COUNT',
    unset: 'unlimited',
    meaning: 'sessions of one owner at all proxies (see --bind-owner); beyond: 429',
  },
  maxSessionsPerClient: {
    flag: 'max-sessions-per-client',
    env: 'MAX_SESSIONS_PER_CLIENT',
    value: 'COUNT',
    unset: 'unlimited',
    meaning: 'sessions of one client address at all proxies (see --trust-proxy); beyond: 429',
  },
  initializeRate: {
    flag: 'initialize-rate',
    env: 'INITIALIZE_RATE',
    value: 'RATE',
    fallback: 'off',
    meaning: 'initialize requests of one client address at all proxies, as in 10/min or 5/s; beyond: 429',
  },
  guessRate: {
    flag: 'guess-rate',
    env: 'GUESS_RATE',
    value: 'RATE',
    fallback: '20/s',
    meaning: 'unknown sessions that one client address may ask for at this proxy; beyond: 429',
  },
  maxStreamsPerSession: {
    flag: 'max-streams-per-session',
    env: 'MAX_STREAMS_PER_SESSION',
    value: 'COUNT',
    fallback: '16',
    meaning: 'listening streams of a session open at this proxy; beyond: 429',
  },
  maxSessionsInMemory: {
    flag: 'max-sessions-in-memory',
    env: 'MAX_SESSIONS_IN_MEMORY',
    value: 'COUNT',
    fallback: '100000',
    meaning: 'without --redis: sessions in all, 2 KiB each on average; full: 503',
  },
  cacheBytes: {
    flag: 'cache-bytes',
    env: 'CACHE_BYTES',
    value: 'BYTES',
    fallback: '67108864',
    meaning: 'with --redis: memory for sessions that are known, the last used',
  },
  zone: {
    flag: 'zone',
    env: 'ZONE',
    value: 'NAME',
    unset: "with Cloud Map the task's",
    meaning: "the proxy's own zone: backends known to be in it are preferred",
  },
  bindOwner: {
    flag: 'bind-owner',
    env: 'BIND_OWNER',
    value: 'HOW',
    fallback: 'subject',
    meaning: "whose a session is: subject (of a JWT, else the credentials'), header:NAME, or none",
  },
  chaosMigrate: {
    flag: 'chaos-migrate',
    env: 'CHAOS_MIGRATE',
    value: 'WHEN',
    fallback: 'off',
    meaning: 'on: a drill that migrates each quiet session before every request',
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
  cors: {
    flag: 'cors',
    env: 'CORS_ORIGINS',
    value: 'ORIGIN',
    unset: 'none',
    many: true,
    meaning: 'an Origin whose pages may call servers that do no CORS (repeatable)',
  },
  maxBody: {
    flag: 'max-body',
    env: 'MAX_BODY_BYTES',
    value: 'BYTES',
    fallback: '4194304',
    meaning: 'the largest request body',
  },
  maxBodies: {
    flag: 'max-bodies',
    env: 'MAX_BODIES_BYTES',
    value: 'BYTES',
    unset: "a quarter of V8's heap limit",
    meaning: 'the request bodies in memory, all together; beyond: 503',
  },
  trustProxy: {
    flag: 'trust-proxy',
    env: 'TRUST_PROXY',
    value: 'HOPS',
    fallback: '0',
    meaning: 'proxies in front whose X-Forwarded-* or Forwarded is believed',
  },
  passthrough: {
    flag: 'passthrough',
    env: 'PASSTHROUGH',
    value: 'WHETHER',
    fallback: 'on',
    meaning: 'other paths than --path go to any healthy backend: on or off',
  },
  drainSeconds: {
    flag: 'drain-seconds',
    env: 'DRAIN_SECONDS',
    value: 'SECONDS',
    fallback: '25',
    meaning: 'how long our own shutdown may take in all',
  },
  lameDuckSeconds: {
    flag: 'lame-duck-seconds',
    env: 'LAME_DUCK_SECONDS',
    value: 'SECONDS',
    unset: '5, at most half of --drain-seconds',
    meaning: 'how long to serve on after SIGTERM, not ready (0: not)',
  },
  emf: {
    flag: 'emf',
    env: 'EMF',
    value: 'WHAT',
    fallback: 'off',
    meaning: 'metrics for CloudWatch on stdout: off, on, or on under the name of a service',
  },
  logLevel: {
    flag: 'log-level',
    env: 'LOG_LEVEL',
    value: 'LEVEL',
    fallback: 'info',
    meaning: 'error, warn, info or debug; JSON lines on stdout',
  },
} as const satisfies { readonly [name: string]: Option };

/** By that name; undefined where none has it. */
export function optionOf(name: string): Option | undefined {
  return Object.entries<Option>(OPTIONS).find(([one]) => one === name)?.[1];
}
