/** What goes on in sessions at every proxy, in Redis: entries that die with their proxy, and a claim that shuts them out. */

import { hash as digest, randomUUID } from 'node:crypto';
import type { Result } from 'ioredis';
import { REDIS, type Activity } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { type Insisting, newInsisting } from './insist.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    enterSession(busy: string, claim: string, what: string, now: number, lifeMs: number): Result<0 | 1, Context>;
    renewEntry(busy: string, what: string, now: number, lifeMs: number): Result<0 | 1, Context>;
    claimSession(busy: string, claim: string, token: string, now: number, lifeMs: number): Result<0 | 1, Context>;
    releaseSession(claim: string, token: string): Result<0 | 1, Context>;
  }
}

/** Milliseconds. An entry of a proxy that has died counts for so long; those of the living are renewed in time. */
const ENTRY_LIFE = 60_000;
const RENEW_EVERY = 20_000;
/** Milliseconds: longer than a migration takes. */
const CLAIM_LIFE = 30_000;

/** ARGV: what, now, life in ms. → 0 while the session is claimed. May be sent again. */
const ENTER = `
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2] + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** ARGV: what, now, life in ms. → 0 when another proxy has taken it out: an answer comes through any. */
const RENEW = `
if redis.call('ZADD', KEYS[1], 'XX', 'CH', ARGV[2] + ARGV[3], ARGV[1]) == 0 then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1`;

/** ARGV: token, now, life in ms. → 1 when nothing goes on, or it was claimed by this very call before. */
const CLAIM = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
if redis.call('ZCARD', KEYS[1]) > 0 then return 0 end
local there = redis.call('GET', KEYS[2])
if there then return there == ARGV[1] and 1 or 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return 1`;

/** ARGV: token. */
const RELEASE = `
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`;

type Entry = { readonly session: string; readonly what: string };

export type ActivityOptions = {
  /** Milliseconds since 1970; `Date.now` by default. */
  readonly now?: () => number;
  /** Milliseconds; 20,000 by default. */
  readonly renewEveryMs?: number;
};

export function redisActivity({ client, circuit }: RedisConnection, options: ActivityOptions = {}): Activity {
  const { now = Date.now, renewEveryMs = RENEW_EVERY } = options;
  defineCommands(client);
  const entries = new Map<string, Entry>();
  const insisting = newInsisting(ENTRY_LIFE, now);
  const nameOf = ({ session, what }: Entry): string => `${session} ${what}`;

  async function enter(entry: Entry): Promise<'entered' | 'moving'> {
    const hash = digest('sha256', entry.session);
    const entered = await circuit.run('enter', () =>
      client.enterSession(REDIS.busy(hash), REDIS.claim(hash), entry.what, now(), ENTRY_LIFE),
    );
    if (entered === 0) return 'moving';
    entries.set(nameOf(entry), entry);
    return 'entered';
  }
  async function renew(entry: Entry): Promise<void> {
    const key = REDIS.busy(digest('sha256', entry.session));
    const renewed = await circuit.run('renew', () => client.renewEntry(key, entry.what, now(), ENTRY_LIFE));
    if (renewed === 0) entries.delete(nameOf(entry));
  }
  const renewing = setInterval(() => {
    // Where it cannot be done now, the next round may; the entry lives long enough for two.
    for (const entry of entries.values()) renew(entry).catch(() => {});
  }, renewEveryMs).unref();

  return {
    async enter(session, what) {
      const entry = { session, what };
      insisting.forget(nameOf(entry));
      try {
        return await enter(entry);
      } catch (error) {
        void insisting.say(nameOf(entry), () => enter(entry));
        throw error;
      }
    },
    leave(session, what) {
      const name = nameOf({ session, what });
      const key = REDIS.busy(digest('sha256', session));
      entries.delete(name);
      return insisting.say(name, async () => {
        await circuit.run('leave', () => client.zrem(key, what));
        entries.delete(name);
      });
    },
    claim: claiming({ client, circuit }, insisting, now),
    close() {
      clearInterval(renewing);
      insisting.close();
    },
  };
}

function claiming(
  { client, circuit }: Pick<RedisConnection, 'client' | 'circuit'>,
  insisting: Insisting,
  now: () => number,
): Activity['claim'] {
  return async (session) => {
    const token = randomUUID();
    const hash = digest('sha256', session);
    const key = REDIS.claim(hash);
    const release = () => insisting.say(token, () => circuit.run('release', () => client.releaseSession(key, token)));
    try {
      const claimed = await circuit.run('claim', () =>
        client.claimSession(REDIS.busy(hash), key, token, now(), CLAIM_LIFE),
      );
      return claimed === 0 ? undefined : release;
    } catch (error) {
      void release();
      throw error;
    }
  };
}

function defineCommands(client: RedisConnection['client']): void {
  client.defineCommand('enterSession', { numberOfKeys: 2, lua: ENTER });
  client.defineCommand('renewEntry', { numberOfKeys: 1, lua: RENEW });
  client.defineCommand('claimSession', { numberOfKeys: 2, lua: CLAIM });
  client.defineCommand('releaseSession', { numberOfKeys: 1, lua: RELEASE });
}
