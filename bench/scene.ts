/** A deployment under a steady load, for one fault: what the clients saw from its beginning to its end. */

import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { startHaproxy } from '../test/house/haproxy.ts';
import { until } from '../test/house/until.ts';
import { type SdkClient, connectClient } from './client.ts';
import { type Deployment, startDeployment } from './deployment.ts';
import { HEADERS, INITIALIZE } from './load.ts';
import { type Relay, startRelay } from './relay.ts';
import { type Tally, judgeRuns, newTally } from './tally.ts';

export type Scene = Deployment & {
  /** Between each proxy and Redis. */
  readonly relays: readonly Relay[];
  /** A connection of our own to Redis. */
  readonly redisClient: Redis;
  /** How long the fault lasts, in milliseconds. */
  readonly ms: number;
};

export type Fault = {
  readonly name: string;
  /** Brings the fault about, lets it last, and undoes it. */
  readonly run: (scene: Scene) => Promise<unknown>;
  /** Names of the servers; a, b and c by default. */
  readonly servers?: readonly string[];
  /** SDK clients; 20 by default. */
  readonly clients?: number;
  /** What a call does there, in milliseconds; by default it is answered at once. */
  readonly callMs?: number;
  /** Clients come through HAProxy. */
  readonly balanced?: true;
};

export type Findings = {
  readonly name: string;
  readonly tally: Tally;
  /** Sessions of the clients that either proxy does not know at the end. */
  readonly lost: number;
  readonly twice: number;
  /** Answers to `initialize`, by their status. */
  readonly opens: ReadonlyMap<string, number>;
  /** Answers of the other proxy to its first request of a session. */
  readonly elsewhere: ReadonlyMap<string, number>;
};

const CLIENTS = 20;
/** Milliseconds: before the fault, between the calls of a client, and between new sessions, and looks elsewhere. */
const BEFORE_MS = 1_500;
const CALL_EVERY_MS = 20;
const OPEN_EVERY_MS = 200;
/** Sessions that only the first proxy knows. */
const FOREIGN = 200;
/** After the fault all must be well again within so many milliseconds. */
const RECOVERY_MS = 30_000;
/** And what it left behind must show. */
const AFTER_MS = 1_500;
const FLAGS = ['--lame-duck-seconds', '2', '--drain-seconds', '8', '--health-path', '/health'];

/** Undefined where HAProxy is needed, and cannot be had. */
export async function watch(fault: Fault, ms: number): Promise<Findings | undefined> {
  const relays: Relay[] = [];
  const deployment = await startDeployment({
    servers: fault.servers ?? ['a', 'b', 'c'],
    flags: FLAGS,
    async redisFor({ port }) {
      const relay = await startRelay(port);
      relays.push(relay);
      return `redis://127.0.0.1:${relay.port}`;
    },
  });
  const redisClient = new Redis(deployment.redis.url);
  redisClient.on('error', () => {});
  const ports = deployment.proxies.map(({ process }) => process);
  const balancer = fault.balanced && (await startHaproxy(ports));
  try {
    if (fault.balanced && balancer === undefined) return undefined;
    return await load({ ...deployment, relays, redisClient, ms }, fault, balancer?.url);
  } finally {
    redisClient.disconnect();
    await balancer?.close();
    await deployment.close();
    await Promise.all(relays.map((relay) => relay.close()));
  }
}

