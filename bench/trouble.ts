/** What befalls a deployment during a soak, one thing after the other, each mended before the next one comes. */

import { setTimeout as delay } from 'node:timers/promises';
import type { TestServer } from '../test/house/servers.ts';
import { until } from '../test/house/until.ts';
import { type Deployment, orderDrain, sessionsAt } from './deployment.ts';

export type TroubleOptions = {
  readonly deployment: Deployment;
  /** Milliseconds of calm between two. */
  readonly pauseMs: number;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Told when one begins. */
  readonly onTrouble: (name: string) => void;
};

export type Trouble = {
  /** Resolves when the last one is mended; rejects where one could not be. */
  stop(): Promise<void>;
};

type Happening = (deployment: Deployment, server: TestServer) => Promise<void>;

const DRAINED_MS = 15_000;
const REDIS_AWAY_MS = 3_000;

/** The first proxy lives through all of it, so that what it keeps can be seen; the second one is replaced. */
const HAPPENINGS: Readonly<Record<string, Happening>> = {
  'server killed': async (_, server) => {
    await server.kill();
    await delay(1_000);
    await server.restart();
  },
  'server stopped': async (_, server) => {
    await server.stop();
    await server.restart();
  },
  'server drained': async ({ proxies: [proxy] }, server) => {
    await orderDrain(proxy, server, 'POST');
    const empty = async () => (await sessionsAt(server)) === 0;
    // Sessions of clients that have left without a word stay.
    await until('it is empty', empty, DRAINED_MS).catch(() => {});
    await orderDrain(proxy, server, 'DELETE');
  },
  'proxy killed': async ({ proxies: [, proxy] }) => {
    await proxy.kill();
    await delay(500);
    await proxy.start();
  },
  'proxy stopped': async ({ proxies: [, proxy] }) => {
    await proxy.stop();
    await proxy.start();
  },
  'Redis paused': async ({ redis }) => {
    redis.pause();
    await delay(REDIS_AWAY_MS);
    redis.resume();
  },
};

export function startTrouble(options: TroubleOptions): Trouble {
  const over = new AbortController();
  const all = goOn(options, over.signal);
  // Whoever stops it hears of it; until then it can be read.
  all.catch((error: unknown) => options.onTrouble(String(error)));
  return {
    async stop() {
      over.abort();
      await all;
    },
  };
}

/** Each kind once, in an order drawn anew, before any comes again. */
async function goOn({ deployment, pauseMs, random, onTrouble }: TroubleOptions, over: AbortSignal): Promise<void> {
  let bag: string[] = [];
  for (;;) {
    await delay(pauseMs, undefined, { signal: over }).catch(() => {});
    if (over.aborted) return;
    if (bag.length === 0) bag = Object.keys(HAPPENINGS);
    const [name = ''] = bag.splice(Math.floor(random() * bag.length), 1);
    const { servers } = deployment.servers;
    const server = servers[Math.floor(random() * servers.length)];
    if (server === undefined) return;
    onTrouble(name);
    await HAPPENINGS[name]?.(deployment, server);
  }
}
