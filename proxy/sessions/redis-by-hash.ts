/** The sessions in Redis by hash: a look at their keys, and the sorted sets beside them as an index. */

import { type BackendSessions, backendSessionOf } from '../backend-sessions.ts';
import { REDIS } from '../contract.ts';
import type { RedisConnection } from '../redis/connection.ts';
import {
  type Cursor,
  type PageOptions,
  type SeenSession,
  type SessionsByHash,
  type SessionsPage,
  isAfter,
  seen,
  writeCursor,
} from './by-hash.ts';
import type { Changes } from './changes.ts';
import { endedMs } from './endings.ts';
import type { Held } from './held.ts';
import { readRecord } from './record.ts';

export type RedisByHashOptions = {
  readonly client: RedisConnection['client'];
  readonly circuit: RedisConnection['circuit'];
  readonly changes: Changes;
  readonly held: Held;
  readonly backendSessions: Pick<BackendSessions, 'closeLater'>;
  /** Idle life of a session. */
  readonly ttlMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

type Indexed = Omit<Cursor, 'backend'>;

/** The index is advisory: what it names is shown as it is, where it is, if it is there. */
export function redisByHash(options: RedisByHashOptions): SessionsByHash {
  const { client, circuit, changes, held, backendSessions, ttlMs, now } = options;
  async function look(hash: string): Promise<SeenSession | undefined> {
    const text = await client.hget(REDIS.session(hash), 'record');
    return text === null ? undefined : toSeen(hash, text);
  }
  /** One more than is wanted is asked for, so that the last page is known to be the last. */
  async function indexed(backend: string, after: Cursor | undefined, count: number): Promise<readonly Indexed[]> {
    const from = Math.max(now(), after?.until ?? 0);
    const found: Indexed[] = [];
    for (let offset = 0; found.length < count; offset += count) {
      const flat = await client.zrangebyscore(REDIS.held(backend), from, '+inf', 'WITHSCORES', 'LIMIT', offset, count);
      const batch = Array.from({ length: flat.length / 2 }, (_, at) => ({
        hash: flat[2 * at] ?? '',
        until: Number(flat[2 * at + 1]),
      }));
      // Sessions of one millisecond are in the order of their hashes, as Redis sorts them.
      found.push(...batch.filter((one) => after === undefined || isAfter(after, one)));
      if (batch.length < count) break;
    }
    return found.slice(0, count);
  }
  async function page({ backend, limit, after }: PageOptions): Promise<SessionsPage> {
    const all = backend === undefined ? await client.zrange(REDIS.backends, 0, '-1') : [backend];
    const homes = all.filter((one) => after === undefined || one >= after.backend).toSorted();
    const found: (Cursor & { readonly session: SeenSession | undefined })[] = [];
    for (const home of homes) {
      const more = await indexed(home, after?.backend === home ? after : undefined, limit + 1 - found.length);
      const sessions = await Promise.all(more.map(({ hash }) => look(hash)));
      found.push(...more.map(({ hash, until }, at) => ({ hash, until, backend: home, session: sessions[at] })));
      if (found.length > limit) break;
    }
    const shown = found.slice(0, limit);
    const last = found.length > limit ? shown.at(-1) : undefined;
    return {
      // One that has migrated comes with its new home.
      sessions: shown.flatMap(({ session, backend: home }) => (session?.home.id === home ? [session] : [])),
      next: last && writeCursor(last),
    };
  }

  return {
    find: (hash) => circuit.run('look', () => look(hash)),
    page: (wanted) => circuit.run('page', () => page(wanted)),
    count: () => circuit.run('look', () => held.countNow()),
    async end(hash) {
      // As from another proxy: this one must hear of it too.
      const message = `operator ${hash}`;
      // Its end may be heard, and the id forgotten, before Redis answers.
      const id = changes.idOf(hash);
      const key = REDIS.session(hash);
      const text = await circuit.run('end', () => client.endSession(key, endedMs(ttlMs), REDIS.changes, message));
      const ended = text === null ? undefined : toSeen(hash, text);
      if (text === null || ended === undefined) return undefined;
      held.remove(ended.home.id, hash);
      const session = id === undefined ? undefined : readRecord(id, text);
      if (session) backendSessions.closeLater(backendSessionOf(session));
      return { seen: ended, session };
    },
  };
}

/** Undefined when this version cannot read it. */
function toSeen(hash: string, text: string): SeenSession | undefined {
  const session = readRecord('', text);
  return session && seen(hash, session);
}
