/** Messages between proxies: what a proxy alone and proxies that share a Redis promise, and what trouble costs. */

import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type JsonObject, type Peers, REDIS } from '../../proxy/contract.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { noPeers } from '../../proxy/peers/memory.ts';
import { type RedisPeersOptions, redisPeers } from '../../proxy/peers/redis.ts';
import { connectRedis } from '../../proxy/redis/connection.ts';
import { type TestRedis, startRedis } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const NOBODY = { answers: [], complete: true };
const UNHEARD = { answers: [], complete: false };
/** Milliseconds: no test waits so long unless something is wrong. */
const LONG = 20_000;

let server: TestRedis;
let direct: Redis;
beforeAll(async () => {
  server = await startRedis();
  direct = new Redis(server.url);
});
afterAll(async () => {
  direct.disconnect();
  await server.close();
});
beforeEach(async () => void (await direct.del(REDIS.peers)));

type Proxy = {
  readonly peers: Peers;
  readonly self: string;
  readonly faults: readonly string[];
  /** Without a word to anybody. */
  readonly kill: () => void;
};

function overRedis(options: Partial<RedisPeersOptions> = {}, url = server.url): Proxy {
  const faults: string[] = [];
  const record = (event: RoutingEvent) => void (event.type === 'fault' && faults.push(event.error.message));
  const redis = connectRedis({ url, record });
  const peers = redisPeers(redis, { record, ...options });
  onTestFinished(() => {
    peers.close();
    redis.close();
  });
  return { peers, self: redis.self, faults, kill: () => redis.close() };
}

/** So many that know each other. */
async function together(count: number, options: Partial<RedisPeersOptions> = {}): Promise<readonly Proxy[]> {
  const proxies = Array.from({ length: count }, () => overRedis(options));
  for (const { peers } of proxies) {
    await until('all know each other', async () => {
      const { answers, complete } = await peers.ask('who', {}, { ms: LONG });
      return complete && answers.length === count - 1;
    });
  }
  return proxies;
}

async function timed<T>(work: Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const start = performance.now();
  return { result: await soon('the answers', work, LONG / 2), ms: performance.now() - start };
}

const says = (answer: JsonObject) => (): JsonObject => answer;
const names = (answers: readonly JsonObject[]) => answers.map(({ name }) => String(name)).toSorted();

describe.each<[string, () => Promise<Peers>]>([
  ['memory', async () => noPeers()],
  ['redis', async () => (await together(1))[0]!.peers],
])('a proxy alone, %s', (_name, make) => {
  test('waits for nobody', async () => {
    const peers = await make();
    const { result, ms } = await timed(peers.ask('topic', { x: 1 }, { ms: LONG }));
    expect(result).toEqual(NOBODY);
    expect(ms).toBeLessThan(100);
  });

  test('does not hear itself', async () => {
    const peers = await make();
    const heard: JsonObject[] = [];
    const undo = peers.on('topic', (message) => void heard.push(message));
    peers.tell('topic', {});
    await peers.ask('topic', {}, { ms: LONG });
    undo();
    undo();
    expect(heard).toEqual([]);
  });

  test('can be closed twice, and be used afterwards, to no end', async () => {
    const peers = await make();
    peers.close();
    peers.close();
    peers.tell('topic', {});
    expect((await peers.ask('topic', {}, { ms: LONG })).answers).toEqual([]);
  });
});

