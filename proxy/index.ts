/** The library's face: a proxy that stands alone, and the same as middleware in somebody's server. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { DEADLINES } from './app.ts';
import { entryFault, targetOf } from './admit.ts';
import { checkOptions } from './config.ts';
import { HEADER } from './contract.ts';
import type { Backends } from './contract.ts';
import { createDoor } from './door.ts';
import { withoutHeaders } from './headers.ts';
import { lentLogger, partFaults } from './lent.ts';
import type { AffinityOptions, MiddlewareOptions, ProxyOptions } from './library-options.ts';
import { start } from './main.ts';
import type { Running } from './main.ts';
import { buildHouse } from './rooms.ts';
import { holdsMetrics } from './telemetry/metrics.ts';
import { createTelemetry } from './telemetry/telemetry.ts';

export { SessionsUnavailable } from './contract.ts';
export type { Backend, Backends, Journal, JsonObject, Session, Sessions } from './contract.ts';
export type { AffinityOptions, MiddlewareOptions, ProxyOptions } from './library-options.ts';
export type { LogDestination } from './telemetry/log.ts';

export interface Proxy {
  /** Rejects when a port cannot be had; it may be called again then. */
  listen(): Promise<{ readonly port: number; readonly opsPort: number }>;
  /** Takes nothing new, finishes what runs, ends the rest after `drainSeconds`. Idempotent, and for good. */
  close(): Promise<void>;
}

export interface Middleware {
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void;
  /**
   * Ends the listening streams that go through it, finishes what runs, ends the rest after `drainSeconds`, and closes what
   * it opened. What comes later gets 503, but for the requests that are to be served here. Idempotent.
   */
  close(): Promise<void>;
}

/** A configuration that cannot be: one message with all its faults. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** The proxy of the CLI, in your process. Throws ConfigurationError. */
export function createProxy(options: ProxyOptions): Proxy {
  const { config, telemetry, given } = prepare(options, true);
  let running: Promise<Running> | undefined;
  let closed = false;
  return {
    async listen() {
      if (closed) throw new Error('This proxy is closed: create another one');
      const begun = (running ??= start(config, telemetry, DEADLINES, given));
      try {
        const { port, opsPort } = await begun;
        return { port, opsPort };
      } catch (error) {
        // The port may be free another time.
        if (running === begun) running = undefined;
        throw error;
      }
    },
    async close() {
      closed = true;
      // One that never listened has closed what it had opened.
      const begun = await running?.catch(() => undefined);
      await begun?.stop();
      telemetry.close();
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
  const { config, telemetry, given } = prepare(options, false, [
    ...unfit(options, LISTENING, 'the middleware, which listens nowhere'),
    ...secretFaults(secret, options),
  ]);
  // While a deployment changes the list of backends, tasks of both lists must know each other.
  const common = config.redis ?? config.dns ?? config.cloudMap ?? config.backends.toSorted();
  const hop = createHmac('sha256', 'mcp-affinity hop')
    .update(secret ?? JSON.stringify(common))
    .digest('hex');
  const house = buildHouse({ ...config, passthrough: false }, telemetry, { ...given, mark: [HEADER.affinityHop, hop] });
  // The listener is yours, and so is what it may be called: any Host, and an Origin that equals it.
  const rules = { ...config, host: '0.0.0.0' };
  const door = createDoor(house.router, config, telemetry);
  const middleware = (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
    const sent = request.headers[HEADER.affinityHop];
    if (next !== undefined && isHop(sent, hop)) {
      forgetHop(request);
      return next();
    }
    // It would be sent on to a task that does not know ours either, and so on without end.
    if (sent !== undefined) return door.turnAway(request, response, 508);
    const target = targetOf(wholeUrl(request)) ?? 404;
    const fault = entryFault(request, rules) ?? (typeof target === 'number' ? target : undefined);
    return fault === undefined
      ? door.enter(request, response, String(target))
      : door.turnAway(request, response, fault);
  };
  async function end(): Promise<void> {
    door.close();
    const done = new AbortController();
    const late = delay(config.drainSeconds * 1000, undefined, { signal: done.signal }).catch(() => {});
    await Promise.race([door.done(), late]);
    done.abort();
    door.cut();
    await house.close();
    telemetry.close();
  }
  let ending: Promise<void> | undefined;
  return Object.assign(middleware, { close: () => (ending ??= end()) });
}

/** Express takes the path that it is mounted at off `url`; the backends are asked at the whole one. */
function wholeUrl(request: IncomingMessage): string {
  return 'originalUrl' in request && typeof request.originalUrl === 'string'
    ? request.originalUrl
    : (request.url ?? '');
}

function isHop(value: string | string[] | undefined, hop: string): boolean {
  return (
    typeof value === 'string' &&
    value.length === hop.length &&
    timingSafeEqual(Buffer.from(value, 'latin1'), Buffer.from(hop))
  );
}

/** A secret that a handler might show. */
function forgetHop(request: IncomingMessage): void {
  request.rawHeaders = withoutHeaders(request.rawHeaders, (name) => name === HEADER.affinityHop);
  delete request.headers[HEADER.affinityHop];
}

function secretFaults(secret: unknown, { backends, redis }: AffinityOptions): readonly string[] {
  if (secret === undefined && (!isOwn(backends) || redis !== undefined)) return [];
  if (typeof secret === 'string' && secret.length >= SECRET_LENGTH) return [];
  return [`secret: expected ${SECRET_LENGTH} characters or more, the same in all tasks`];
}
const SECRET_LENGTH = 16;

function isOwn(backends: AffinityOptions['backends']): backends is Backends {
  return typeof backends === 'object' && !Array.isArray(backends);
}

/** `found` are faults that were found before; `listens`: there will be a line that says so. */
function prepare(options: ProxyOptions, listens: boolean, found: readonly string[] = []) {
  const { backends, sessions, logger, registry, ...rest } = options;
  const own = isOwn(backends) ? backends : undefined;
  const lacking = partFaults({ sessions, backends: own, logger, registry });
  const parsed = checkOptions(own === undefined ? { ...rest, backends } : { ...rest, ...NOWHERE });
  const faults = [
    ...found,
    ...(own === undefined ? [] : unfit(rest, DISCOVERING, 'backends of your own')),
    ...lacking,
    ...(lacking.length === 0 && registry !== undefined && holdsMetrics(registry) ? [REGISTRY_TAKEN] : []),
    ...(parsed.kind === 'faults' ? parsed.faults : []),
  ];
  if (parsed.kind === 'faults' || faults.length > 0) throw new ConfigurationError(faults.join('; '));
  const { config } = parsed;
  const { logLevel: level, emf } = config;
  const telemetry = createTelemetry({
    level,
    emf,
    listens,
    registry,
    ...(logger && { destination: lentLogger(logger) }),
  });
  return { config, telemetry, given: { sessions, backends: own } };
}

const LISTENING = ['port', 'host', 'opsPort', 'opsHost', 'opsToken', 'path', 'passthrough'] as const;
const DISCOVERING = ['dns', 'cloudMap', 'backendPort'] as const;
/** Stands for a list of backends where there is none: it is not used. */
const NOWHERE = { backends: ['http://0.0.0.0:1'], dns: undefined, cloudMap: undefined, backendPort: undefined };
const REGISTRY_TAKEN =
  'registry: expected one that holds no metrics of mcp-affinity yet; give each its own, and serve each at a path of its own';

function unfit(options: ProxyOptions, names: readonly (keyof ProxyOptions)[], beside: string): readonly string[] {
  return names.flatMap((name) => (options[name] === undefined ? [] : [`${name}: expected nothing with ${beside}`]));
}
