/** The registry in Redis behind TLS and a user of few rights, behind sentinels, and in a cluster, against the contract. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { redisActivity } from '../../proxy/activity/redis.ts';
import { redisMarks } from '../../proxy/backends/shared-marks.ts';
import { REDIS } from '../../proxy/contract.ts';
import { redisPeers } from '../../proxy/peers/redis.ts';
import { type RedisConnection, connectRedis } from '../../proxy/redis/connection.ts';
import { cachedSessions } from '../../proxy/sessions/cached.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { type ClusterRedis, startClusterRedis } from '../house/redis/cluster.ts';
import { type SentinelRedis, startSentinelRedis } from '../house/redis/sentinel.ts';
import { type TlsRedis, startTlsRedis } from '../house/redis/tls.ts';
import { until } from '../house/until.ts';
import { type Registry, sessionsContract } from './sessions.ts';

const ttlSeconds = 100;
const INSTALL = 180_000;

let tls: TlsRedis;
let sentinel: SentinelRedis;
let cluster: ClusterRedis;
beforeAll(async () => {
  [tls, sentinel, cluster] = await Promise.all([startTlsRedis(), startSentinelRedis(), startClusterRedis()]);
  setDefaultCACertificates([...getCACertificates('default'), readFileSync(tls.authority, 'utf8')]);
}, INSTALL);
afterAll(async () => {
  await Promise.all([tls.close(), sentinel.close(), cluster.close()]);
});

const KINDS: readonly (readonly [string, () => { readonly url: string }])[] = [
  ['TLS and a user', () => tls],
  ['sentinels', () => sentinel],
  ['a cluster', () => cluster],
];
const connect = (url: string) => connectRedis({ url: url.split(/,(?=redis)/), record: () => {} });

for (const [name, kind] of KINDS) {
  sessionsContract(`cached redis, ${name}`, { make: () => overRedis(kind().url) });

  describe(`what goes on, ${name}`, () => {
    test('a script of two keys has them in one slot', async () => {
      const redis = connect(kind().url);
      const activity = redisActivity(redis);
      const session = `busy ${name}`;
      expect(await activity.enter(session, 'x')).toBe('entered');
      expect(await activity.claim(session)).toBeUndefined();
      await activity.leave(session, 'x');
      const release = await activity.claim(session);
      expect(await activity.enter(session, 'x')).toBe('moving');
      await release?.();
      activity.close();
      redis.close();
    });

    test('proxies ask each other', async () => {
      const [one, other] = [0, 1].map(() => connect(kind().url));
      const peers = [one, other].map((redis) => redisPeers(redis!, { record: () => {} }));
      peers[1]!.on('name', () => ({ name: 'other' }));
      const ask = () => peers[0]!.ask('name', {}, { ms: 1_000 });
      const said = await until('the other is there', async () => {
        const { answers, complete } = await ask();
        return complete && answers.length > 0 && answers;
      });
      expect(said).toEqual([{ name: 'other' }]);
      peers[1]!.close();
      other!.close();
      // Its goodbye may not have got out before its connection was closed.
      const left = await until('it is known to have left', async () => {
        const asked = await ask();
        return asked.complete && asked.answers.length === 0 && asked;
      });
      expect(left).toEqual({ answers: [], complete: true });
      peers[0]!.close();
      one!.close();
    });

    test('marks reach the other proxies', async () => {
      const [one, other] = [0, 1].map(() => connect(kind().url));
      const marks = [one, other].map((redis) => redisMarks(redis!, REDIS.drains));
      await marks[0]!.set('a');
      expect(await until('the other knows', () => marks[1]!.list().has('a'))).toBe(true);
      for (const mark of marks) mark.close();
      for (const redis of [one, other]) redis!.close();
    });
  });
}

async function overRedis(url: string): Promise<Registry> {
  const connections: RedisConnection[] = [];
  let passed = 0;
  const now = () => Date.now() + passed;
  const make = async () => {
    const redis = connect(url);
    connections.push(redis);
    const store = redisSessions({ redis, ttlSeconds, now });
    const dressed = cachedSessions(store, { ttlSeconds, now, countEveryMs: 0 });
    await new Promise<void>((resolve) => {
      store.onLink((linked) => linked && resolve());
    });
    return dressed;
  };
  const [sessions, other] = await Promise.all([make(), make()]);
  const { client } = connections[0]!;
  const counted = await client.zrange(REDIS.backends, 0, '-1');
  await Promise.all([...counted.map((id) => client.del(REDIS.held(id))), client.del(REDIS.backends)]);
  return {
    sessions,
    other,
    async age(id, seconds) {
      const key = REDIS.session(createHash('sha256').update(id).digest('hex'));
      await client.pexpire(key, (await client.pttl(key)) - seconds * 1_000);
      passed += seconds * 1_000;
    },
    async close() {
      await Promise.all([sessions.close(), other.close()]);
      for (const redis of connections) redis.close();
    },
  };
}
