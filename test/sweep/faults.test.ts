/** The story of a planned drain, once for each of its I/O calls: with that one call failing, nothing hangs or lies. */

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Sessions } from '../../proxy/contract.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { redisSessions } from '../../proxy/sessions/redis.ts';
import { Fault, type How, relayRedis } from '../house/faults.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { type Stage, tellDrain } from '../house/drain-story.ts';

let servers: TestServers;
let redis: TestRedis;
let shared: Sessions;
let closeShared: () => Promise<void>;
beforeAll(async () => {
  [servers, redis] = await Promise.all([startServers(['a', 'b']), startRedis()]);
  const connection = connectRedis({ url: redis.url, record() {} });
  const registry = redisSessions({ redis: connection, ttlSeconds: 600 });
  shared = registry;
  closeShared = async () => {
    await registry.close();
    connection.close();
  };
});
afterAll(async () => {
  await closeShared();
  await Promise.all([servers.close(), redis.close()]);
});

/** Stories that are told at once. */
const AT_ONCE = 16;

async function each<T, R>(all: readonly T[], tell: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const left = [...all.entries()];
  const tellOn = async (): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) results[next[0]] = await tell(next[1]);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, tellOn));
  return results;
}

/** Every call, and one that does not come, in each of these ways. */
function faultsOf(calls: number, ways: readonly How[]): readonly Fault[] {
  return Array.from({ length: calls + 1 }, (_, at) => ways.map((how) => new Fault(at + 1, how))).flat();
}

/** What went wrong in which story; empty when all went well. */
async function sweep(faults: readonly Fault[], tell: (fault: Fault) => Promise<readonly string[]>) {
  const wrongs = await each(faults, async (fault) => {
    const wrong = await tell(fault);
    return wrong.length === 0 ? [] : [`${fault.at} ${fault.how} (${fault.hit ?? 'not hit'}): ${wrong.join('; ')}`];
  });
  expect(faults.filter(({ hit }) => hit !== undefined).length).toBeGreaterThan(faults.length / 2);
  return wrongs.flat();
}

const stage = (more: Omit<Stage, 'servers' | 'key'>): Stage => ({
  servers,
  key: randomUUID(),
  ...more,
});

describe.each([true, false])('a call to a backend fails, of a session that listens: %s', (listens) => {
  const tell = (fault: Fault) => {
    const sessions = memorySessions({ ttlSeconds: 600 });
    return tellDrain(stage({ sessions, backends: fault, flags: [], given: { sessions }, listens }));
  };

  test('each in each way', { timeout: 180_000 }, async () => {
    const none = new Fault();
    expect(await tell(none)).toEqual([]);
    expect(none.calls.length).toBeGreaterThan(8);
    const ways = ['before', 'half', 'unanswered', 'in the head', 'after the head'] as const;
    expect(await sweep(faultsOf(none.calls.length, ways), tell)).toEqual([]);
  });
});

describe('a command to Redis fails', () => {
  const tell = async (fault: Fault) => {
    const relay = await relayRedis(redis.port, fault);
    const flags = ['--redis', `redis://127.0.0.1:${relay.port}`];
    try {
      return await tellDrain(stage({ sessions: shared, backends: new Fault(), flags, given: {}, listens: true }));
    } finally {
      await relay.close();
    }
  };

  test('each, before and after it was carried out', { timeout: 180_000 }, async () => {
    const none = new Fault();
    expect(await tell(none)).toEqual([]);
    expect(none.calls.length).toBeGreaterThan(8);
    expect(await sweep(faultsOf(none.calls.length, ['before', 'unanswered']), tell)).toEqual([]);
  });
});
