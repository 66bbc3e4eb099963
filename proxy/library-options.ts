/** What a program says to the library: the options of `createProxy` and `sessionAffinity`. Defaults are those of the flags. */
import type { IncomingMessage } from 'node:http';
import type { BindOwner } from './owner.ts';
import type { Backends, Sessions } from './contract.ts';
import type { LogDestination } from './telemetry/log.ts';
import type { Registry } from './telemetry/metrics.ts';

/** A method, so that it may ask for a request of Express's type. */
export type OwnerOption = { of(request: IncomingMessage): string | undefined }['of'];

/** What the proxy and the middleware take. What cannot be is a ConfigurationError that names the option and what it got. */
export type AffinityOptions = {
  /**
   * The backends' origins, as in `http://10.0.0.7:3000`: no path, each host and port once. Or discovery of your own, over
   * which checks and drains are laid, and which you close. Needed without `dns` and `cloudMap`.
   */
  readonly backends?: readonly string[] | Backends | undefined;
  /**
   * The DNS name of all backends: with a port, as in `mcp.internal:3000`, its A and AAAA records; without, its SRV records
   * (RFC 2782). Asked for as it is, without search domains. Default: none.
   */
  readonly dns?: string | undefined;
  /** The AWS Cloud Map namespace and service of all backends, as in `mcp.local/server`. Default: none. */
  readonly cloudMap?: string | undefined;
  /** The port of backends that register none (`AWS_INSTANCE_PORT`) with Cloud Map. Default: none. */
  readonly backendPort?: number | undefined;
  /**
   * The `Host` that backends get: `keep`, the client's; `origin`, the backend's own; or another, as in `mcp.internal:3000`.
   * The client's is in `X-Forwarded-Host` and `Forwarded` in any case. Default: `keep` in the middleware; of a proxy, the
   * client's too, but `localhost` and its port to a backend on loopback.
   */
  readonly backendHost?: string | undefined;
  /** Seconds from one question of DNS or Cloud Map to the next, from 0.1; sooner where a record's TTL ends. Default: 2. */
  readonly refreshSeconds?: number | undefined;
  /** Whether backends at loopback addresses that `dns` or `cloudMap` names are taken; else they are left out. Default: off. */
  readonly allowLoopback?: boolean | undefined;
  /**
   * A path that a healthy backend answers with 2xx, asked every 2 s; finds hung backends too. Not the MCP endpoint's.
   * Default: none, a TCP connect.
   */
  readonly healthPath?: string | undefined;
  /**
   * Where sessions are registered, shared by all proxies: `redis://user:password@host:6379/0`,
   * `redis+sentinel://host,host/NAME`, `redis+cluster://host`, with `rediss` over TLS; several `redis://` URLs are a
   * cluster. Default: none, in memory.
   */
  readonly redis?: string | readonly string[] | undefined;
  /**
   * A registry of your own, for the sessions only; you close it. More than one proxy needs `redis` beside it, where drains
   * are shared, and what runs in which session.
   */
  readonly sessions?: Sessions | undefined;
  /** Seconds that an idle session lives, whole ones from 1. Default: 86400. */
  readonly sessionTtl?: number | undefined;
  /**
   * Whole seconds from 1 after which a session ends though it is used, so that its client starts over: before its next
   * exchange, and not while a call of it runs; or `off`. Default: off.
   */
  readonly sessionMaxAge?: number | 'off' | undefined;
  /** Seconds that an exchange waits for a home before 503; 0 refuses at once. Default: 10. */
  readonly holdSeconds?: number | undefined;
  /**
   * Seconds, from 0.1, that a backend may take to begin its answer before 504, and that one which is no event stream may
   * then be silent; or `off`, without end. Default: off.
   */
  readonly answerSeconds?: number | 'off' | undefined;
  /** When the home of a session is lost: migrate it, or answer 404, so that the client starts over. Default: migrate. */
  readonly onSessionLost?: 'migrate' | 'not-found' | undefined;
  /**
   * Which requests are sent again when nobody knows whether they ran: none, those that may run twice (reads, lists, tools
   * marked `readOnlyHint` or `idempotentHint`: MCP 2025-11-25, ToolAnnotations), or all. Default: safe.
   */
  readonly replay?: 'never' | 'safe' | 'always' | undefined;
  /**
   * What tells the owners of sessions apart, so that nobody takes over another's: `subject`, the issuer and subject of a
   * bearer JWT, of any other credentials themselves; `header:NAME`, what an authenticating load balancer sets; `none`. It is
   * compared, and verified by nobody but your servers. Default: subject.
   */
  readonly bindOwner?: BindOwner | undefined;
  /** Tells owners apart in your own way: returns a name that you have made sure of, or undefined for nobody's. */
  readonly owner?: OwnerOption | undefined;
  /** A drill for server authors: each quiet session is migrated before every request. Default: off. */
  readonly chaosMigrate?: boolean | undefined;
  /** A backend that holds so many sessions gets no new ones; all full: 503 with `Retry-After`. Default: unlimited. */
  readonly maxSessions?: number | undefined;
  /** Sessions that one owner may have at all proxies; beyond, `initialize` gets 429 with `Retry-After`. Default: unlimited. */
  readonly maxSessionsPerOwner?: number | undefined;
  /** The same of one client address, as `trustProxy` tells it; of IPv6, of its /64. Default: unlimited. */
  readonly maxSessionsPerClient?: number | undefined;
  /**
   * How often one client address may send `initialize`, at all proxies: `5/s` or `10/min`, so many at once, from 1/min to
   * 1000/s, or `off`; beyond, 429 with `Retry-After`. Default: off.
   */
  readonly initializeRate?: string | undefined;
  /**
   * How often one client address may ask for sessions that are not there, or are somebody else's, at one proxy, in the form of
   * `initializeRate`; beyond, 429 with `Retry-After`, and the registry is not asked. Default: 20/s.
   */
  readonly guessRate?: string | undefined;
  /** Listening streams that a session may have open at one proxy; beyond, 429 with `Retry-After`. Default: 16. */
  readonly maxStreamsPerSession?: number | undefined;
  /** Sessions in memory where there is no `redis`, 2 KiB each on average, 64 MiB at least; full: 503 with `Retry-After`. Default: 100000. */
  readonly maxSessionsInMemory?: number | undefined;
  /** Bytes of memory for the sessions in `redis` that are known, the last used, from 1048576. Default: 67108864. */
  readonly cacheBytes?: number | undefined;
  /** The proxy's own zone: backends known to be in it are preferred. Default: with Cloud Map the ECS task's, else none. */
  readonly zone?: string | undefined;
  /**
   * Names that a request's Host may have, without port; others get 403 (MCP 2025-11-25, "Security Warning"). Default: any
   * in the middleware; of a proxy, loopback names where it listens on loopback, else any.
   */
  readonly allowedHosts?: readonly string[] | undefined;
  /**
   * Origins that a request may come from, as in `https://app.example.com`; others get 403. Default: one that equals the
   * Host; of a proxy that listens on loopback, loopback ones too.
   */
  readonly allowedOrigins?: readonly string[] | undefined;
  /**
   * Origins whose pages may call: allowed as by `allowedOrigins`, and given CORS fields (Fetch standard) where a server sends
   * none. What the proxy answers itself carries them for every allowed origin. Default: none.
   */
  readonly cors?: readonly string[] | undefined;
  /** Bytes of the largest request body that is read; a larger one gets 413. A parser before has a limit of its own. Default: 4194304. */
  readonly maxBody?: number | undefined;
  /**
   * Bytes of all request bodies that are in memory, each from its first byte until its answer has ended; beyond it 503 with
   * `Retry-After`. At least `maxBody`. Default: a quarter of V8's heap limit.
   */
  readonly maxBodies?: number | undefined;
  /**
   * Proxies in front whose `X-Forwarded-*` or `Forwarded` (RFC 7239) is believed, from 0 to 32; what nobody is believed to
   * have said is dropped. Default: 0.
   */
  readonly trustProxy?: number | undefined;
  /**
   * Seconds for which a stream to a client may be silent before it gets a comment, so that nobody between takes it for dead;
   * `'off'` for none. Default: 8.
   */
  readonly commentSeconds?: number | 'off' | undefined;
  /** Seconds that `close()` may take in all. Default: 25. */
  readonly drainSeconds?: number | undefined;
  /** Metrics for CloudWatch among the log lines, in the embedded metric format: `on`, or a name for `Service`. Default: off. */
  readonly emf?: string | undefined;
  /** Default: info. */
  readonly logLevel?: 'error' | 'warn' | 'info' | 'debug' | undefined;
  /** Takes each log line, JSON with its line feed. Default: stdout. */
  readonly logger?: LogDestination | undefined;
  /** The prom-client Registry that the metrics are put into: one for each proxy or middleware. Default: a new one. */
  readonly registry?: Registry | undefined;
};

