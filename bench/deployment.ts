/** What `soak` and `faults` run against: sample servers, a Redis, and two proxies as processes that can be killed. */

import { setTimeout as delay } from 'node:timers/promises';
import { type ProxyProcess, startProxyProcess } from '../test/house/proxy-process.ts';
import { type TestRedis, freePort, startRedis } from '../test/house/redis.ts';
import { type TestServer, type TestServers, startServers } from '../test/house/servers.ts';
import { until } from '../test/house/until.ts';

/** A proxy, over all its lives. */
export type Proxy = {
  readonly process: ProxyProcess;
  /** The MCP endpoint. */
  readonly url: string;
  readonly opsUrl: string;
  readonly inspectorPort: number;
  /** A balancer would send it requests now. */
  readonly ready: () => boolean;
  /** Aborts when the life that runs now is killed with -9. */
  readonly life: () => AbortSignal;
  /** SIGKILL; `start` begins another life. */
  readonly kill: () => Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  readonly stop: () => Promise<number | string>;
  readonly start: () => Promise<void>;
};

export type DeploymentOptions = {
  /** Names of the servers. */
  readonly servers: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Further flags of the proxies. */
  readonly flags?: readonly string[];
  /** Where a proxy finds Redis, if not at the Redis itself. */
  readonly redisFor?: (redis: TestRedis, at: number) => Promise<string>;
};

export type Deployment = {
  readonly servers: TestServers;
  readonly redis: TestRedis;
  readonly proxies: readonly [Proxy, Proxy];
  readonly close: () => Promise<void>;
};

/** Milliseconds between looks at `/readyz`, as a balancer's. */
const LOOK_EVERY_MS = 100;
/** Milliseconds until a proxy that runs must be ready. */
const START_MS = 30_000;

export async function startDeployment(options: DeploymentOptions): Promise<Deployment> {
  const { flags = [], redisFor = async ({ url }) => url } = options;
  const undo: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const one of undo.splice(0).toReversed()) await one();
  };
  try {
    const servers = await startServers(options.servers, options.env);
    undo.push(() => servers.close());
    const redis = await startRedis();
    undo.push(() => redis.close());
    const backends = servers.origins.flatMap((origin) => ['--backend', origin]);
    const start = async (at: number): Promise<Proxy> => {
      const url = await redisFor(redis, at);
      const proxy = await startProxy([...backends, '--redis', url, '--log-level', 'error', ...flags]);
      undo.push(proxy.close);
      return proxy;
    };
    const proxies = [await start(0), await start(1)] as const;
    for (const proxy of proxies) await until('the proxy is ready', proxy.ready, START_MS);
    return { servers, redis, proxies, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startProxy(flags: readonly string[]): Promise<Proxy & { readonly close: () => Promise<void> }> {
  const inspectorPort = await freePort();
  const inspector = [`--inspect=127.0.0.1:${inspectorPort}`, '--inspect-publish-uid=http'];
  const process = await startProxyProcess(flags, inspector);
  let killed = new AbortController();
  let ready = false;
  const over = new AbortController();
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      ready = (await process.ready()) === 200;
      await delay(LOOK_EVERY_MS);
    }
  };
  const watched = watch();
  return {
    process,
    url: `http://127.0.0.1:${process.port}/mcp`,
    opsUrl: `http://127.0.0.1:${process.opsPort}`,
    inspectorPort,
    ready: () => ready,
    life: () => killed.signal,
    async kill() {
      ready = false;
      process.signal('SIGKILL');
      killed.abort();
      await process.exit();
    },
    stop() {
      process.signal('SIGTERM');
      return process.exit();
    },
    async start() {
      await process.start();
      killed = new AbortController();
      await until('the proxy is ready', () => ready, START_MS);
    },
    async close() {
      over.abort();
      await watched;
      await process.close();
    },
  };
}

/** How many sessions live in a server's memory; undefined while it does not answer. */
export async function sessionsAt({ origin, running }: TestServer): Promise<number | undefined> {
  if (!running) return undefined;
  try {
    const health: unknown = await (await fetch(`${origin}/health`, { signal: AbortSignal.timeout(2_000) })).json();
    return typeof health === 'object' && health && 'active_sessions' in health
      ? Number(health.active_sessions)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Orders a server to drain (`POST`), or not to any more (`DELETE`). */
export async function orderDrain({ opsUrl }: Proxy, server: TestServer, method: 'POST' | 'DELETE'): Promise<number> {
  const headers = { 'content-type': 'application/json' };
  const url = `${opsUrl}/backends/${new URL(server.origin).host}/drain`;
  return (await fetch(url, { method, headers })).status;
}
