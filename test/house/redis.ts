/** A real Redis of a test's own, on a free port, to be paused, killed and started again. */

import { type RedisProcess, startProcess } from './redis/process.ts';

export { freePort } from './redis/process.ts';

export type TestRedis = RedisProcess & { readonly url: string };

const PLAIN = ['save ""', 'appendonly no', 'enable-debug-command local'];

/** Starts one, without persistence. */
export async function startRedis(): Promise<TestRedis> {
  const started = await startProcess((port) => [`port ${port}`, ...PLAIN]);
  return { ...started, url: `redis://127.0.0.1:${started.port}` };
}
