/** `npm run soak`: real clients, servers and trouble for minutes, and then whether the proxies hold what they held before. */

import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Redis } from 'ioredis';
import { Agent, getGlobalDispatcher, setGlobalDispatcher } from 'undici';
import { until } from '../test/house/until.ts';
import { type Deployment, sessionsAt, startDeployment } from './deployment.ts';
import { newHistory } from './history.ts';
import { readRemains, readSettled } from './measure.ts';
import { seeded } from './random.ts';
import { newTally } from './tally.ts';
import { startTrouble } from './trouble.ts';
import { type Held, judge, printVerdicts } from './verdicts.ts';
import { startVisits } from './visits.ts';

const HELP = `npm run soak -- [options]

Two proxies (processes), three SDK servers and a Redis, with SDK clients that come and go, while servers, a proxy and
Redis are killed, stopped, drained and paused. Afterwards the proxies must hold what they held before. Warming up and
settling twice add about 100 s.

  --minutes N    length of the load (default 10)
  --seconds N    the same in seconds
  --clients N    clients at once (default 16)
  --seed N       of all that is drawn (default: drawn, and printed)
  --out FILE     the curves as an SVG
  --help

Exit code 0: all is well; 1: a verdict is FAIL; 2: wrong usage.
`;

/** Idle life of sessions at the proxies and at the servers: what clients left behind is gone after it. */
const SESSION_SECONDS = 20;
const WARM_UP_SECONDS = 25;
/** Beyond the idle life: tombstones and timers that outlive a session a little. */
const SETTLE_MS = (SESSION_SECONDS + 40) * 1_000;
/** A backend closes an idle connection after 5 s. */
const CALM_MS = 8_000;
const FLAGS = `--session-ttl ${SESSION_SECONDS} --health-path /health --lame-duck-seconds 1 --drain-seconds 10`.split(
  ' ',
);

type Plan = {
  readonly seconds: number;
  readonly clients: number;
  readonly seed: number;
  readonly out: string | undefined;
};

const say = (line: string): void => void process.stdout.write(`${line}\n`);

function plan(): Plan | 'help' {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string' },
      seconds: { type: 'string' },
      clients: { type: 'string', default: '16' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
      out: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const number = (name: string, value: string, least: number): number => {
    const parsed = Number(value);
    if (!(parsed >= least)) throw new Error(`--${name}: expected a number from ${least}, got ${value}`);
    return parsed;
  };
  const seconds =
    values.seconds === undefined
      ? number('minutes', values.minutes ?? '10', 0.1) * 60
      : number('seconds', values.seconds, 1);
  return {
    seconds,
    clients: Math.floor(number('clients', values.clients, 1)),
    seed: number('seed', values.seed, 0),
    out: values.out,
  };
}

/** All clients have left, all sessions have idled out, nothing is on its way. */
async function settle(deployment: Deployment, redis: Redis): Promise<Held> {
  // The clients' own connections: those that idle are not the proxies' to close.
  const clients = getGlobalDispatcher();
  setGlobalDispatcher(new Agent());
  await clients.destroy();
  const empty = async () => {
    const left = await Promise.all(deployment.servers.servers.map(sessionsAt));
    const { sessionKeys } = await readRemains(deployment, redis);
    return sessionKeys === 0 && left.every((one) => one === 0);
  };
  await until('all sessions are gone', empty, SETTLE_MS).catch(() => {});
  await delay(CALM_MS);

  const [steady, other] = deployment.proxies;
  const remains = await readRemains(deployment, redis);
  const [first, second] = await Promise.all([readSettled(steady), readSettled(other)]);
  return { steady: first, other: second, remains };
}

async function run({ seconds, clients, seed, out }: Plan): Promise<boolean> {
  const env = { SESSION_TTL_SECONDS: String(SESSION_SECONDS), CLOCK_MS: '1000', DRAIN_SECONDS: '5' };
  const deployment = await startDeployment({ servers: ['a', 'b', 'c'], env, flags: FLAGS });
  const redis = new Redis(deployment.redis.url);
  redis.on('error', () => {});
  const random = seeded(seed);
  const tally = newTally();
  const history = newHistory(deployment, redis, tally, say);
  const pick = () => {
    const up = deployment.proxies.filter((proxy) => proxy.ready());
    return up[Math.floor(random() * up.length)] ?? deployment.proxies[0];
  };
  const load = async (name: string, forSeconds: number, pauseMs: number): Promise<void> => {
    history.phase(name);
    const visits = startVisits({ name, tally, clients, pick, random, comesBackFor: 20 });
    const trouble = startTrouble({ deployment, pauseMs, random, onTrouble: history.mark });
    await delay(forSeconds * 1_000);
    await trouble.stop();
    await visits.stop();
  };
  const calm = (name: string): Promise<Held> => {
    history.phase(name);
    return settle(deployment, redis);
  };
  say(`soak: ${seconds} s of ${clients} clients, --seed ${seed}`);
  try {
    await load('warm-up', WARM_UP_SECONDS, 1_000);
    const before = await calm('settling');
    await load('load', seconds, 3_000);
    const after = await calm('settling again');
    const curves = await history.stop();
    if (out !== undefined) writeFileSync(out, curves);
    return printVerdicts(await judge({ deployment, tally, before, after }), tally, say);
  } finally {
    await history.stop();
    redis.disconnect();
    await deployment.close();
  }
}

async function main(): Promise<void> {
  let planned: Plan | 'help';
  try {
    planned = plan();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    process.exitCode = 2;
    return;
  }
  if (planned === 'help') return say(HELP);
  process.exitCode = (await run(planned)) ? 0 : 1;
}

// What runs beside is ended when this process exits, but not when a signal ends it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
await main();
