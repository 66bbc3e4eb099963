/** A real Redis of a test's own, on a free port, to be paused, killed and started again. */

import { Redis } from 'ioredis';
import { REDIS } from '../../proxy/contract.ts';
import { type RedisProcess, startProcess } from './redis/process.ts';
import { until } from './until.ts';

export { freePort } from './redis/process.ts';

export type TestRedis = RedisProcess & { readonly url: string };

const PLAIN = ['save ""', 'appendonly no', 'enable-debug-command local'];

/** Starts one, without persistence. */
export async function startRedis(): Promise<TestRedis> {
  const started = await startProcess((port) => [`port ${port}`, ...PLAIN]);
  return { ...started, url: `redis://127.0.0.1:${started.port}` };
}

/** Resolves when so many proxies there hear each other: what one tells sooner is lost. */
export async function untilPeers({ url }: TestRedis, count: number): Promise<void> {
  const direct = new Redis(url);
  try {
    await until('the proxies hear each other', async () => (await direct.zcard(REDIS.peers)) === count);
  } finally {
    direct.disconnect();
  }
}
