/** The sessions that backends hold, in sorted sets beside the registry: by when to see whether each is to be closed. */

import type { Result } from 'ioredis';
import { type BackendSession, type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import { REDIS, type Session } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import { hashOf } from './changes.ts';
import { endedMs } from './endings.ts';
import type { Held } from './held.ts';
import { readRecord } from './record.ts';
import { CLAIM, LEAD } from './scripts.ts';
import { type Seal, newSeal } from './seal.ts';

declare module 'ioredis' {
  interface RedisCommander<Context> {
    claimEnded(key: string, endedMs: number, known: 0 | 1): Result<[number, string], Context>;
    leadSweep(key: string, proxy: string, lifeMs: number): Result<0 | 1, Context>;
  }
}

export type RedisBackendSessions = BackendSessions & {
  /** Its home holds it until its idle life is over, or it is too old. Returns before that is stored, and never throws. */
  keep(session: Session): void;
  /** The session has another home, or its home another id for it. */
  moved(from: Session, to: Session): void;
};

export type RedisBackendSessionsOptions = {
  readonly redis: Pick<RedisConnection, 'client' | 'circuit' | 'self' | 'secret'>;
  readonly held: Pick<Held, 'remove'>;
  /** Idle life of a session. */
  readonly ttlMs: number;
  /** Infinity: none is too old. */
  readonly maxAgeMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

/** Milliseconds. Whoever closes one tries for ten minutes, from a minute after a crash on. */
const LATER = 720_000;
/** Milliseconds for which what a backend holds is kept while nobody falls due, or it is not there. */
const KEPT = 86_400_000;
/** Milliseconds: the registry forgets a session first, and its clock is another. */
const SLACK = 1_000;
/** Milliseconds after which a session that is too old is looked at again, as calls run in it. */
const BUSY = 5_000;
/** Milliseconds that a proxy closes them for all without saying so again. */
const LEADS = 15_000;
/** Characters. Longer ids are left to their backends. */
const LONGEST_ID = 2_048;

/** Members are sealed, since a session that has not migrated goes by the client's id. */
export function redisBackendSessions(options: RedisBackendSessionsOptions): RedisBackendSessions {
  const { redis, ttlMs, maxAgeMs, now } = options;
  const { client, circuit, self, secret } = redis;
  client.defineCommand('claimEnded', { numberOfKeys: 1, lua: CLAIM });
  client.defineCommand('leadSweep', { numberOfKeys: 1, lua: LEAD });
  const seal = newSeal(secret);
  let ledUntil = -Infinity;

  function set(one: BackendSession, at: number): void {
    const member = writeMember(seal, one);
    if (member === undefined) return;
    const key = REDIS.backendSessions(one.backend);
    bestEffort(client.zadd(key, at, member), client.pexpire(key, ttlMs + KEPT));
  }
  function closed(one: BackendSession): void {
    const member = writeMember(seal, one);
    if (member !== undefined) bestEffort(client.zrem(REDIS.backendSessions(one.backend), member));
  }
  const closeLater = (one: BackendSession): void => set(one, now() + LATER);

  async function dueAt(backend: string, most: number): Promise<readonly BackendSession[]> {
    const key = REDIS.backendSessions(backend);
    const members = await client.zrangebyscore(key, '-inf', now(), 'LIMIT', 0, most);
    const read = members.map((member) => readMember(seal, backend, member));
    const unreadable = members.filter((_, at) => read[at] === undefined);
    if (unreadable.length > 0) bestEffort(client.zrem(key, ...unreadable));
    return read.flatMap((one) => one ?? []);
  }

  return {
    keep: (session) => set(backendSessionOf(session), Math.min(now() + ttlMs + SLACK, session.createdAt + maxAgeMs)),
    moved(from, to) {
      if (from.backendSessionId === to.backendSessionId && from.home.id === to.home.id) return;
      // The home knows it by another id from now on.
      if (from.epoch === to.epoch) closed(backendSessionOf(from));
      else closeLater(backendSessionOf(from));
    },
    closeLater,
    closed,
    async due(backends, most) {
      const all = await circuit.run('due', () => Promise.all(backends.map((backend) => dueAt(backend, most))));
      return all.flat();
    },
    claim: newClaim(options, (one, ms) => set(one, now() + ms)),
    putOff: (one, ms) => set(one, now() + ms),
    async lead() {
      const from = performance.now();
      const led = (await circuit.run('lead', () => client.leadSweep(REDIS.sweeper, self, LEADS))) === 1;
      ledUntil = led ? from + LEADS / 2 : -Infinity;
      return led;
    },
    leads: () => performance.now() < ledUntil,
    resign() {
      if (ledUntil > -Infinity) bestEffort(client.leadSweep(REDIS.sweeper, self, 0));
      ledUntil = -Infinity;
    },
  };
}

/** The registry itself says, in one step, that the session has ended and stays so: whatever two proxies do, none that lives is closed. */
function newClaim(
  { redis: { client, circuit }, held, ttlMs, maxAgeMs, now }: RedisBackendSessionsOptions,
  putOff: BackendSessions['putOff'],
): BackendSessions['claim'] {
  return async (one, use) => {
    const hash = hashOf(one.id);
    const key = REDIS.session(hash);
    const known = use.lives.has(one.id) ? 1 : 0;
    const [left, said] = await circuit.run('claim', () => client.claimEnded(key, endedMs(ttlMs), known));
    if (left < 0 && said !== 'known') return said === 'expired' ? 'expired' : 'over';
    const session = readRecord(one.id, said);
    if (session === undefined) {
      // It will be in the registry again; or this version cannot read it.
      putOff(one, Math.max(left, BUSY));
      return 'lives';
    }
    const { backendSessionId, home, createdAt } = session;
    if (backendSessionId !== one.backendSessionId || home.id !== one.backend) return 'over';
    const tooOldIn = createdAt + maxAgeMs - now();
    if (tooOldIn > 0 || use.calls.has(one.id)) {
      putOff(one, tooOldIn > 0 ? Math.min(left + SLACK, tooOldIn) : BUSY);
      return 'lives';
    }
    // As from another proxy: this one must hear of it too.
    await circuit.run('end', () => client.endSession(key, endedMs(ttlMs), REDIS.changes, `sweep ${hash}`));
    held.remove(home.id, hash);
    return 'expired';
  };
}

function writeMember(seal: Seal, one: BackendSession): string | undefined {
  const { id, backendSessionId, protocolVersion, path } = one;
  if (Math.max(id.length, backendSessionId.length) > LONGEST_ID) return undefined;
  // The client's id is not said twice.
  return seal.close(JSON.stringify([backendSessionId, id === backendSessionId ? '' : id, protocolVersion, path ?? '']));
}

function readMember(seal: Seal, backend: string, member: string): BackendSession | undefined {
  const text = seal.open(member);
  const said: unknown = text === undefined ? undefined : JSON.parse(text);
  if (!Array.isArray(said) || !said.every((part) => typeof part === 'string')) return undefined;
  const [backendSessionId = '', id = '', protocolVersion = '', path = ''] = said;
  return { backend, backendSessionId, id: id || backendSessionId, protocolVersion, ...(path !== '' && { path }) };
}

function bestEffort(...commands: readonly Promise<unknown>[]): void {
  Promise.all(commands).catch(() => {});
}
