/** Keeps what tools remember of a session where it outlives the task: in memory for one task, in Redis for many. */

import { createHash } from 'node:crypto';
import { inRange } from './range.ts';

/**
 * What tools remember, by session and key. `session` is the client's id of the session, the same whatever its home: the
 * `Mcp-Affinity-Session` header where a proxy sends it, else `Mcp-Session-Id`. A session exists here from its first
 * `set`; each use renews its life. Nothing ends it but its idle life: a backend is told to DELETE its own session also
 * when the conversation has only migrated. Every method rejects with the store's own error when that cannot be reached.
 */
export interface SessionState {
  /** Stores one value; others of the session are left alone, so that writers of different keys never undo each other. */
  set(session: string, key: string, value: string): Promise<void>;
  get(session: string, key: string): Promise<StateValue>;
  all(session: string): Promise<StateValues>;
}

/** `no-session`: nothing was ever set in it, or its idle life is over. */
export type StateValue =
  | { readonly kind: 'value'; readonly value: string }
  | { readonly kind: 'no-value' }
  | { readonly kind: 'no-session' };
export type StateValues =
  | { readonly kind: 'values'; readonly values: ReadonlyMap<string, string> }
  | { readonly kind: 'no-session' };

/** What we need of a Redis client; one of ioredis fits as it is. The script's own types come back. */
export interface RedisScripts {
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
}

export type StateOptions = {
  /** Whole seconds of idle life, 366 days at most; 86400, a day, by default. */
  readonly ttlSeconds?: number;
};

const DAY = 86_400;
const LIFE = { of: 'whole seconds', from: 1, to: 366 * DAY, whole: true };

/** State that dies with the process. `now` is a clock in milliseconds. Throws RangeError for a life that is none. */
export function memoryState(options: StateOptions & { readonly now?: () => number } = {}): SessionState {
  const { ttlSeconds = DAY, now = Date.now } = options;
  const lifeMs = 1000 * inRange('ttlSeconds', ttlSeconds, LIFE);
  /** In the order of their last use: who is over stands in front. */
  const sessions = new Map<string, { until: number; readonly values: Map<string, string> }>();

  const sweep = () => {
    for (const [session, { until }] of sessions) {
      if (until > now()) return;
      sessions.delete(session);
    }
  };
  const use = (session: string) => {
    sweep();
    const held = sessions.get(session);
    if (!held) return undefined;
    sessions.delete(session);
    held.until = now() + lifeMs;
    sessions.set(session, held);
    return held.values;
  };

  return {
    async set(session, key, value) {
      const values = use(session) ?? new Map<string, string>();
      sessions.set(session, { until: now() + lifeMs, values: values.set(key, value) });
    },
    async get(session, key) {
      const values = use(session);
      return values ? asValue(values.get(key)) : { kind: 'no-session' };
    },
    async all(session) {
      const values = use(session);
      return values ? { kind: 'values', values: new Map(values) } : { kind: 'no-session' };
    },
  };
}

// One script a use: a value is never there without its end of life, and a script that is sent again does no harm.
const SET = `redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])`;
const GET = `if redis.call('EXPIRE', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('HMGET', KEYS[1], ARGV[2])`;
const ALL = `if redis.call('EXPIRE', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('HGETALL', KEYS[1])`;

/**
 * State that every task with the same Redis shares: one hash a session, under the SHA-256 of its id, because the id is a
 * bearer secret. The client is the caller's: its timeouts hold, and it is never closed here. Throws RangeError for a life
 * that is none.
 */
export function redisState(client: RedisScripts, options: StateOptions = {}): SessionState {
  const ttl = String(inRange('ttlSeconds', options.ttlSeconds ?? DAY, LIFE));
  const keyOf = (session: string) => `mcp-affinity:state:${createHash('sha256').update(session).digest('hex')}`;

  return {
    async set(session, key, value) {
      await client.eval(SET, 1, keyOf(session), ttl, key, value);
    },
    async get(session, key) {
      const reply = await client.eval(GET, 1, keyOf(session), ttl, key);
      return reply === null ? { kind: 'no-session' } : asValue(strings(reply)[0]);
    },
    async all(session) {
      const reply = await client.eval(ALL, 1, keyOf(session), ttl);
      return reply === null ? { kind: 'no-session' } : { kind: 'values', values: new Map(pairs(strings(reply))) };
    },
  };
}

function asValue(value: string | undefined): StateValue {
  return value === undefined ? { kind: 'no-value' } : { kind: 'value', value };
}

/** A reply of our own scripts: a list of strings, or of one nil. */
function strings(reply: unknown): readonly (string | undefined)[] {
  if (!Array.isArray(reply)) throw new TypeError('Redis answered a state script with something that is no list');
  return reply.map((item: unknown) => (typeof item === 'string' ? item : undefined));
}

function* pairs(flat: readonly (string | undefined)[]): Generator<[string, string]> {
  for (let index = 0; index + 1 < flat.length; index += 2) yield [flat[index] ?? '', flat[index + 1] ?? ''];
}
