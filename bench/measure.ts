/** What a proxy holds: its memory after a garbage collection, its handles and sockets; and what it left elsewhere. */

import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { soon } from '../test/house/until.ts';
import { type Deployment, type Proxy, sessionsAt } from './deployment.ts';

/** Of one proxy. */
export type ProxyReading = {
  /** Megabytes, as the kernel counts them. */
  readonly rss: number;
  /** Megabytes of V8's heap in use, and of buffers outside of it. */
  readonly heap: number;
  readonly external: number;
  /** Open handles of libuv, as Node counts them. */
  readonly handles: number;
  readonly sockets: number;
  readonly streams: number;
};

/** What is left elsewhere. */
export type Remains = {
  /** All, and those of single sessions by their kind, as in `2 session, 1 busy`. */
  readonly redisKeys: number;
  readonly sessionKeys: number;
  readonly kinds: string;
  readonly redisClients: number;
  readonly backendSessions: number;
};

const OF_A_SESSION = /^mcp-affinity:(session|busy|claim):/;
const MB = 1024 * 1024;
const TARGETS = z.array(z.object({ webSocketDebuggerUrl: z.string() })).min(1);
const REPLY = z.object({ id: z.number().optional() });

/** Undefined while the proxy does not answer. */
export async function readProxy({ process, opsUrl }: Proxy): Promise<ProxyReading | undefined> {
  try {
    const text = await (await fetch(`${opsUrl}/metrics`, { signal: AbortSignal.timeout(2_000) })).text();
    const sum = (name: string): number => sumOf(text, name);
    return {
      rss: rssOf(process.pid),
      heap: sum('nodejs_heap_size_used_bytes') / MB,
      external: sum('nodejs_external_memory_bytes') / MB,
      handles: sum('nodejs_active_handles'),
      sockets: socketsOf(process.pid),
      streams: sum('mcp_affinity_streams_open'),
    };
  } catch {
    return undefined;
  }
}

/** The sum over the labels of one of its metrics. */
export async function metricOf({ opsUrl }: Proxy, name: string): Promise<number> {
  return sumOf(await (await fetch(`${opsUrl}/metrics`)).text(), name);
}

function sumOf(text: string, name: string): number {
  const values = text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'));
  return [...values].reduce((total, [, value]) => total + Number(value), 0);
}

function rssOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

function socketsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((name) => {
    try {
      return readlinkSync(`${folder}/${name}`).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** Over the inspector, so that the proxy itself has no door for it. */
export async function collectGarbage({ inspectorPort }: Proxy): Promise<void> {
  const listed: unknown = await (await fetch(`http://127.0.0.1:${inspectorPort}/json/list`)).json();
  const [target] = TARGETS.parse(listed);
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? '');
  const collected = new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () =>
      socket.send(JSON.stringify({ id: 1, method: 'HeapProfiler.collectGarbage' })),
    );
    socket.addEventListener('message', ({ data }) => {
      if (REPLY.parse(JSON.parse(String(data))).id === 1) resolve();
    });
    socket.addEventListener('error', () => reject(new Error('The inspector cannot be reached')));
  });
  const closed = new Promise((resolve) => socket.addEventListener('close', resolve, { once: true }));
  try {
    await soon('a garbage collection', collected);
  } finally {
    socket.close();
  }
  await soon('the inspector to let go', closed);
}

export async function readRemains({ servers }: Deployment, redis: Redis): Promise<Remains> {
  const sessions = await Promise.all(servers.servers.map(sessionsAt));
  const keys = await redis.keys('*');
  const kinds = keys.flatMap((key) => OF_A_SESSION.exec(key)?.slice(1) ?? []);
  const clients = String(await redis.client('LIST')).split('\n');
  return {
    redisKeys: keys.length,
    sessionKeys: kinds.length,
    kinds: [...Map.groupBy(kinds, (kind) => kind)].map(([kind, { length }]) => `${length} ${kind}`).join(', '),
    redisClients: clients.filter((line) => line.includes('name=mcp-affinity')).length,
    backendSessions: sessions.reduce<number>((total, one) => total + (one ?? 0), 0),
  };
}

const TIMES = 5;
const EVERY_MS = 1_000;

/**
 * The least of five readings, each right after a garbage collection: what comes and goes by itself (a health check's
 * connection, memory that the allocator has not given back yet) is not what a leak would leave.
 */
export async function readSettled(proxy: Proxy): Promise<ProxyReading> {
  const readings: ProxyReading[] = [];
  while (readings.length < TIMES) {
    await collectGarbage(proxy);
    await delay(EVERY_MS);
    const reading = await readProxy(proxy);
    if (reading) readings.push(reading);
  }
  const least = (key: keyof ProxyReading): number => Math.min(...readings.map((one) => one[key]));
  return {
    rss: least('rss'),
    heap: least('heap'),
    external: least('external'),
    handles: least('handles'),
    sockets: least('sockets'),
    streams: least('streams'),
  };
}
