/** A real cluster of three primaries, the first with a replica: it may be killed. */

import { Cluster, Redis } from 'ioredis';
import { until } from '../until.ts';
import { type RedisProcess, startProcess } from './process.ts';

const SLOTS = 16_384;
const PRIMARIES = 3;

export type ClusterRedis = {
  /** All nodes' URLs, with commas between. */
  readonly url: string;
  readonly direct: () => Cluster;
  /** The primary that has a replica, and the others. */
  readonly nodes: readonly RedisProcess[];
  /** Resolves when the replica of the first has taken its place. */
  readonly failedOver: () => Promise<void>;
  readonly close: () => Promise<void>;
};

type Node = { readonly process: RedisProcess; readonly bus: number; readonly client: Redis };

export async function startClusterRedis(): Promise<ClusterRedis> {
  const started: Node[] = [];
  const close = async () => {
    for (const { client } of started) client.disconnect();
    await Promise.all(started.splice(0).map(({ process }) => process.close()));
  };
  try {
    for (let at = 0; at <= PRIMARIES; at += 1) started.push(await startNode());
    const [primaries, replica] = [started.slice(0, PRIMARIES), started.at(-1)!];
    await join(started, primaries);
    await replicate(replica, primaries[0]!);
    await Promise.all(started.map(({ client }) => until('the cluster is whole', () => isWhole(client))));
    const seeds = started.map(({ process: { port } }) => ({ host: '127.0.0.1', port }));
    return {
      url: seeds.map(({ host, port }) => `redis://${host}:${port}`).join(),
      direct: () => new Cluster(seeds),
      nodes: primaries.map(({ process }) => process),
      async failedOver() {
        await until('the replica has taken over', async () =>
          (await replica.client.info('replication')).includes('role:master'),
        );
        await until('the cluster is whole', () => isWhole(primaries[1]!.client));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startNode(): Promise<Node> {
  let bus = 0;
  const process = await startProcess((port, another) => {
    bus = another;
    return [
      `port ${port}`,
      `cluster-port ${another}`,
      'cluster-enabled yes',
      'cluster-node-timeout 1000',
      'repl-diskless-sync-delay 0',
      'save ""',
    ];
  });
  const client = new Redis({ port: process.port });
  client.on('error', () => {});
  return { process, bus, client };
}

/** Shares the slots out, and makes all known to each other. */
async function join(all: readonly Node[], primaries: readonly Node[]): Promise<void> {
  const first = all[0]!;
  for (const [at, { client }] of primaries.entries()) {
    const from = Math.ceil((at * SLOTS) / PRIMARIES);
    const to = Math.ceil(((at + 1) * SLOTS) / PRIMARIES) - 1;
    await client.call('CLUSTER', 'ADDSLOTSRANGE', from, to);
  }
  for (const [at, { client }] of all.entries()) await client.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1);
  for (const { process, bus } of all.slice(1)) {
    await first.client.call('CLUSTER', 'MEET', '127.0.0.1', process.port, bus);
  }
  await Promise.all(
    all.map(({ client }) =>
      until('all know each other', async () => {
        const nodes = String(await client.call('CLUSTER', 'NODES'));
        return nodes.trim().split('\n').length === all.length && !/handshake|fail|noaddr/.test(nodes);
      }),
    ),
  );
}

async function replicate(replica: Node, primary: Node): Promise<void> {
  const id = String(await primary.client.call('CLUSTER', 'MYID'));
  await until('it may replicate', () =>
    replica.client.call('CLUSTER', 'REPLICATE', id).then(
      () => true,
      () => false,
    ),
  );
  await until('the replica follows', async () =>
    (await replica.client.info('replication')).includes('master_link_status:up'),
  );
}

async function isWhole(client: Redis): Promise<boolean> {
  const info = String(await client.call('CLUSTER', 'INFO'));
  const slots = await client.call('CLUSTER', 'SLOTS');
  return info.includes('cluster_state:ok') && Array.isArray(slots) && slots.length === PRIMARIES;
}
