/** The connection to Redis: what keeps calls from waiting on one that does not answer, and tells when it does again. */

import { Redis } from 'ioredis';
import { Circuit, type Failure } from './circuit.ts';
import { REDIS } from '../contract.ts';
import type { Telemetry } from '../events.ts';

export type RedisOptions = {
  /** `redis://` or `rediss://`. */
  readonly url: string;
  /** Told `registry` events. */
  readonly record: Telemetry['record'];
  /** How long a call may take before SessionsUnavailable: 700 by default. */
  readonly deadlineMs?: number;
};

export type RedisConnection = {
  readonly client: Redis;
  /** What every call goes through. */
  readonly circuit: Circuit;
  /** Milliseconds after which a silent connection is taken for dead. */
  readonly silenceMs: number;
  close(): void;
};

/** Milliseconds. A connection that owes answers and is silent for so long is given up for a new one. */
const SILENCE = 2_000;
const PROBE_EVERY = 250;
/** Answers of a Redis that cannot take changes now; after a failover, the one at its address soon can. */
const ELSEWHERE = /\b(READONLY|LOADING|MASTERDOWN|UNBLOCKED|TRYAGAIN|CLUSTERDOWN)\b/;

/** Connects at once, and goes on trying for ever. */
export function connectRedis({ url, record, deadlineMs = 700 }: RedisOptions): RedisConnection {
  const client = newClient(url);
  const circuit = new Circuit({
    deadlineMs,
    probeEveryMs: PROBE_EVERY,
    // A change of nothing: a replica, which answers a PING, refuses it.
    probe: () => client.del(REDIS.session('probe')),
    judge,
    onState: (state, cause) => record({ type: 'registry', state, ...(cause !== undefined && { cause }) }),
  });
  follow(client, circuit);
  return {
    client,
    circuit,
    silenceMs: SILENCE,
    close() {
      circuit.close();
      client.disconnect();
    },
  };
}

function newClient(url: string): Redis {
  return new Redis(url, {
    connectionName: 'mcp-affinity',
    disableClientInfo: true,
    // What a call waits for, how long, and whether it is sent again, is decided by the circuit alone.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    autoResubscribe: false,
    reconnectOnError: (error) => error.message.includes('READONLY'),
    retryStrategy: () => PROBE_EVERY * (0.6 + 0.4 * Math.random()),
    connectTimeout: SILENCE,
    socketTimeout: SILENCE,
    disconnectTimeout: PROBE_EVERY,
  });
}

/** Tells the circuit how the connection is. */
function follow(client: Redis, circuit: Circuit): void {
  let cause: string | undefined;
  client.on('error', (error: Error) => {
    cause = codeOf(error);
  });
  client.on('ready', () => {
    cause = undefined;
    circuit.connected();
  });
  client.on('close', () => circuit.lost(cause));
}

function judge(error: unknown): Failure {
  const cause = codeOf(error);
  const answered = error instanceof Error && error.name === 'ReplyError' && !ELSEWHERE.test(error.message);
  return answered ? { kind: 'refused', cause: cause ?? 'error' } : { kind: 'unreachable', cause };
}

/** The word that an answer of Redis begins with, or the code of a system's error: never an argument. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error.name !== 'ReplyError') return undefined;
  return ELSEWHERE.exec(error.message)?.[0] ?? /^[A-Z]+/.exec(error.message)?.[0];
}
