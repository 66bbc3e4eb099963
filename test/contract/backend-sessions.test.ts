/** What is kept of the sessions that backends hold, in memory and in Redis. */

import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type BackendSession, type BackendSessions, type Use, backendSessionOf } from '../../proxy/backend-sessions.ts';
import { REDIS, type Session, type Sessions } from '../../proxy/contract.ts';
import { type RedisConnection, connectRedis } from '../../proxy/redis/connection.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { newSeal } from '../../proxy/sessions/seal.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { until } from '../house/until.ts';

/** Seconds. */
const [ttlSeconds, maxAgeSeconds] = [100, 1_000];
const HOUR = 3_600_000;
const NOBODY: Use = { lives: new Set(), calls: new Set() };

type Made = {
  readonly sessions: Sessions;
  readonly kept: BackendSessions;
  /** Of another proxy; undefined where there can be none. */
  readonly other: BackendSessions | undefined;
  readonly pass: (ms: number) => Promise<void>;
  readonly close: () => Promise<void>;
};

let server: TestRedis;
let direct: Redis;
let connections: RedisConnection[] = [];
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.url);
}, 180_000);
afterAll(async () => {
  direct.disconnect();
  await server.close();
});

async function inMemory(): Promise<Made> {
  let at = 1_700_000_000_000;
  const { backendSessions: kept, ...sessions } = memorySessions({ ttlSeconds, maxAgeSeconds, now: () => at });
  const pass = async (ms: number) => void (at += ms);
  return { sessions, kept, other: undefined, pass, close: () => sessions.close() };
}

async function inRedis(): Promise<Made> {
  await direct.flushall();
  let at = 1_700_000_000_000;
  const open = () => {
    const redis = connectRedis({ url: server.url, record() {} });
    connections.push(redis);
    return redisSessions({ redis, ttlSeconds, maxAgeSeconds, now: () => at });
  };
  const [one, other] = [open(), open()];
  return {
    sessions: one,
    kept: one.backendSessions,
    other: other.backendSessions,
    async pass(ms) {
      at += ms;
      for (const key of await direct.keys('*')) {
        const left = await direct.pttl(key);
        if (left >= 0) await direct.pexpire(key, left - ms);
      }
    },
    async close() {
      await Promise.all([one.close(), other.close()]);
      for (const redis of connections) redis.close();
      connections = [];
    },
  };
}

const hashOf = (id: string) => createHash('sha256').update(id).digest('hex');
const hasId = ({ backendSessionId }: Session) => expect.objectContaining({ backendSessionId });

describe.each([
  ['memory', inMemory],
  ['redis', inRedis],
])('%s', (_name, make) => {
  let made: Made;
  let kept: BackendSessions;
  let sessions: Sessions;
  beforeEach(async () => {
    made = await make();
    ({ kept, sessions } = made);
  });
  afterEach(() => made.close());

  const due = (most = 10) => kept.due(['a', 'b'], most);
  const claim = (session: Session, use = NOBODY) => kept.claim(backendSessionOf(session), use);
  /** What is begun in the background has been done. */
  const settled = async () => {
    await Promise.all(connections.map(({ client }) => client.ping()));
  };
  async function opened(different: Partial<Session> = {}): Promise<Session> {
    const session = newSession(different);
    await sessions.create(session);
    await settled();
    return session;
  }

  test('who lives does not fall due, and is not claimed', async () => {
    const session = await opened();
    await made.pass(90_000);
    await sessions.find(session.id);
    await settled();
    await made.pass(90_000);
    expect(await due()).toEqual([]);
    expect(await claim(session)).toBe('lives');
    expect(await sessions.find(session.id)).toEqual(session);
  });

  test('who idles out falls due, has ended once, and is to be closed until that is done', async () => {
    const session = await opened({ path: '/mcp' });
    await made.pass(102_000);
    expect(await due()).toEqual([backendSessionOf(session)]);
    expect([await claim(session), await claim(session)]).toEqual(['expired', 'over']);
    expect(await due()).toEqual([backendSessionOf(session)]);
    expect(await sessions.find(session.id)).toBeUndefined();
    kept.putOff(backendSessionOf(session), 5_000);
    await settled();
    expect(await due()).toEqual([]);
    await made.pass(5_000);
    expect(await due()).toEqual([backendSessionOf(session)]);
    kept.closed(backendSessionOf(session));
    await settled();
    expect(await due()).toEqual([]);
  });

  test('so many of each backend at most, and of those alone that are asked for', async () => {
    for (let at = 0; at < 6; at += 1) await opened({ home: { id: at % 2 ? 'b' : 'a', origin: 'http://x' } });
    await made.pass(102_000);
    expect((await due(2)).map(({ backend }) => backend).toSorted()).toEqual(['a', 'a', 'b', 'b']);
    expect(await kept.due(['c'], 2)).toEqual([]);
    expect(await kept.due(['b'], 10)).toHaveLength(3);
  });

  test('the home that a session has left is to be closed in some minutes, its new one is not', async () => {
    const one = await opened();
    const two = migrated(one, 'b');
    await sessions.replace(one, two);
    await settled();
    for (let minute = 0; minute < 13; minute += 1) {
      await made.pass(60_000);
      await sessions.find(one.id);
    }
    await settled();
    expect(await due()).toEqual([hasId(one)]);
    expect([await claim(one), await claim(two)]).toEqual(['over', 'lives']);
  });

  test('an id that its home has replaced is nobody’s any more', async () => {
    const one = await opened();
    const two = { ...changed(one), backendSessionId: randomUUID() };
    await sessions.replace(one, two);
    await settled();
    await made.pass(102_000);
    expect(await due()).toEqual([hasId(two)]);
  });

  test('what has ended is to be closed in some minutes, unless its home has done so', async () => {
    const [told, left] = [await opened(), await opened()];
    for (const { id } of [told, left]) await sessions.end(id);
    kept.closed(backendSessionOf(told));
    await settled();
    expect(await claim(left)).toBe('over');
    await made.pass(1_000_000);
    expect(await due()).toEqual([hasId(left)]);
    expect(await claim(left)).not.toBe('lives');
  });

  test('who is too old ends, and not while calls run in the session', async () => {
    const session = await opened({ createdAt: 1_700_000_000_000 });
    const changes: string[] = [];
    sessions.onChange((id) => changes.push(id));
    for (let passed = 0; passed < 1_000_000; passed += 50_000) {
      expect(await due()).toEqual([]);
      await made.pass(50_000);
      await sessions.find(session.id);
      await settled();
    }
    expect(await due()).toEqual([hasId(session)]);
    expect(await claim(session, { ...NOBODY, calls: new Set([session.id]) })).toBe('lives');
    await settled();
    expect(await due()).toEqual([]);
    await made.pass(6_000);
    expect(await due()).toEqual([hasId(session)]);
    expect(await claim(session)).toBe('expired');
    expect(await sessions.find(session.id)).toBeUndefined();
    await until('it is told of', () => changes.includes(session.id));
  });

  test('one proxy does it', async () => {
    expect([await kept.lead(), kept.leads()]).toEqual([true, true]);
    if (made.other === undefined) return;
    expect([await made.other.lead(), made.other.leads()]).toEqual([false, false]);
    expect(await kept.lead()).toBe(true);
    kept.resign();
    await settled();
    expect(kept.leads()).toBe(false);
    expect(await made.other.lead()).toBe(true);
  });
});

