/** The registry in Redis, shared by all proxies. */

import { randomUUID } from 'node:crypto';
import type { Result } from 'ioredis';
import { type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import { REDIS, type Session, SessionsUnavailable } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import type { SessionsByHash } from './by-hash.ts';
import type { LinkedSessions } from './cached.ts';
import { type Changes, hashOf, newChanges } from './changes.ts';
import { endedMs } from './endings.ts';
import { type Held, newHeld } from './held.ts';
import { readRecord, writeRecord } from './record.ts';
import { type RedisBackendSessions, redisBackendSessions } from './redis-backend-sessions.ts';
import { redisByHash } from './redis-by-hash.ts';
import { CREATE, END, FIND, REPLACE, RESTORE } from './scripts.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    findSession(key: string, ttlMs: number): Result<string | null, Context>;
    createSession(key: string, revision: string, home: string, record: string, ttlMs: number): Result<0 | 1, Context>;
    replaceSession(key: string, ...args: ReplaceArguments): Result<string | null, Context>;
    endSession(key: string, endedMs: number, channel: string, message: string): Result<string | null, Context>;
    restoreSession(key: string, ...args: RestoreArguments): Result<string | null, Context>;
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

type RestoreArguments = [
  revision: string,
  home: string,
  record: string,
  ttlMs: number,
  changes: number,
  createdAt: number,
  channel: string,
  message: string,
];

export type RedisSessionsOptions = {
  /** Of its own or shared; closed by who made it. */
  readonly redis: RedisConnection;
  /** Idle life. */
  readonly ttlSeconds: number;
  /** After which a session ends though it is used; undefined: never. */
  readonly maxAgeSeconds?: number | undefined;
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
};

/** Nothing that is stored or published contains a session's id. */
export function redisSessions(options: RedisSessionsOptions): LinkedSessions & {
  readonly byHash: SessionsByHash;
  readonly backendSessions: BackendSessions;
} {
  const { redis, ttlSeconds, maxAgeSeconds = Infinity, now = Date.now } = options;
  const { client, circuit, link } = redis;
  const ttlMs = Math.ceil(ttlSeconds * 1_000);
  defineCommands(client);
  const held = newHeld(client, ttlMs, now);
  const backendSessions = redisBackendSessions({ redis, held, ttlMs, maxAgeMs: maxAgeSeconds * 1_000, now });
  const changes = newChanges();
  const parts = { client, circuit, changes, held, backendSessions, ttlMs };
  const undo = link.hear(REDIS.changes, changes.hear);

  return {
    ...newCalls(parts),
    ...newRestore(parts),
    byHash: redisByHash({ ...parts, now }),
    backendSessions,
    onChange: changes.onChange,
    onEnd: changes.onEnd,
    idOf: changes.idOf,
    hasEnded: async (id) => {
      const key = REDIS.session(hashOf(id));
      return (await circuit.run('look', () => client.hexists(key, 'ended'))) === 1;
    },
    onLink: link.onLink,
    memory: () =>
      circuit.run('memory', async () => {
        await client.setnx(REDIS.memory, randomUUID());
        return (await client.get(REDIS.memory)) ?? '';
      }),
    forget: changes.forget,
    countByBackend: () => held.count((attempt) => circuit.run('count', attempt)),
    async close() {
      undo();
    },
  };
}

type Parts = {
  readonly client: RedisConnection['client'];
  readonly circuit: RedisConnection['circuit'];
  readonly changes: Changes;
  readonly held: Held;
  readonly backendSessions: RedisBackendSessions;
  readonly ttlMs: number;
};

/** Beside the session itself: advisory. */
function newKeep({ held, backendSessions }: Parts): (session: Session, hash: string) => void {
  return (session, hash) => {
    held.add(session.home.id, hash);
    backendSessions.keep(session);
  };
}

function newCalls(parts: Parts): Pick<LinkedSessions, 'find' | 'create' | 'replace' | 'end'> {
  const { client, circuit, changes, held, backendSessions, ttlMs } = parts;
  const write = newWrite(circuit, changes);
  const keep = newKeep(parts);
  return {
    async find(id) {
      const hash = changes.know(id);
      const text = await circuit.run('find', () => client.findSession(REDIS.session(hash), ttlMs));
      if (text === null) return undefined;
      const session = understood(id, text);
      keep(session, hash);
      return session;
    },
    async create(session) {
      const hash = changes.know(session.id);
      const { home, revision } = session;
      const text = writeRecord(session);
      const key = REDIS.session(hash);
      const created = await write('create', () => client.createSession(key, revision, home.id, text, ttlMs));
      if (created === 0) return 'taken';
      keep(session, hash);
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
      backendSessions.moved(from, to);
      keep(to, hash);
      return to;
    },
    async end(id) {
      const hash = changes.know(id);
      const message = changes.message(hash);
      const text = await write('end', () =>
        client.endSession(REDIS.session(hash), endedMs(ttlMs), REDIS.changes, message),
      );
      const ended = text === null ? undefined : readRecord(id, text);
      if (ended) held.remove(ended.home.id, hash);
      if (ended) backendSessions.closeLater(backendSessionOf(ended));
      return ended;
    },
  };
}

function newRestore(parts: Parts): Pick<LinkedSessions, 'restore'> {
  const { client, circuit, changes, ttlMs } = parts;
  const write = newWrite(circuit, changes);
  const keep = newKeep(parts);
  return {
    async restore(known) {
      const hash = changes.know(known.id);
      const key = REDIS.session(hash);
      // Nearly always it is there, and need not be sent.
      if ((await circuit.run('look', () => client.hget(key, 'revision'))) === known.revision) return known;
      const { revision, home, createdAt } = known;
      const about = [revision, home.id, writeRecord(known), ttlMs, known.changes, createdAt] as const;
      const message = changes.message(hash);
      const there = await write('restore', () => client.restoreSession(key, ...about, REDIS.changes, message));
      if (there === null) return undefined;
      const session = there === '' ? known : understood(known.id, there);
      keep(session, hash);
      return session;
    },
  };
}

/** After a write without an answer we no longer know our own messages from another proxy's. */
function newWrite(circuit: RedisConnection['circuit'], changes: Changes) {
  return async <T>(name: string, attempt: () => Promise<T>): Promise<T> => {
    try {
      return await circuit.run(name, attempt);
    } catch (error) {
      changes.renewToken();
      throw error;
    }
  };
}

function defineCommands(client: RedisConnection['client']): void {
  client.defineCommand('findSession', { numberOfKeys: 1, lua: FIND });
  client.defineCommand('createSession', { numberOfKeys: 1, lua: CREATE });
  client.defineCommand('replaceSession', { numberOfKeys: 1, lua: REPLACE });
  client.defineCommand('endSession', { numberOfKeys: 1, lua: END });
  client.defineCommand('restoreSession', { numberOfKeys: 1, lua: RESTORE });
}

function understood(id: string, text: string): Session {
  const session = readRecord(id, text);
  if (!session) throw new SessionsUnavailable('The registry holds a record that this version cannot read');
  return session;
}
