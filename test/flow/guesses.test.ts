/** Guesses of session ids: few are looked for, the registry hears of no other, and sessions that are known go on. */

import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { REDIS } from '../../proxy/contract.ts';
import { type RawAnswer, rawPost } from '../house/by-hand.ts';
import { type TestProxy, startProxy } from '../house/flow.ts';
import { type Plain, sayJson, startPlain } from '../house/plain.ts';
import { startRedis, untilPeers } from '../house/redis.ts';
import { until } from '../house/until.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

type Scene = {
  readonly a: Plain;
  readonly proxies: readonly TestProxy[];
  /** Resolves with the commands that named the session so far. */
  readonly commands: (id: string) => Promise<number>;
};

async function begin(count: number, flags: readonly string[], registry = true): Promise<Scene> {
  const a = await startPlain('a');
  const redis = await startRedis();
  undo.push(
    () => a.close(),
    () => redis.close(),
  );
  const proxies: TestProxy[] = [];
  for (let nth = 0; nth < count; nth += 1) {
    const shared = registry ? ['--redis', redis.url] : [];
    const proxy = await startProxy([a.origin], ['--trust-proxy', '1', ...shared, ...flags]);
    undo.push(() => proxy.stop());
    proxies.push(proxy);
  }
  if (registry) await untilPeers(redis, count);
  const direct = new Redis(redis.url);
  const monitor = await direct.monitor();
  const seen: string[] = [];
  monitor.on('monitor', (_time: string, parts: readonly string[]) => seen.push(parts.join(' ')));
  undo.push(async () => [direct, monitor].forEach((client) => client.disconnect()));
  const commands = async (id: string): Promise<number> => {
    const mark = `mark ${Math.random()}`;
    await direct.echo(mark);
    await until('all is seen', () => seen.some((text) => text.includes(mark)));
    const key = REDIS.session(createHash('sha256').update(id).digest('hex'));
    return seen.filter((text) => text.includes(key)).length;
  };
  return { a, proxies, commands };
}

type Fields = Readonly<Record<string, string>>;
const from = (address: string): Fields => ({ 'x-forwarded-for': address });
const bearer = (name: string): Fields => {
  const claims = Buffer.from(JSON.stringify({ iss: 'https://issuer', sub: name })).toString('base64url');
  return { authorization: `Bearer e30.${claims}.x` };
};
const PARAMS = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };
const opening = ({ proxies }: Scene, at: number, fields: Fields): Promise<RawAnswer> =>
  rawPost(proxies[at]!.url, { id: 7, method: 'initialize', params: PARAMS }, fields);
const open = async (scene: Scene, at: number, fields: Fields = {}): Promise<string> =>
  (await opening(scene, at, fields)).headers.get('mcp-session-id') ?? '';
const ping = ({ proxies }: Scene, at: number, id: string, fields: Fields): Promise<RawAnswer> =>
  rawPost(proxies[at % proxies.length]!.url, { id: 7, method: 'ping' }, { ...fields, 'mcp-session-id': id });

/** Of ids that nobody has, one after the other, at one proxy. */
async function guess(scene: Scene, at: number, times: number, fields: Fields): Promise<readonly number[]> {
  const statuses: number[] = [];
  for (let nth = 0; nth < times; nth += 1)
    statuses.push((await ping(scene, at, `guess-${Math.random()}`, fields)).status);
  return statuses;
}
const attacker = from('10.6.6.6');
const BEYOND = {
  jsonrpc: '2.0',
  id: 7,
  error: {
    code: -32_000,
    message: 'Too many requests: your address has asked for too many unknown sessions, try again',
  },
};

test('20 a second by default', async () => {
  const scene = await begin(1, []);
  const start = performance.now();
  const all = await Promise.all(Array.from({ length: 100 }, (_, nth) => ping(scene, 0, `guess-${nth}`, attacker)));
  const seconds = (performance.now() - start) / 1_000;
  const answered = all.filter(({ status }) => status === 404).length;
  expect(answered).toBeGreaterThanOrEqual(20);
  expect(answered).toBeLessThanOrEqual(21 + 20 * seconds);
  const refused = all.filter(({ status }) => status === 429);
  expect(refused).toHaveLength(100 - answered);
  expect(refused[0]?.message).toEqual(BEYOND);
  expect(refused[0]?.headers.get('retry-after')).toBe('1');
});

