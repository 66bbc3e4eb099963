/** How many sessions each owner or client has at all proxies, in a sorted set for each in Redis. */

import { randomUUID } from 'node:crypto';
import type { Result } from 'ioredis';
import { BoundedMap } from '../bounded.ts';
import { REDIS } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { MOST_KEYS } from './rates.ts';
import { type Place, type Places, type PlacesOptions, hashOf } from './places.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    keepPlace(key: string, token: string, now: number, most: number, until: number): Result<0 | 1, Context>;
    fillPlace(key: string, token: string, session: string, ttlMs: number): Result<1, Context>;
  }
}

/** Milliseconds: an `initialize` takes no longer, or its proxy has died. */
const PLACE_LIFE = 180_000;
/** Sessions that are looked at when somebody has as many as may be; of more, so many by chance. */
const LOOKED_AT = 256;
/** Milliseconds between two such looks. */
const LOOK_EVERY = 1_000;
/** In one idle life. */
const RENEWALS = 10;
const MOST_SESSIONS = 20_000;
/** Begins what is kept before there is a session. */
const KEPT = 'kept:';

/** ARGV: token, now, most, when the place expires. → 0 where there is none. May be sent again. */
const KEEP = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 1 end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
if redis.call('PTTL', KEYS[1]) < ${PLACE_LIFE} then redis.call('PEXPIRE', KEYS[1], ${PLACE_LIFE}) end
return 1`;

/** ARGV: token, hash of the session, idle life in ms. */
const FILL = `
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], '+inf', ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`;

/**
 * Sessions have no end there, as their lives go on: whether they live still is looked at when somebody has as many as may
 * be. So sessions that expire, or end in any way, free their places, and a place that a dead proxy has kept expires. Where
 * Redis cannot be asked, nobody is refused.
 */
export function redisPlaces(redis: RedisConnection, what: string, options: PlacesOptions): Places {
  const { client } = redis;
  const { ttlMs, now } = options;
  client.defineCommand('keepPlace', { numberOfKeys: 1, lua: KEEP });
  client.defineCommand('fillPlace', { numberOfKeys: 1, lua: FILL });
  const keyOf = (who: string): string => REDIS.limit(what, hashOf(who));
  const renewAt = new BoundedMap<number>(MOST_SESSIONS);
  /** Now and then; again at the next use where that fails. */
  function renew(name: string, command: () => Promise<unknown>): void {
    const at = now();
    if ((renewAt.get(name) ?? 0) > at) return;
    renewAt.set(name, at + ttlMs / RENEWALS);
    command().catch(() => void renewAt.delete(name));
  }
  const { keep, look } = newKeeping(redis, options);

  return {
    async keep(who) {
      const key = keyOf(who);
      try {
        const token = KEPT + randomUUID();
        if (!(await keep(key, token)) && !((await look(key)) && (await keep(key, token)))) return undefined;
        return placeOf(redis, key, token, ttlMs);
      } catch {
        // The circuit has said so; and no session is opened without the registry.
        return NO_PLACE;
      }
    },
    has(who, session) {
      renew(hashOf(`${who} ${session}`), () => client.fillPlace(keyOf(who), KEPT, hashOf(session), ttlMs));
    },
    used(_session, who) {
      if (who !== undefined) renew(who, () => client.pexpire(keyOf(who), ttlMs));
    },
    ended(session, who) {
      if (who === undefined) return;
      renewAt.delete(hashOf(`${who} ${session}`));
      bestEffort(client.zrem(keyOf(who), hashOf(session)));
    },
  };
}

const NO_PLACE: Place = { fill() {}, giveBack() {} };

function newKeeping({ client, circuit }: RedisConnection, { most, now }: PlacesOptions) {
  const looks = new BoundedMap<{ readonly at: number; readonly freed: Promise<boolean> }>(MOST_KEYS);

  async function keep(key: string, token: string): Promise<boolean> {
    const at = now();
    return (await circuit.run('keep', () => client.keepPlace(key, token, at, most, at + PLACE_LIFE))) === 1;
  }
  async function isThere(hash: string): Promise<boolean> {
    return hash.startsWith(KEPT) || (await client.hexists(REDIS.session(hash), 'record')) === 1;
  }
  function free(key: string): Promise<boolean> {
    return circuit.run('look', async () => {
      const hashes = await client.zrandmember(key, LOOKED_AT);
      const there = await Promise.all(hashes.map(isThere));
      const gone = hashes.filter((_, nth) => there[nth] === false);
      return gone.length > 0 && (await client.zrem(key, ...gone)) > 0;
    });
  }
  /** Whether a place was freed, as a session there is none any more: looked at once a second. */
  async function look(key: string): Promise<boolean> {
    const at = now();
    const last = looks.get(key);
    if (last !== undefined && at - last.at < LOOK_EVERY) return last.freed;
    const freed = free(key);
    looks.set(key, { at, freed });
    return freed;
  }
  return { keep, look };
}

function placeOf({ client }: RedisConnection, key: string, token: string, ttlMs: number): Place {
  let kept = true;
  const once = (leave: () => Promise<unknown>): void => {
    if (kept) bestEffort(leave());
    kept = false;
  };
  return {
    fill: (session) => once(() => client.fillPlace(key, token, hashOf(session), ttlMs)),
    giveBack: () => once(() => client.zrem(key, token)),
  };
}

function bestEffort(command: Promise<unknown>): void {
  command.catch(() => {});
}