async function load(scene: Scene, fault: Fault, balancer: string | undefined): Promise<Findings> {
  const { proxies } = scene;
  const tally = newTally();
  const clients: SdkClient[] = [];
  for (let at = 0; at < (fault.clients ?? CLIENTS); at += 1) {
    const url = balancer ?? (proxies[at % 2] ?? proxies[0]).url;
    // What is cut with its proxy counts as failed: that is what its user notices.
    const connect = async () => {
      const client = await connectClient({ pick: () => ({ url, life: () => NEVER }), tally, comesBackFor: 0 });
      return typeof client === 'object' && client;
    };
    clients.push(await until('a client is connected', connect, RECOVERY_MS));
  }
  tally.failures.clear();
  const foreign: string[] = [];
  while (foreign.length < FOREIGN) foreign.push((await open(proxies[0].url)).id);

  const over = new AbortController();
  const opens = new Map<string, number>();
  const elsewhere = new Map<string, number>();
  const talking = clients.map((client, at) => talk(client, `${at}`, fault.callMs, over.signal));
  const faulty = new AbortController();
  const openUrl = () => balancer ?? proxies.find((proxy) => proxy.ready())?.url ?? proxies[0].url;
  await delay(BEFORE_MS);
  const looking = [
    again(OPEN_EVERY_MS, faulty.signal, async () => count(opens, (await open(openUrl())).words)),
    again(OPEN_EVERY_MS, faulty.signal, async () => count(elsewhere, await ping(proxies[1].url, foreign.pop()))),
  ];
  await fault.run(scene);
  faulty.abort();
  await Promise.all(looking);
  await until('all is well again', () => isWell(scene), RECOVERY_MS);
  await delay(AFTER_MS);
  over.abort();
  await Promise.all(talking);
  const lost = await lostOf(scene, clients);
  for (const client of clients) await client.leave('silently');
  const twice = judgeRuns(tally, scene.servers.effects()).twice.length;
  return { name: fault.name, tally, lost, twice, opens, elsewhere };
}

const NEVER = new AbortController().signal;

async function talk(client: SdkClient, name: string, callMs: number | undefined, over: AbortSignal): Promise<void> {
  for (let turn = 0; !over.aborted; turn += 1) {
    const key = `${name}-${turn}`;
    await client.call('effect', { key, ms: callMs ?? 0 }, key);
    await delay(CALL_EVERY_MS);
  }
}

async function again(everyMs: number, over: AbortSignal, work: () => Promise<void>): Promise<void> {
  const running = new Set<Promise<void>>();
  while (!over.aborted) {
    const one = work();
    running.add(one);
    void one.finally(() => running.delete(one));
    await delay(everyMs, undefined, { signal: over }).catch(() => {});
  }
  await Promise.all(running);
}

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}

async function open(url: string): Promise<{ readonly id: string; readonly words: string }> {
  const answer = await post(url, { id: 0, method: 'initialize', params: INITIALIZE });
  const id = answer?.headers.get('mcp-session-id') ?? '';
  return { id, words: words(answer) };
}

async function ping(url: string, id: string | undefined): Promise<string> {
  return words(await post(url, { id: 1, method: 'ping' }, id));
}

const words = (answer: Response | undefined): string => (answer === undefined ? 'refused' : `${answer.status}`);

/** Undefined where there was no answer. */
async function post(url: string, message: object, id?: string): Promise<Response | undefined> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { ...HEADERS, ...(id !== undefined && { 'mcp-session-id': id }) },
      body: JSON.stringify({ jsonrpc: '2.0', ...message }),
    });
    await answer.text();
    return answer;
  } catch {
    return undefined;
  }
}

/** Each proxy opens sessions again, and finds every server ready. */
async function isWell({ proxies, servers }: Scene): Promise<boolean> {
  for (const { url, opsUrl } of proxies) {
    if ((await open(url)).words !== '200') return false;
    const listed = await fetch(`${opsUrl}/backends`).then(
      (answer) => answer.text(),
      () => '',
    );
    if (listed.split('"state":"ready"').length - 1 !== servers.servers.length) return false;
  }
  return true;
}

async function lostOf({ proxies }: Scene, clients: readonly SdkClient[]): Promise<number> {
  let lost = 0;
  for (const { sessionId } of clients) {
    const answers = [await ping(proxies[0].url, sessionId), await ping(proxies[1].url, sessionId)];
    if (answers.some((answer) => answer !== '200')) lost += 1;
  }
  return lost;
}
