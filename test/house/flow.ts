/** A whole deployment for a flow test: backends by name, proxies in this process, a Redis, clients; closed in one call. */

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { DEADLINES } from '../../proxy/app.ts';
import { parseConfig } from '../../proxy/config.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { start } from '../../proxy/main.ts';
import type { Given } from '../../proxy/rooms.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';
import { type TestRedis, startRedis } from './redis.ts';
import { type TestServer, type TestServers, startServers } from './servers.ts';
import { type Talk, type TalkOptions, startTalk } from './talk.ts';
import { until } from './until.ts';

export type TestProxy = {
  readonly url: string;
  readonly opsUrl: string;
  /** What it recorded, in order. */
  readonly events: readonly RoutingEvent[];
  readonly stop: () => Promise<void>;
};

export type FlowOptions = {
  /** Names of the backends; a, b and c by default. */
  readonly backends?: readonly string[];
  /** Their environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** One by default; more share a Redis. */
  readonly proxies?: number;
  /** A Redis for a single proxy too, or one of the test's own, by its URLs with commas between. */
  readonly redis?: true | string;
  /** Further flags of the proxies. */
  readonly flags?: readonly string[];
};

export type Flow = {
  readonly servers: TestServers;
  readonly proxies: readonly TestProxy[];
  /** Of the first proxy. */
  readonly url: string;
  /** Throws where there is none. */
  readonly redis: () => TestRedis;
  readonly backend: (id: string) => TestServer;
  /** Kills the backend with -9. */
  readonly kill: (id: string) => Promise<void>;
  /** Resolves when the backend's process is gone, all its connections included. */
  readonly died: (id: string) => Promise<void>;
  /** Starts every backend again that is dead. */
  readonly revive: () => Promise<void>;
  /** A client at the first proxy, or at another. */
  readonly talk: (options?: TalkOptions, proxy?: number) => Promise<Talk>;
  /** The same client, through another connection. */
  readonly join: (talk: Talk, proxy: number) => Promise<Talk>;
  /** Orders a backend to drain; resolves when every proxy knows. */
  readonly drain: (id: string) => Promise<void>;
  readonly undrain: (id: string) => Promise<void>;
  /** Orders a session to migrate. */
  readonly migrate: (talk: Talk) => Promise<void>;
  /** What all proxies recorded. */
  readonly events: () => readonly RoutingEvent[];
  /** From, to, reason and outcome of each migration, of each proxy in turn. */
  readonly migrations: () => readonly string[];
  /** The backends that ran this effect, in order. */
  readonly runs: (key: string) => readonly string[];
  /** Resolves when the effect has begun somewhere. */
  readonly begun: (key: string) => Promise<void>;
  /** Sessions that live in a backend's memory. */
  readonly sessionsAt: (id: string) => Promise<number>;
  readonly close: () => Promise<void>;
};

const LISTED = z.object({ backends: z.array(z.object({ id: z.string(), draining: z.boolean() })) });

