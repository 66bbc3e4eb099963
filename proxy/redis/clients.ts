/** Makes the clients of Redis for each way it can be deployed: all bounded in time, none that waits or retries by itself. */

import { Cluster, Redis, type RedisOptions } from 'ioredis';
import type { RedisAddress, RedisHost } from '../redis-url.ts';

/** What takes commands. Of a cluster, each goes to the node that has its key. */
export type RedisClient = Redis | Cluster;

type Options = Omit<RedisOptions, 'replyMapping'>;

export type Clients = {
  readonly client: RedisClient;
  /** A new connection to hear published messages on, which does not come back once it is lost. */
  readonly listener: () => Redis;
};

/** Milliseconds. A connection that owes answers and is silent for so long is given up for a new one. */
export const SILENCE = 2_000;
/** Milliseconds between attempts to connect, and between probes. */
export const RETRY_EVERY = 250;
/** How often a cluster's client looks for a key's node again; beyond that, whoever asked decides. */
const REDIRECTIONS = 4;

export function newClients(address: RedisAddress): Clients {
  if (address.kind === 'cluster') return clusterClients(address);
  const options = { ...common(address), ...target(address) };
  return {
    client: new Redis({ ...options, retryStrategy: retryDelay }),
    listener: () => new Redis({ ...options, retryStrategy: null }),
  };
}

function common({ tls, username, password }: RedisAddress): Options {
  return {
    connectionName: 'mcp-affinity',
    disableClientInfo: true,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    // Certificates are verified, against NODE_EXTRA_CA_CERTS too.
    ...(tls && { tls: {} }),
    // What a call waits for, how long, and whether it is sent again, is decided by the circuit alone.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    autoResubscribe: false,
    // A primary that was made a replica in place: its name soon leads to the new one.
    reconnectOnError: (error) => error.message.includes('READONLY'),
    connectTimeout: SILENCE,
    socketTimeout: SILENCE,
    disconnectTimeout: RETRY_EVERY,
  };
}

function target(address: Exclude<RedisAddress, { kind: 'cluster' }>): Options {
  if (address.kind === 'single') return { ...address.hosts[0], db: address.db };
  const { tls, hosts, name, db, sentinel } = address;
  return {
    sentinels: [...hosts],
    name,
    db,
    ...(sentinel.username !== undefined && { sentinelUsername: sentinel.username }),
    ...(sentinel.password !== undefined && { sentinelPassword: sentinel.password }),
    ...(tls && { enableTLSForSentinelMode: true, sentinelTLS: {} }),
    sentinelCommandTimeout: SILENCE,
    // Anything else ends the client for good once each sentinel has been asked.
    sentinelRetryStrategy: retryDelay,
    sentinelReconnectStrategy: retryDelay,
    // An old primary that lives on, cut off from the rest, would take changes that are lost.
    failoverDetector: true,
  };
}

function clusterClients(address: RedisAddress): Clients {
  const { enableOfflineQueue: _, ...options } = common(address);
  const seeds = address.hosts.map((host) => ({ ...host }));
  const client = new Cluster(seeds, {
    redisOptions: options,
    clusterRetryStrategy: retryDelay,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    maxRedirections: REDIRECTIONS,
    slotsRefreshTimeout: SILENCE / 2,
    slotsRefreshInterval: 5_000,
    // The name is what a certificate is checked against; the system resolves it at each connect.
    dnsLookup: (name, done) => done(null, name),
  });
  return {
    client,
    listener: () => new Redis({ ...common(address), ...anyNode(client, seeds), retryStrategy: null }),
  };
}

/** Each node of a cluster is told what is published at any: one that is connected, else one of the seeds. */
function anyNode(client: Cluster, seeds: readonly RedisHost[]): Partial<RedisHost> {
  const ready = client.nodes('master').filter(({ status }) => status === 'ready');
  const known: readonly Partial<RedisHost>[] =
    ready.length > 0 ? ready.map(({ options: { host = '', port = 0 } }) => ({ host, port })) : seeds;
  return known[Math.floor(Math.random() * known.length)] ?? {};
}

function retryDelay(): number {
  return RETRY_EVERY * (0.6 + 0.4 * Math.random());
}
