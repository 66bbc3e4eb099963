/** The registry in Redis, shared by all proxies. */

import { Redis, type Result } from 'ioredis';
import { REDIS, type Session, type Sessions, SessionsUnavailable, type Telemetry } from '../contract.ts';
import type { LinkedSessions } from './cached.ts';
import { type Changes, newChanges } from './changes.ts';
import { Circuit, type Failure } from './circuit.ts';
import { type Held, newHeld } from './held.ts';
import { newLink } from './link.ts';
import { readRecord, writeRecord } from './record.ts';
import { CREATE, END, FIND, REPLACE } from './scripts.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    findSession(key: string, ttlMs: number): Result<string | null, Context>;
    createSession(key: string, revision: string, home: string, record: string, ttlMs: number): Result<0 | 1, Context>;
    replaceSession(key: string, ...args: ReplaceArguments): Result<string | null, Context>;
    endSession(key: string, channel: string, message: string): Result<string | null, Context>;
  }
}
type ReplaceArguments = [
  revision: string,
  newRevision: string,
  home: string,
  record: string,
  ttlMs: number,
  channel: string,
  message: string,
];

export type RedisSessionsOptions = {
  /** `redis://` or `rediss://`. */
  readonly url: string;
  /** Idle life. */
  readonly ttlSeconds: number;
  /** Told `registry` events. */
  readonly record: Telemetry['record'];
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** How long a call may take before SessionsUnavailable: 700 by default. */
  readonly deadlineMs?: number;
};

/** Milliseconds. A connection that owes answers and is silent for so long is given up for a new one. */
const SILENCE = 2_000;
const PROBE_EVERY = 250;
/** Answers of a Redis that cannot take changes now; after a failover, the one at its address soon can. */
const ELSEWHERE = /\b(READONLY|LOADING|MASTERDOWN|UNBLOCKED|TRYAGAIN|CLUSTERDOWN)\b/;

/** Connects at once, and goes on trying for ever. Nothing that is stored or published contains a session's id. */
export function redisSessions(options: RedisSessionsOptions): LinkedSessions {
  const { now = Date.now, deadlineMs = 700, record } = options;
  const ttlMs = Math.ceil(options.ttlSeconds * 1_000);
  const client = connect(options.url);
  const circuit = new Circuit({
    deadlineMs,
    probeEveryMs: PROBE_EVERY,
    // A change of nothing: a replica, which answers a PING, refuses it.
    probe: () => client.del(REDIS.session('probe')),
    judge,
    onState: (state, cause) => record({ type: 'registry', state, ...(cause !== undefined && { cause }) }),
  });
  follow(client, circuit);
  const held = newHeld(client, ttlMs, now);
  const changes = newChanges();
  const link = newLink({
    client: client.duplicate(),
    hear: changes.hear,
    usable: () => circuit.usable(),
    heartbeatMs: SILENCE,
  });

  return {
    ...newCalls({ client, circuit, changes, held, ttlMs }),
    onChange: changes.onChange,
    onLink: link.onLink,
    forget: changes.forget,
    countByBackend: () => held.count((attempt) => circuit.run('count', attempt)),
    async close() {
      circuit.close();
      link.close();
      client.disconnect();
    },
  };
}

type Parts = {
  readonly client: Redis;
  readonly circuit: Circuit;
  readonly changes: Changes;
  readonly held: Held;
  readonly ttlMs: number;
};

function newCalls({
  client,
  circuit,
  changes,
  held,
  ttlMs,
}: Parts): Pick<Sessions, 'find' | 'create' | 'replace' | 'end'> {
  /** After a write without an answer we no longer know our own messages from another proxy's. */
  async function write<T>(name: string, attempt: () => Promise<T>): Promise<T> {
    try {
      return await circuit.run(name, attempt);
    } catch (error) {
      changes.renewToken();
      throw error;
    }
  }

  return {
    async find(id) {
      const hash = changes.know(id);
      const text = await circuit.run('find', () => client.findSession(REDIS.session(hash), ttlMs));
      if (text === null) return undefined;
      const session = understood(id, text);
      held.add(session.home.id, hash);
      return session;
    },
    async create(session) {
      const hash = changes.know(session.id);
      const { home, revision } = session;
      const text = writeRecord(session);
      const key = REDIS.session(hash);
      const created = await write('create', () => client.createSession(key, revision, home.id, text, ttlMs));
      if (created === 0) return 'taken';
      held.add(home.id, hash);
      return 'created';
    },
    async replace(from, to) {
      const hash = changes.know(from.id);
      const about = [from.revision, to.revision, to.home.id, writeRecord(to), ttlMs] as const;
      const message = changes.message(hash);
      const there = await write('replace', () =>
        client.replaceSession(REDIS.session(hash), ...about, REDIS.changes, message),
      );
      if (there === null) return undefined;
      if (there !== '') return understood(from.id, there);
      if (from.home.id !== to.home.id) held.remove(from.home.id, hash);
      held.add(to.home.id, hash);
      return to;
    },
    async end(id) {
      const hash = changes.know(id);
      const message = changes.message(hash);
      const home = await write('end', () => client.endSession(REDIS.session(hash), REDIS.changes, message));
      if (home !== null) held.remove(home, hash);
    },
  };
}

function connect(url: string): Redis {
  const client = new Redis(url, {
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
  client.defineCommand('findSession', { numberOfKeys: 1, lua: FIND });
  client.defineCommand('createSession', { numberOfKeys: 1, lua: CREATE });
  client.defineCommand('replaceSession', { numberOfKeys: 1, lua: REPLACE });
  client.defineCommand('endSession', { numberOfKeys: 1, lua: END });
  return client;
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

function understood(id: string, text: string): Session {
  const session = readRecord(id, text);
  if (!session) throw new SessionsUnavailable('The registry holds a record that this version cannot read');
  return session;
}
