/** Redis fails over under load, by its sentinels, in a cluster, and in place: no session is lost, and no call waits long. */

import { type Socket, connect, createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { type RawAnswer, rawOpen, rawPing } from '../house/by-hand.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { type ClusterRedis, startClusterRedis } from '../house/redis/cluster.ts';
import { type SentinelRedis, startSentinelRedis } from '../house/redis/sentinel.ts';
import { startRedis } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const INSTALL = 180_000;
/** Sessions that are there before, and in use all the time. */
const KNOWN = 20;
/** Milliseconds between new sessions. */
const OPEN_EVERY = 15;
/** Milliseconds: the wait of a call, and what a busy machine adds. */
const LONGEST = 4_000;

type Load = {
  /** What each answer was, other than 200. */
  readonly refusals: string[];
  /** All sessions that a client was given. */
  readonly given: Set<string>;
  calls: number;
  /** New sessions are had again. */
  readonly opens: (after: number) => Promise<unknown>;
  readonly stop: () => Promise<void>;
};

/** Talks in all known sessions and opens new ones, through either proxy, until it is told to stop. */
async function startLoad({ proxies }: Flow): Promise<Load> {
  const any = () => proxies[Math.floor(Math.random() * proxies.length)]!.url;
  const over = new AbortController();
  const opened: number[] = [];
  const load: Load = {
    refusals: [],
    given: new Set(),
    calls: 0,
    opens: (after) => until('new sessions are had again', () => opened.filter((at) => at > after).length > 20, 20_000),
    async stop() {
      over.abort();
      await Promise.all(all);
    },
  };
  async function made(what: string, call: Promise<RawAnswer>): Promise<RawAnswer | undefined> {
    load.calls += 1;
    const answer = await soon(what, call, LONGEST).catch((error: unknown) => String(error));
    if (typeof answer === 'string') load.refusals.push(`${what}: ${answer}`);
    else if (answer.status === 200) return answer;
    else load.refusals.push(`${what}: ${answer.status}, Retry-After ${answer.headers.get('retry-after')}`);
    return undefined;
  }
  async function open(): Promise<string | undefined> {
    const answer = await made('open', rawOpen(any()));
    const id = answer?.headers.get('mcp-session-id') ?? undefined;
    if (id === undefined) return undefined;
    opened.push(Date.now());
    load.given.add(id);
    return id;
  }
  async function talk(id: string): Promise<void> {
    while (!over.signal.aborted) {
      await made('call', rawPing(any(), id));
      await pause(20);
    }
  }
  const ids: string[] = [];
  for (let at = 0; at < KNOWN; at += 1) ids.push((await open()) ?? '');
  const opening = async () => {
    const running = new Set<Promise<unknown>>();
    while (!over.signal.aborted) {
      const one = open();
      running.add(one);
      void one.then(() => running.delete(one));
      await pause(OPEN_EVERY);
    }
    await Promise.all(running);
  };
  const all = [...ids.map(talk), opening()];
  return load;
}

/** The rhythm of the load, not a wait for something. */
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Each session goes on, at every proxy. */
async function lost({ proxies }: Flow, given: ReadonlySet<string>): Promise<readonly string[]> {
  const gone: string[] = [];
  for (const { url } of proxies) {
    for (const id of given) {
      const { status } = await rawPing(url, id);
      if (status !== 200) gone.push(`${status} at ${url}`);
    }
  }
  return gone;
}

type Saw = Readonly<Record<'lost' | 'strange' | 'migrations', readonly string[]>>;

let flow: Flow | undefined;
afterEach(() => flow?.close());

/** Runs the load through `fail`, and says in a line what it saw. */
async function through(name: string, redis: string, fail: () => Promise<void>): Promise<Saw> {
  const begun = (flow = await startFlow({ backends: ['a', 'b'], proxies: 2, redis }));
  const load = await startLoad(begun);
  let before = 0;
  try {
    await load.opens(Date.now());
    before = Date.now();
    await fail();
    await load.opens(Date.now());
  } finally {
    await load.stop();
  }
  const took = Date.now() - before;
  const gone = await lost(begun, load.given);
  const { refusals, calls, given } = load;
  process.stdout.write(
    `${name}: ${calls} calls, ${refusals.length} refused with 503, ${given.size} sessions, ${gone.length} lost, ${took} ms\n`,
  );
  const strange = refusals.filter((one) => !one.endsWith(': 503, Retry-After 1'));
  return { lost: gone, strange, migrations: begun.migrations() };
}

/** Nothing was lost, and whoever was refused was told to try again. */
const WELL: Saw = { lost: [], strange: [], migrations: [] };

describe('sentinels', () => {
  let redis: SentinelRedis;
  beforeAll(async () => {
    redis = await startSentinelRedis();
  }, INSTALL);
  afterAll(() => redis.close());

  test('the primary is killed with -9', async () => {
    const saw = await through('sentinels, killed', redis.url, async () => {
      const old = await redis.primary();
      await old.kill9();
      await redis.failedOver(old);
      await old.start();
    });
    expect(saw).toEqual(WELL);
  });

  test('the primary is made a replica in place', async () => {
    expect(await through('sentinels, in place', redis.url, redis.switchOver)).toEqual(WELL);
  });

  test('the primary hangs, and comes back', async () => {
    const saw = await through('sentinels, hung', redis.url, async () => {
      const old = await redis.primary();
      old.pause();
      await redis.failedOver(old);
      old.resume();
    });
    expect(saw).toEqual(WELL);
  });
});

describe('a cluster', () => {
  let redis: ClusterRedis;
  beforeAll(async () => {
    redis = await startClusterRedis();
  }, INSTALL);
  afterAll(() => redis.close());

  test('a primary is killed with -9', async () => {
    const saw = await through('cluster, killed', redis.url, async () => {
      await redis.nodes[0]!.kill9();
      await redis.failedOver();
    });
    expect(saw).toEqual(WELL);
  });
});

describe('a name that follows the primary', () => {
  test('the old primary becomes a replica in place, and lives on', async () => {
    const [one, other] = await Promise.all([startRedis(), startRedis()]);
    const relay = await startRelay(one.port);
    const [old, next] = [new Redis(one.url), new Redis(other.url)];
    onTestFinished(async () => {
      for (const client of [old, next]) client.disconnect();
      await flow?.close();
      await Promise.all([relay.close(), one.close(), other.close()]);
    });
    await next.replicaof('127.0.0.1', one.port);
    const followed = async () => (await next.info('replication')).includes('master_link_status:up');
    await until('the replica follows', followed);
    const saw = await through('in place, by name', `redis://127.0.0.1:${relay.port}`, async () => {
      // As ElastiCache does: roles change under connections that stay, and then the name.
      await old.replicaof('127.0.0.1', other.port);
      await next.replicaof('NO', 'ONE');
      relay.lead(other.port);
    });
    expect(saw).toEqual(WELL);
  });
});

/** An address whose new connections go to another port once that is said. */
async function startRelay(first: number) {
  let to = first;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(to, '127.0.0.1');
    for (const [from, into] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(from);
      from.on('error', () => {});
      from.once('close', () => into.destroy());
      from.pipe(into);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address ? address.port : 0,
    lead: (port: number) => void (to = port),
    close: () =>
      new Promise<unknown>((resolve) => {
        server.close(resolve);
        for (const socket of sockets) socket.destroy();
      }),
  };
}
