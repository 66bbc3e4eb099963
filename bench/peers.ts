/** Who is measured: mcp-affinity as it is shipped, and what it is measured against, all before the same backend. */

import { startRedis } from '../test/house/redis.ts';
import { start } from './processes.ts';
import type { Running } from './processes.ts';

export type Peer = Running & { readonly name: string };

export type Peers = {
  /** The first is what the others are compared with. */
  readonly peers: readonly Peer[];
  /** A line for each that could not be had. */
  readonly absent: readonly string[];
  readonly stop: () => Promise<void>;
};

export const BARE_PIPE = 'bare undici pipe';

export async function startPeers(): Promise<Peers> {
  const backend = await start('bench/backend.ts');
  const proxy = (...args: string[]) =>
    start('proxy/cli.ts', [
      '--port',
      '0',
      '--ops-port',
      '0',
      '--lame-duck-seconds',
      '0',
      '--backend',
      backend.origin,
      ...args,
    ]);
  const peers: Peer[] = [
    { name: BARE_PIPE, ...(await start('bench/bare-pipe.ts', [backend.origin])) },
    { name: 'mcp-affinity, in memory', ...(await proxy()) },
  ];
  const absent = ['not run: HAProxy, nginx (this bench does not start them)'];
  const redis = await startRedis().catch((error: unknown) => {
    absent.push(`not run: mcp-affinity with Redis (${error instanceof Error ? error.message : String(error)})`);
  });
  if (redis) peers.push({ name: 'mcp-affinity, Redis', ...(await proxy('--redis', redis.url)) });
  return {
    peers,
    absent,
    async stop() {
      await Promise.all(peers.map((peer) => peer.stop()));
      await Promise.all([backend.stop(), redis?.close()]);
    },
  };
}