describe('a question', () => {
  test('is answered by all others, once each', async () => {
    const [a, b, c] = await together(3);
    const asked: JsonObject[] = [];
    for (const [name, { peers }] of Object.entries({ a: a!, b: b!, c: c! })) {
      peers.on('name', (message) => {
        asked.push(message);
        return { name };
      });
    }
    const { answers, complete } = await a!.peers.ask('name', { to: 'all' }, { ms: LONG });
    expect([names(answers), complete]).toEqual([['b', 'c'], true]);
    expect(asked).toEqual([{ to: 'all' }, { to: 'all' }]);
  });

  test('many at the same time get their own answers', async () => {
    const [a, b] = await together(2);
    b!.peers.on('twice', ({ x }) => ({ x: Number(x) * 2 }));
    const asked = Array.from({ length: 200 }, (_, x) => a!.peers.ask('twice', { x }, { ms: LONG }));
    expect((await Promise.all(asked)).map(({ answers }) => answers)).toEqual(asked.map((_, x) => [{ x: 2 * x }]));
  });

  test('is over with the answer that is enough', async () => {
    const [a, b, c] = await together(3);
    b!.peers.on('enough', says({ yes: true }));
    const { promise: never, resolve: end } = Promise.withResolvers<undefined>();
    c!.peers.on('enough', () => never);
    const options = { ms: LONG, until: ({ yes }: JsonObject) => yes === true };
    expect(await soon('yes', a!.peers.ask('enough', {}, options))).toEqual({
      answers: [{ yes: true }],
      complete: false,
    });
    end(undefined);
  });

  test('an `until` that throws is one that is not content', async () => {
    const [a] = await together(2);
    const throws = () => {
      throw new Error('no');
    };
    expect(await a!.peers.ask('any', {}, { ms: LONG, until: throws })).toEqual({ answers: [{}], complete: true });
  });

  test('of a topic that nobody handles, or no longer, is answered all the same', async () => {
    const [a, b] = await together(2);
    b!.peers.on('topic', says({ no: 'longer' }))();
    expect(await a!.peers.ask('topic', {}, { ms: LONG })).toEqual({ answers: [{}], complete: true });
  });

  test('several handlers answer together; an error is recorded, and takes nothing from the others', async () => {
    const [a, b] = await together(2);
    const throws = (): never => {
      throw new Error('a bug');
    };
    const undo = [says({ x: 1 }), throws, async () => ({ y: 2 }), () => undefined].map((f) => b!.peers.on('topic', f));
    expect((await a!.peers.ask('topic', {}, { ms: LONG })).answers).toEqual([{ x: 1, y: 2 }]);
    expect(b!.faults).toEqual(['a bug']);
    undo[0]!();
    expect((await a!.peers.ask('topic', {}, { ms: LONG })).answers).toEqual([{ y: 2 }]);
  });

  test('that is too long is not sent; an answer that is too long is an empty one', async () => {
    const [a, b] = await together(2);
    const long = 'x'.repeat(65_536);
    b!.peers.on('long', says({ long }));
    expect(await a!.peers.ask('long', { long }, { ms: LONG })).toEqual(UNHEARD);
    expect(await a!.peers.ask('long', {}, { ms: LONG })).toEqual({ answers: [{}], complete: true });
    expect([a!.faults.length, b!.faults.length]).toEqual([1, 1]);
  });

  test('beyond 256 open ones is not asked', async () => {
    const [a, b] = await together(2);
    const { promise: answer, resolve } = Promise.withResolvers<JsonObject>();
    b!.peers.on('slow', () => answer);
    const open = Array.from({ length: 256 }, () => a!.peers.ask('slow', {}, { ms: LONG }));
    expect((await timed(a!.peers.ask('slow', {}, { ms: LONG }))).result).toEqual(UNHEARD);
    resolve({ x: 1 });
    expect(new Set((await Promise.all(open)).map(({ complete }) => complete))).toEqual(new Set([true]));
    expect((await a!.peers.ask('slow', {}, { ms: LONG })).complete).toBe(true);
  });
});

test('a notice reaches all others, in order', async () => {
  const [a, b, c] = await together(3);
  const heard: JsonObject[][] = [[], [], []];
  for (const [at, { peers }] of [a!, b!, c!].entries()) peers.on('news', (message) => void heard[at]!.push(message));
  for (const x of [1, 2, 3]) a!.peers.tell('news', { x });
  await until('both have heard', () => heard[1]!.length === 3 && heard[2]!.length === 3);
  expect(heard).toEqual([[], [{ x: 1 }, { x: 2 }, { x: 3 }], [{ x: 1 }, { x: 2 }, { x: 3 }]]);
});