describe('in Redis', () => {
  let made: Made;
  beforeEach(async () => {
    made = await inRedis();
    // What can wait is not sent before there is a connection.
    await made.sessions.find('nobody');
  });
  afterEach(() => made.close());
  const one: BackendSession = { id: 'client-id', backendSessionId: 'client-id', protocolVersion: '1', backend: 'a' };
  const members = () => direct.zrange(REDIS.backendSessions('a'), 0, '-1');

  test('what is missing, and a proxy knows to live, is not taken for over; what has ended is', async () => {
    const session = newSession();
    const use = { ...NOBODY, lives: new Set([session.id]) };
    await made.sessions.create(session);
    await direct.del(REDIS.session(hashOf(session.id)));
    expect(await made.kept.claim(backendSessionOf(session), use)).toBe('lives');
    expect(await direct.exists(REDIS.session(hashOf(session.id)))).toBe(0);
    await made.sessions.end(session.id);
    expect(await made.kept.claim(backendSessionOf(session), use)).toBe('over');
  });

  test('a claim ends what is missing for good, for an hour at most', async () => {
    const session = newSession();
    expect(await made.kept.claim(backendSessionOf(session), NOBODY)).toBe('expired');
    expect(await direct.hgetall(REDIS.session(hashOf(session.id)))).toEqual({ ended: '1' });
    expect(await direct.pttl(REDIS.session(hashOf(session.id)))).toBeLessThanOrEqual(HOUR);
  });

  test('ids are sealed, the same one once; what another password has sealed is dropped', async () => {
    for (let at = 0; at < 2; at += 1) made.kept.closeLater(one);
    await until('it is kept', async () => (await members()).length === 1);
    const [member = ''] = await members();
    expect(Buffer.from(member, 'base64url').toString('latin1')).not.toContain('client-id');
    await direct.zadd(REDIS.backendSessions('a'), 0, newSeal('other').close('["x","","",""]'), 0, 'neither');
    expect(await made.kept.due(['a'], 10)).toEqual([]);
    await until('that alone is left', async () => (await members()).length === 1);
    expect(await members()).toEqual([member]);
  });

  test('an id that is longer than most is left to its backend', async () => {
    made.kept.closeLater({ ...one, backendSessionId: 'x'.repeat(2_049) });
    made.kept.closeLater(one);
    await until('the other is kept', async () => (await members()).length > 0);
    expect(await members()).toHaveLength(1);
  });
});

test('a seal opens what it has closed, and nothing that was changed', () => {
  const seal = newSeal('secret');
  for (const text of ['', 'é', 'x'.repeat(3_000)]) expect(seal.open(seal.close(text))).toBe(text);
  const sealed = seal.close('text');
  expect(seal.open(`${sealed.slice(0, -2)}AA`)).toBeUndefined();
  expect(newSeal('other').open(sealed)).toBeUndefined();
  expect(seal.open('')).toBeUndefined();
});