describe.each([
  [1, 'memory'],
  [1, 'redis'],
  [2, 'redis'],
])('%i proxies, %s', (count, registry) => {
  const last = count - 1;
  const start = (flags: readonly string[]): Promise<Scene> => begin(count, flags, registry === 'redis');

  test('beyond: 429, without a command; others are answered, and known sessions go on from there too', async () => {
    const scene = await start(['--guess-rate', '5/min']);
    // At the last proxy nobody has asked for the second one yet.
    const ids = [await open(scene, last), await open(scene, 0)];
    expect(await guess(scene, last, 7, attacker)).toEqual([404, 404, 404, 404, 404, 429, 429]);
    const answer = await ping(scene, last, 'another', attacker);
    expect([answer.status, answer.message]).toEqual([429, BEYOND]);
    expect(await scene.commands('another')).toBe(0);
    expect((await ping(scene, last, 'another', from('10.0.0.1'))).status).toBe(404);
    for (const id of ids) expect((await ping(scene, last, id, attacker)).status).toBe(200);
    expect(await guess(scene, last, 1, attacker)).toEqual([429]);
    const limits = scene.proxies.flatMap(({ events }) => events.filter(({ type }) => type === 'limited'));
    expect(limits).toEqual(Array.from({ length: 4 }, () => ({ type: 'limited', limit: 'guesses' })));
  });

  test('an id that was unknown a moment ago is not looked for again, and is no further guess', async () => {
    const scene = await start(['--guess-rate', '2/min']);
    const began = performance.now();
    const statuses = [(await ping(scene, last, 'stale', attacker)).status];
    const first = await scene.commands('stale');
    for (let nth = 0; nth < 4; nth += 1) statuses.push((await ping(scene, last, 'stale', attacker)).status);
    // It is for a second.
    if (performance.now() - began > 900) return;
    expect(statuses).toEqual([404, 404, 404, 404, 404]);
    expect(first > 0).toBe(registry === 'redis');
    expect(await scene.commands('stale')).toBe(first);
    expect(await guess(scene, last, 2, attacker)).toEqual([404, 429]);
  });

  test('a session that is opened under an id which was unknown is found at once, at every proxy', async () => {
    const scene = await start([]);
    scene.a.before = ({ what, id, response }) => {
      if (what !== 'initialize') return false;
      scene.a.sessions.set('chosen', 0);
      response.setHeader('mcp-session-id', 'chosen');
      sayJson(response, 200, { id, result: { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: {} } });
      return true;
    };
    for (let at = 0; at < count; at += 1) expect((await ping(scene, at, 'chosen', {})).status).toBe(404);
    expect(await open(scene, 0)).toBe('chosen');
    for (let at = 0; at < count; at += 1) {
      await until('it is found', async () => (await ping(scene, at, 'chosen', {})).status === 200, 700);
    }
  });

  describe('somebody else’s session cannot be told from an unknown id', () => {
    const mallory = (nth: number): Fields => ({ ...bearer('mallory'), ...from(`10.6.6.${nth}`) });
    /** What mallory sees of each, from an address of his own. */
    async function compared(scene: Scene, look: (id: string, fields: Fields) => Promise<unknown>): Promise<unknown> {
      const id = await open(scene, 0, bearer('alice'));
      const [theirs, nobodys] = [await look(id, mallory(1)), await look('nobody-has-it', mallory(2))];
      expect(theirs).toEqual(nobodys);
      expect((await ping(scene, last, id, bearer('alice'))).status).toBe(200);
      return theirs;
    }
    const saw = async (answer: Promise<RawAnswer>): Promise<unknown> => {
      const { status, headers, message } = await answer;
      return [status, headers.get('retry-after'), message];
    };

    test('as one of the guesses', async () => {
      const scene = await start(['--guess-rate', '3/min']);
      const theirs = await compared(scene, async (id, fields) => [
        (await ping(scene, last, id, fields)).status,
        await guess(scene, last, 3, fields),
      ]);
      expect(theirs).toEqual([404, [404, 404, 429]]);
    });

    test('when there may be no further guess', async () => {
      const scene = await start(['--guess-rate', '3/min']);
      const theirs = await compared(scene, async (id, fields) => [
        await guess(scene, last, 3, fields),
        await saw(ping(scene, last, id, fields)),
      ]);
      expect(theirs).toEqual([
        [404, 404, 404],
        [429, expect.any(String), BEYOND],
      ]);
    });

    test('named by an `initialize`', async () => {
      const scene = await start(['--guess-rate', '3/min']);
      const theirs = await compared(scene, async (id, fields) => [
        (await opening(scene, last, { ...fields, 'mcp-session-id': id })).status,
        await guess(scene, last, 3, fields),
        (await opening(scene, last, { ...fields, 'mcp-session-id': id })).status,
      ]);
      expect(theirs).toEqual([200, [404, 404, 429], 200]);
    });

    test('asked for again and again: no further command', async () => {
      const scene = await start([]);
      const began = performance.now();
      const theirs = await compared(scene, async (id, fields) => {
        await ping(scene, last, id, fields);
        const before = await scene.commands(id);
        const statuses: number[] = [];
        for (let nth = 0; nth < 5; nth += 1) statuses.push((await ping(scene, last, id, fields)).status);
        const further = (await scene.commands(id)) - before;
        // It is for a second.
        return performance.now() - began < 900 ? [statuses, further] : 'too slow to say';
      });
      expect([[[404, 404, 404, 404, 404], 0], 'too slow to say']).toContainEqual(theirs);
    });
  });
});