export async function startFlow(options: FlowOptions = {}): Promise<Flow> {
  const { backends = ['a', 'b', 'c'], env = {}, proxies: count = 1, flags = [] } = options;
  const undo: (() => Promise<unknown>)[] = [];
  const close = async () => {
    for (const one of undo.splice(0).toReversed()) await one();
  };
  const keep = <T>(made: T, end: (made: T) => Promise<unknown>): T => {
    undo.push(() => end(made));
    return made;
  };
  try {
    const servers = keep(await startServers(backends, env), (all) => all.close());
    const own = typeof options.redis === 'string' ? options.redis : undefined;
    const wanted = own === undefined && (count > 1 || options.redis === true);
    const redis = wanted ? keep(await startRedis(), (one) => one.close()) : undefined;
    const proxies: TestProxy[] = [];
    const urls = own?.split(/,(?=redis)/) ?? (redis ? [redis.url] : []);
    const shared = urls.map((url) => `--redis=${url}`);
    for (let at = 0; at < count; at += 1) {
      proxies.push(keep(await startProxy(servers.origins, [...shared, ...flags]), (one) => one.stop()));
    }
    return {
      ...newFlow(servers, proxies, redis),
      talk: async (talking, at = 0) => keep(await startTalk(proxies[at]!.url, talking), (one) => one.close()),
      join: async ({ sessionId }, at) => keep(await startTalk(proxies[at]!.url, { sessionId }), (one) => one.close()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function newFlow(
  servers: TestServers,
  proxies: readonly TestProxy[],
  redis: TestRedis | undefined,
): Omit<Flow, 'talk' | 'join' | 'close'> {
  const runs = (key: string) => servers.effects().flatMap((effect) => (effect.key === key ? [effect.taskId] : []));
  const hostOf = (id: string) => new URL(servers.get(id).origin).host;
  const nameOf = (host: string) => servers.servers.find(({ origin }) => origin === `http://${host}`)?.id ?? host;
  async function order(method: string, path: string): Promise<void> {
    const headers = { 'content-type': 'application/json' };
    const { status } = await fetch(proxies[0]!.opsUrl + path, { method, headers });
    if (status !== 202) throw new Error(`${method} ${path} was answered with ${status}`);
  }
  return {
    servers,
    proxies,
    url: proxies[0]!.url,
    async drain(id) {
      await order('POST', `/backends/${hostOf(id)}/drain`);
      for (const { opsUrl } of proxies) {
        await until(`every proxy knows that ${id} drains`, async () => {
          const listed = LISTED.parse(await (await fetch(`${opsUrl}/backends`)).json());
          return listed.backends.some((backend) => backend.id === hostOf(id) && backend.draining);
        });
      }
    },
    undrain: (id) => order('DELETE', `/backends/${hostOf(id)}/drain`),
    migrate: ({ sessionId }) =>
      order('POST', `/sessions/${createHash('sha256').update(sessionId).digest('hex')}/migrate`),
    events: () => proxies.flatMap(({ events }) => events),
    migrations: () =>
      proxies.flatMap(({ events }) =>
        events.flatMap((event) =>
          event.type === 'migration'
            ? [`${nameOf(event.from)} ${nameOf(event.to)} ${event.reason} ${event.outcome}`]
            : [],
        ),
      ),
    redis() {
      if (!redis) throw new Error('This flow has no Redis');
      return redis;
    },
    backend: (id) => servers.get(id),
    kill: (id) => servers.get(id).kill(),
    async died(id) {
      await until(`${id} is dead`, () => !servers.get(id).running);
    },
    async revive() {
      await Promise.all(servers.servers.filter(({ running }) => !running).map((one) => one.restart()));
    },
    runs,
    async begun(key) {
      await until(`effect ${key} has begun`, () => runs(key).length > 0);
    },
    async sessionsAt(id) {
      const health: unknown = await (await fetch(`${servers.get(id).origin}/health`)).json();
      if (typeof health === 'object' && health && 'active_sessions' in health) return Number(health.active_sessions);
      throw new Error(`${id} does not say how many sessions it has`);
    },
  };
}

/** It knows that a backend is dead: an exchange has found out, or a check was sooner. */
export function metDead({ events }: Pick<TestProxy, 'events'>): boolean {
  return events.some(
    (event) =>
      event.type === 'suspect' ||
      (event.type === 'backend' && event.state !== 'alive') ||
      (event.type === 'checks' && event.state === 'ignored'),
  );
}

/** Configured by flags, as everywhere, on free ports. */
export async function startProxy(
  origins: readonly string[],
  flags: readonly string[],
  given: Given = {},
): Promise<TestProxy> {
  // Backends that a test's DNS or Cloud Map names are on this machine.
  const args = [
    '--port',
    '0',
    '--ops-port',
    '0',
    '--drain-seconds',
    '1',
    '--lame-duck-seconds',
    '0',
    '--allow-loopback',
    'on',
    ...flags,
  ];
  const parsed = parseConfig([...args, ...origins.flatMap((origin) => ['--backend', origin])], {});
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join('\n'));
  const telemetry = createTelemetry({ level: 'error', destination: { write() {} } });
  const events: RoutingEvent[] = [];
  const record = (event: RoutingEvent) => {
    events.push(event);
    telemetry.record(event);
  };
  const running = await start(parsed.config, { ...telemetry, record }, DEADLINES, given);
  return {
    url: `http://127.0.0.1:${running.port}/mcp`,
    opsUrl: `http://127.0.0.1:${running.opsPort}`,
    events,
    stop: () => running.stop(),
  };
}