describe('another proxy', () => {
  test('that has just come is asked by all, and asks all', async () => {
    const [a] = await together(2);
    const late = overRedis();
    await until('it is among them', async () => (await late.peers.ask('who', {}, { ms: LONG })).answers.length === 2);
    expect((await a!.peers.ask('who', {}, { ms: LONG })).answers).toHaveLength(2);
  });

  test('that has left is not waited for, nor by a question that is open', async () => {
    const [a, b] = await together(2);
    b!.peers.on('slow', () => new Promise(() => {}));
    const open = a!.peers.ask('slow', {}, { ms: LONG });
    b!.peers.close();
    b!.kill();
    expect((await timed(open)).result).toEqual(NOBODY);
    expect((await timed(a!.peers.ask('who', {}, { ms: LONG }))).result).toEqual(NOBODY);
    expect(await direct.zrange(REDIS.peers, 0, '-1')).toEqual([a!.self]);
  });

  test('that was killed costs one wait, and counts as one that owes its answer until it is seen to be dead', async () => {
    const [a, b, c] = await together(3, { beatEveryMs: 100, lifeMs: 1_500 });
    b!.peers.on('name', says({ name: 'b' }));
    c!.kill();
    expect(await a!.peers.ask('name', {}, { ms: 200 })).toEqual({ answers: [{ name: 'b' }], complete: false });
    const { result, ms } = await timed(a!.peers.ask('name', {}, { ms: LONG }));
    expect(result).toEqual({ answers: [{ name: 'b' }], complete: false });
    expect(ms).toBeLessThan(1_000);
    await until('it is dead', async () => (await a!.peers.ask('name', {}, { ms: LONG })).complete);
    await until('Redis has forgotten it', async () => (await direct.zcard(REDIS.peers)) === 2);
  });

  test('that is slow costs one wait, until it is heard of again', async () => {
    const [a, b] = await together(2);
    let slow = Promise.withResolvers<JsonObject>();
    b!.peers.on('slow', () => slow.promise);
    expect(await a!.peers.ask('slow', {}, { ms: 50 })).toEqual(UNHEARD);
    const { result, ms } = await timed(a!.peers.ask('slow', {}, { ms: LONG }));
    expect(result).toEqual(UNHEARD);
    expect(ms).toBeLessThan(1_000);
    slow.resolve({ x: 1 });
    slow = Promise.withResolvers();
    slow.resolve({ x: 2 });
    await until('it is waited for again', async () => (await a!.peers.ask('slow', {}, { ms: LONG })).complete);
  });
});

describe('Redis', () => {
  test('that hangs costs a question its time and no more; all is well once it answers', async () => {
    const [a, b] = await together(2);
    b!.peers.on('name', says({ name: 'b' }));
    server.pause();
    try {
      const { result, ms } = await timed(a!.peers.ask('name', {}, { ms: 200 }));
      expect(result).toEqual(UNHEARD);
      expect(ms).toBeLessThan(1_500);
      a!.peers.tell('name', {});
      expect((await timed(a!.peers.ask('name', {}, { ms: LONG }))).result).toEqual(UNHEARD);
    } finally {
      server.resume();
    }
    await until('it answers', async () => (await a!.peers.ask('name', {}, { ms: LONG })).answers.length === 1);
  });

  test('whose connections are lost: an open question ends, and they find each other again', async () => {
    const [a, b] = await together(2);
    b!.peers.on('slow', () => new Promise(() => {}));
    const open = a!.peers.ask('slow', {}, { ms: LONG });
    await direct.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    expect((await timed(open)).result).toEqual(UNHEARD);
    const both = async ({ peers }: Proxy) => {
      const { answers, complete } = await peers.ask('who', {}, { ms: LONG });
      return complete && answers.length === 1;
    };
    for (const one of [a!, b!]) await until('they have found each other', () => both(one));
  });

  test('that has lost who lives: those that know each other go on, and one that comes finds them', async () => {
    const [a, b] = await together(2, { beatEveryMs: LONG });
    await direct.flushall();
    expect((await a!.peers.ask('who', {}, { ms: LONG })).answers).toEqual([{}]);
    const late = overRedis();
    await until('it finds both', async () => (await late.peers.ask('who', {}, { ms: LONG })).answers.length === 2);
    expect((await b!.peers.ask('who', {}, { ms: LONG })).answers).toEqual([{}, {}]);
  });

  test('that is full, and takes no signs of life: those that live still know each other', async () => {
    const proxies = await together(2, { beatEveryMs: 50, lifeMs: 400 });
    await direct.config('SET', 'maxmemory', '1');
    onTestFinished(() => void direct.config('SET', 'maxmemory', '0'));
    const signs = await direct.zrange(REDIS.peers, 0, '-1', 'WITHSCORES');
    await until('their signs are gone', async () => (await direct.exists(REDIS.peers)) === 0);
    expect(signs).toHaveLength(4);
    const said = await Promise.all(proxies.map(({ peers }) => peers.ask('who', {}, { ms: LONG })));
    expect(said).toEqual([0, 1].map(() => ({ answers: [{}], complete: true })));
  });

  test('that was set back: what depends on it is told as of a lost connection, and not again each time', async () => {
    const redis = connectRedis({ url: server.url, record: () => {} });
    const peers = redisPeers(redis, { record: () => {}, beatEveryMs: 20 });
    onTestFinished(() => {
      peers.close();
      redis.close();
    });
    const links: boolean[] = [];
    redis.link.onLink((linked) => links.push(linked));
    const signs = async () => Number(await direct.zscore(REDIS.peers, redis.self));
    await until('it lives', async () => (await signs()) > 2);
    expect(links).toEqual([true]);
    await direct.zadd(REDIS.peers, 1, redis.self);
    await until('it is told', () => links.length === 3);
    const before = await signs();
    await direct.del(REDIS.peers);
    await until('it lives on', async () => (await signs()) > before + 5);
    expect(links).toEqual([true, false, true]);
  });

  test('that is away at the start: nobody is asked, and nobody waits', async () => {
    const away = overRedis({}, 'redis://127.0.0.1:9');
    expect((await timed(away.peers.ask('who', {}, { ms: LONG }))).result).toEqual(UNHEARD);
    away.peers.tell('who', {});
  });
});