/** What the proxy takes besides. */
export type ProxyOptions = AffinityOptions & {
  /** Where clients come in; 0 picks a free port. Default: 8080. */
  readonly port?: number | undefined;
  /** The address that is listened on. Default: 127.0.0.1. */
  readonly host?: string | undefined;
  /** Where the status page, metrics, health and orders are; 0 picks a free port. Default: 9464. */
  readonly opsPort?: number | undefined;
  /** The address of these. Default: as `host`. */
  readonly opsHost?: string | undefined;
  /** What operators show there as `Authorization: Bearer …` (RFC 6750), 16 characters or more. Default: none, orders are taken from loopback only. */
  readonly opsToken?: string | undefined;
  /**
   * Seconds, at most `drainSeconds`, for which `close()` serves on with `Connection: close` before the listener closes, while
   * `/readyz` is 503: more than the load balancer's check interval times its threshold. 0 closes at once. Default: 5, at most
   * half of `drainSeconds`.
   */
  readonly lameDuckSeconds?: number | undefined;
  /** Seconds for which a client's idle connection is kept: longer than the load balancer in front keeps one. Default: 620. */
  readonly keepAliveSeconds?: number | undefined;
  /** The MCP endpoint's path, exactly, the same at the backends; or several, each with sessions of its own. Default: /mcp. */
  readonly path?: string | readonly string[] | undefined;
  /** Whether other paths, WebSockets included, go to any healthy backend; else they get 404. Default: on. */
  readonly passthrough?: boolean | undefined;
};

/** What the middleware takes besides. */
export type MiddlewareOptions = AffinityOptions & {
  /**
   * Tells requests that another task's middleware sends on from those of clients: 16 characters or more, the same in all
   * tasks. Default: made of `redis` and what names the backends, which clients do not know; needed with backends of your
   * own and no `redis`.
   */
  readonly secret?: string | undefined;
};
