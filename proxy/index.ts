/** The library's face: a proxy that stands alone, and the same as middleware in somebody's server. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { DEADLINES } from './app.ts';
import { entryFault } from './admit.ts';
import { checkOptions } from './config.ts';
import type { Config } from './config.ts';
import { HEADER } from './contract.ts';
import type { Backends, Sessions } from './contract.ts';
import { createDoor } from './door.ts';
import { start } from './main.ts';
import type { Running } from './main.ts';
import { buildHouse } from './rooms.ts';
import { createTelemetry } from './telemetry/telemetry.ts';
import type { TelemetryOptions } from './telemetry/telemetry.ts';

export { SessionsUnavailable } from './contract.ts';
export type { Backend, Backends, Session, Sessions } from './contract.ts';

/** What both faces take. Times are in seconds; each has the default of the flag of that name. */
export type AffinityOptions = Partial<
  Pick<
    Config,
    | 'sessionTtl'
    | 'holdSeconds'
    | 'answerSeconds'
    | 'onSessionLost'
    | 'replay'
    | 'maxSessions'
    | 'zone'
    | 'allowedHosts'
    | 'allowedOrigins'
    | 'maxBody'
    | 'trustProxy'
    | 'healthPath'
    | 'refreshSeconds'
    | 'backendPort'
    | 'drainSeconds'
    | 'logLevel'
  >
> & {
  /** Origins, as in `http://10.0.0.7:3000`; or your own discovery, which you close. Needed without `dns` and `cloudMap`. */
  readonly backends?: readonly string[] | Backends;
  /** A name as `--dns` takes it, as in `mcp.internal:3000`. */
  readonly dns?: string;
  /** A service as `--cloud-map` takes it, as in `mcp.local/server`. */
  readonly cloudMap?: string;
  /** A URL as `--redis` takes it, or several of a cluster. */
  readonly redis?: string | readonly string[];
  /** Your own registry, in the place of `redis`; you close it. */
  readonly sessions?: Sessions;
  /** Where log lines go, each with its line feed: stdout by default. */
  readonly logger?: TelemetryOptions['destination'];
  /** The prom-client Registry that the metrics are put into: a new one by default. */
  readonly registry?: TelemetryOptions['registry'];
};

export type ProxyOptions = AffinityOptions &
  Partial<Pick<Config, 'port' | 'host' | 'opsPort' | 'opsHost' | 'opsToken' | 'path' | 'passthrough'>>;

export interface Proxy {
  /** Rejects when a port cannot be had. */
  listen(): Promise<{ readonly port: number; readonly opsPort: number }>;
  /** Takes nothing new, finishes what runs, ends the rest after `drainSeconds`. Idempotent. */
  close(): Promise<void>;
}

export type MiddlewareOptions = AffinityOptions & {
  /**
   * Tells requests that another task's middleware sends on from those of clients: the same in all tasks. By default made
   * of `redis` and `backends`, which clients do not know.
   */
  readonly secret?: string;
};

export interface Middleware {
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void;
  /** Ends the streams that go through it, and closes what it opened. */
  close(): Promise<void>;
}

/** A configuration that cannot be: one message with all its faults. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** The proxy of the CLI, in your process. Throws ConfigurationError. */
export function createProxy(options: ProxyOptions): Proxy {
  const { config, telemetry, given } = prepare(options);
  let running: Promise<Running> | undefined;
  return {
    async listen() {
      running ??= start(config, telemetry, DEADLINES, given);
      const { port, opsPort } = await running;
      return { port, opsPort };
    },
    async close() {
      await (await running)?.stop();
    },
  };
}

/**
 * For Express (`app.use('/mcp', sessionAffinity({ … }))`) or as a handler of `node:http`. In front of your servers it
 * answers everything itself. Inside them, each of the backends being an app with this middleware, it sends each request
 * to the session's home, and there calls `next`: your own handlers serve it. After a body parser it uses `request.body`,
 * written as JSON again. Throws ConfigurationError.
 */
export function sessionAffinity({ secret, ...options }: MiddlewareOptions): Middleware {
  const { config, telemetry, given } = prepare(options);
  const named = config.dns ?? config.cloudMap;
  const hop = createHmac('sha256', 'mcp-affinity hop')
    .update(secret ?? JSON.stringify([config.redis ?? '', named ?? '', config.backends.toSorted()]))
    .digest('hex');
  const house = buildHouse({ ...config, passthrough: false }, telemetry, { ...given, mark: [HEADER.affinityHop, hop] });
  // The listener is yours, and so is what it may be called: any Host, and an Origin that equals it.
  const rules = { ...config, host: '0.0.0.0' };
  const door = createDoor(house.router, config, telemetry);
  const middleware = (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
    if (next !== undefined && isHop(request.headers[HEADER.affinityHop], hop)) next();
    else {
      const fault = entryFault(request, rules);
      if (fault === undefined) door.enter(request, response, targetOf(request));
      else door.turnAway(request, response, fault);
    }
  };
  return Object.assign(middleware, {
    async close() {
      door.close();
      door.cut();
      await house.close();
    },
  });
}

/** Express takes the path that it is mounted at off `url`; the backends are asked at the whole one. */
function targetOf(request: IncomingMessage): string {
  return 'originalUrl' in request && typeof request.originalUrl === 'string'
    ? request.originalUrl
    : (request.url ?? '/');
}

function isHop(value: string | string[] | undefined, hop: string): boolean {
  return (
    typeof value === 'string' &&
    value.length === hop.length &&
    timingSafeEqual(Buffer.from(value, 'latin1'), Buffer.from(hop))
  );
}

function prepare({ backends, sessions, logger, registry, ...rest }: ProxyOptions) {
  const own = backends !== undefined && 'list' in backends ? backends : undefined;
  const parsed = checkOptions({ ...rest, backends: own === undefined ? backends : [NOWHERE] });
  if (parsed.kind === 'faults') throw new ConfigurationError(parsed.faults.join('; '));
  const telemetry = createTelemetry({
    level: parsed.config.logLevel,
    ...(logger !== undefined && { destination: logger }),
    ...(registry !== undefined && { registry }),
  });
  return { config: parsed.config, telemetry, given: { sessions, backends: own } };
}

/** Stands for a list of backends where there is none: it is not used. */
const NOWHERE = 'http://0.0.0.0:1';