test('garbage on the channels harms nobody', async () => {
  const [a, b] = await together(2);
  const heard: JsonObject[] = [];
  b!.peers.on('topic', (message) => void heard.push(message));
  const from = 'x';
  const garbage = [
    '',
    '{',
    'null',
    '[]',
    '"joined"',
    '{}',
    '{"kind":"joined"}',
    '{"from":7,"kind":"joined"}',
    ...[
      { from, kind: 'unknown' },
      { from, kind: 'message' },
      { from, kind: 'message', topic: 7, message: {} },
      { from, kind: 'message', topic: 'topic', message: [] },
      { from, kind: 'message', topic: 'topic', message: {}, ask: '1' },
      { from, kind: 'message', topic: 'topic', message: { long: 'x'.repeat(65_536) } },
      { from, kind: 'answer', message: {} },
      { from, kind: 'answer', ask: 1, message: null },
      { from, kind: 'answer', ask: 1e9, message: {} },
      { from, kind: 'leaving' },
    ].map((one) => JSON.stringify(one)),
  ];
  for (const channel of [REDIS.messages, ...[a!, b!].map(({ self }) => REDIS.answers(self))]) {
    for (const one of garbage) await direct.publish(channel, one);
  }
  expect(await a!.peers.ask('topic', { last: true }, { ms: LONG })).toEqual({ answers: [{}], complete: true });
  expect(heard).toEqual([{ last: true }]);
});

test('names that nobody has are not remembered without end', async () => {
  const [a] = await together(2);
  for (let at = 0; at < 3_000; at += 1) {
    await direct.publish(REDIS.messages, JSON.stringify({ from: `x${at}`, kind: 'joined' }));
  }
  const { answers, complete } = await a!.peers.ask('who', {}, { ms: 50 });
  expect([answers, complete]).toEqual([[{}], false]);
});

test('close while a question is open: it ends with the answers it has', async () => {
  const [a, b, c] = await together(3);
  b!.peers.on('slow', says({ name: 'b' }));
  c!.peers.on('slow', () => new Promise(() => {}));
  const { promise: one, resolve } = Promise.withResolvers<void>();
  const heard = ({ name }: JsonObject) => (name === 'b' && resolve(), false);
  const open = a!.peers.ask('slow', {}, { ms: LONG, until: heard });
  await one;
  a!.peers.close();
  expect(await soon('the end', open)).toEqual({ answers: [{ name: 'b' }], complete: false });
  expect(await a!.peers.ask('slow', {}, { ms: LONG })).toEqual(UNHEARD);
});
