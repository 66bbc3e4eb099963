/** The proxy as middleware, in front of servers or inside each of them. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { entryFault, targetOf } from './admit.ts';
import { DEADLINES } from './app.ts';
import type { Config } from './config.ts';
import { CODE, HEADER } from './contract.ts';
import type { Refusal } from './contract.ts';
import { createDoor } from './door.ts';
import { withoutHeaders } from './headers.ts';
import type { AffinityOptions, MiddlewareOptions } from './library-options.ts';
import { isLoop } from './loops.ts';
import { ownerTeller } from './owner.ts';
import { ConfigurationError, isOwn, prepare, unfit } from './prepare.ts';
import { buildHouse } from './rooms.ts';
import { warningsOf } from './warnings.ts';
import { within } from './within.ts';

export interface Middleware {
  (request: IncomingMessage, response: ServerResponse, next?: (error?: unknown) => void): void;
  /**
   * Ends the listening streams that go through it, finishes what runs, ends the rest after `drainSeconds`, and closes what
   * it opened. What clients send meanwhile is served, for others may have been told too late to send it elsewhere; what
   * they send later gets 503. Idempotent.
   */
  close(): Promise<void>;
}

const LISTENING = [
  'port',
  'host',
  'opsPort',
  'opsHost',
  'opsToken',
  'path',
  'passthrough',
  'lameDuckSeconds',
  'keepAliveSeconds',
] as const;

/**
 * For Express (`app.use('/mcp', sessionAffinity({ … }))`) or as a handler of `node:http`. In front of your servers it
 * answers everything itself. Inside them, each of the backends being an app with this middleware, it sends each request
 * to the session's home, and there calls `next`: your own handlers serve it. After a body parser it uses `request.body`,
 * written as JSON again. Throws ConfigurationError.
 */
export function sessionAffinity(options: MiddlewareOptions): Middleware {
  const { secret, ...rest } = { ...options };
  const { config, telemetry, given } = prepare(rest, false, [
    ...unfit(rest, LISTENING, 'the middleware, which listens nowhere'),
    ...secretFaults(secret, rest),
  ]);
  const hop = hopOf(secret, config);
  // Inside servers a request comes in by the same app twice: its guards must see the same Host.
  const own = { ...config, backendHost: config.backendHost ?? 'keep', passthrough: false };
  const house = buildHouse(own, telemetry, { ...given, mark: [HEADER.affinityHop, hop] });
  // The listener is yours, and so is what it may be called: any Host, and an Origin that equals it.
  const ownerOf = ownerTeller(config.bindOwner, given.owner);
  const rules = { ...config, host: '0.0.0.0', ownerOf, bodyMs: DEADLINES.body };
  const door = createDoor(house.router, rules, telemetry);
  for (const warning of warningsOf(config)) telemetry.record({ type: 'configuration', warning });
  const alone = config.redis === undefined && given.sessions === undefined;
  const told = new Set<Refusal>();

  /** The tasks were not told the same. */
  function misled(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
    if (!told.has(refusal)) telemetry.record({ type: 'fault', error: new ConfigurationError(refusal.message) });
    told.add(refusal);
    door.refuse(request, response, refusal);
  }
  const middleware = (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
    const fault = entryFault(request, rules);
    if (fault !== undefined) return door.turnAway(request, response, fault);
    const sent = request.headers[HEADER.affinityHop];
    if (next !== undefined && isHop(sent, hop)) {
      if (alone && house.backends.list().length > 1) return misled(request, response, NO_COMMON);
      forgetHop(request);
      return next();
    }
    // It would be sent on to a task that does not know ours either, and so on without end.
    if (sent !== undefined) return misled(request, response, STRANGER);
    if (isLoop(request.headers[HEADER.affinityVia], house.self)) return door.turnAway(request, response, 508);
    const target = targetOf(wholeUrl(request));
    return target === undefined ? door.turnAway(request, response, 404) : door.enter(request, response, target);
  };
  async function end(): Promise<void> {
    door.close();
    await within(config.drainSeconds * 1000, door.done());
    door.cut();
    await house.close();
    telemetry.close();
  }
  let ending: Promise<void> | undefined;
  return Object.assign(middleware, { close: () => (ending ??= end()) });
}

const NO_COMMON: Refusal = {
  kind: 'refuse',
  status: 503,
  code: CODE.server,
  message: 'Service unavailable: the tasks of this server share no registry, each must be given the same redis',
};
const STRANGER: Refusal = {
  kind: 'refuse',
  status: 508,
  code: CODE.server,
  message: 'Loop detected: the task that sent this on was told another redis or secret, or other backends',
};

/** By default made of what all tasks are told: while a deployment changes the list of backends, that is not the list. */
function hopOf(secret: string | undefined, { redis, dns, cloudMap, backends }: Config): string {
  const common = redis ?? dns ?? cloudMap ?? backends.toSorted();
  return createHmac('sha256', 'mcp-affinity hop')
    .update(secret ?? JSON.stringify(common))
    .digest('hex');
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
