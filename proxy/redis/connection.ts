/** The connection to Redis: what keeps calls from waiting on one that does not answer, and tells when it does again. */

import { randomUUID } from 'node:crypto';
import { REDIS } from '../contract.ts';
import type { Telemetry } from '../events.ts';
import { newListeners } from '../listeners.ts';
import { readRedisUrls } from '../redis-url.ts';
import { Circuit, type Failure } from './circuit.ts';
import { type Clients, RETRY_EVERY, type RedisClient, SILENCE, newClients } from './clients.ts';
import { type Link, newLink } from './link.ts';

export type RedisOptions = {
  /** As `readRedisUrls` reads them; throws on others, without showing them. */
  readonly url: string | readonly string[];
  /** Told `registry` events. */
  readonly record: Telemetry['record'];
  /** How long a call may take before SessionsUnavailable: 700 by default. */
  readonly deadlineMs?: number;
};

export type RedisConnection = Pick<Clients, 'client'> & {
  /** What every call goes through. */
  readonly circuit: Circuit;
  /** What other proxies publish. */
  readonly link: Link;
  /** Redis is seen to have lost something: as after a lost connection, all that is known is made sure of. */
  readonly doubt: () => void;
  /** This proxy's name among those that share the registry; new with each start. */
  readonly self: string;
  /** Known to the proxies, not to whoever sees what is stored: the password, where there is one. */
  readonly secret: string;
  close(): void;
};

/** Answers of a Redis that cannot take changes now; after a failover, the one at its address soon can. */
const ELSEWHERE = /\b(READONLY|LOADING|MASTERDOWN|UNBLOCKED|TRYAGAIN|CLUSTERDOWN|NOREPLICAS)\b/;
/** So many that each node of a cluster has the slot of some. */
const CLUSTER_PROBES = Array.from({ length: 128 }, (_, at) => REDIS.session(`probe ${at}`));

/** Connects at once, and goes on trying for ever. */
export function connectRedis({ url, record, deadlineMs = 700 }: RedisOptions): RedisConnection {
  const read = readRedisUrls([url].flat());
  if (read.kind === 'fault') throw new Error(`--redis: expected ${read.expected}`);
  const { client, listener } = newClients(read.address);
  const probes = read.address.kind === 'cluster' ? CLUSTER_PROBES : [REDIS.session('probe')];
  const circuit = new Circuit({
    deadlineMs,
    probeEveryMs: RETRY_EVERY,
    // A change of nothing: a replica, which answers a PING, refuses it.
    probe: () => Promise.all(probes.map((key) => client.del(key))),
    judge,
    onState: (state, cause) => record({ type: 'registry', state, ...(cause !== undefined && { cause }) }),
  });
  const lost = newListeners<void>();
  follow(client, circuit, lost.tell);
  const self = randomUUID();
  const link = newLink({
    connect: listener,
    channels: [REDIS.changes, REDIS.messages, REDIS.answers(self)],
    onDoubt: lost.add,
    usable: () => circuit.usable(),
    heartbeatMs: SILENCE,
    retryMs: RETRY_EVERY,
  });
  return {
    client,
    circuit,
    link,
    doubt: lost.tell,
    self,
    secret: read.address.password ?? '',
    close() {
      lost.clear();
      link.close();
      circuit.close();
      client.disconnect();
    },
  };
}

/** Tells the circuit how the connection is, and `lost` when one is gone. */
function follow(client: RedisClient, circuit: Circuit, lost: () => void): void {
  let cause: string | undefined;
  const failed = (error: Error): void => {
    cause = codeOf(error) ?? cause;
  };
  const gone = (): void => {
    circuit.lost(cause);
    lost();
  };
  client.on('error', failed);
  client.on('ready', () => {
    cause = undefined;
    circuit.connected();
  });
  client.on('close', gone);
  // Not closed by us: the client takes some failures for its end.
  client.on('end', () => {
    if (!circuit.closed) setTimeout(() => void client.connect().catch(() => {}), RETRY_EVERY).unref();
  });
  // Of a cluster: one of its nodes.
  client.on('node error', failed);
  client.on('-node', gone);
}

function judge(error: unknown): Failure {
  const cause = codeOf(error);
  const answered = error instanceof Error && error.name === 'ReplyError' && !ELSEWHERE.test(error.message);
  return answered ? { kind: 'refused', cause: cause ?? 'error' } : { kind: 'unreachable', cause };
}

/** The word that an answer of Redis begins with, or the code of a system's error: never an argument. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  // A cluster none of whose nodes answers tells what the last one said.
  if ('lastNodeError' in error) return codeOf(error.lastNodeError);
  if ('code' in error && typeof error.code === 'string') return error.code;
  const { name, message } = error;
  // What sentinels, or the nodes that a cluster's client was sent to, said last.
  if (message.includes('Last error: ')) return /\b[A-Z]{5,}\b/.exec(message)?.[0];
  if (name !== 'ReplyError') return undefined;
  return ELSEWHERE.exec(message)?.[0] ?? /^[A-Z]+/.exec(message)?.[0];
}
