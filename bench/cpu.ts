/** `npm run bench`: the CPU time of a proxied request, beside its peers' in the same run. */

import { parseArgs } from 'node:util';
import { openLoad } from './load.ts';
import type { Answer, Load } from './load.ts';
import { startPeers } from './peers.ts';
import type { Peer } from './peers.ts';
import { cpuOf } from './processes.ts';
import { summarize, tableOf } from './report.ts';
import type { Sample } from './report.ts';

const SESSIONS = 64;
const CONNECTIONS = 32;
/** The more code, the later the compiler is done with it: measured sooner, a proxy looks worse than it is. */
const WARM_UP_REQUESTS = 10_000;
const ANSWERS: readonly Answer[] = ['json', 'stream'];

/** `until`: milliseconds since the start. */
type Plan = { readonly rounds: number; readonly requests: number; readonly until: number };
type Loaded = { readonly peer: Peer; readonly load: Load };

/** One round: each peer in turn, so that what else the machine does hits all of them alike. */
async function round(loaded: readonly Loaded[], calls: number): Promise<readonly Sample[]> {
  const samples: Sample[] = [];
  for (const answer of ANSWERS) {
    let barePipe: number | undefined;
    for (const { peer, load } of loaded) {
      const before = cpuOf(peer.pid);
      const seconds = await load.call(answer, calls);
      const cpu = (cpuOf(peer.pid) - before) / calls;
      barePipe ??= cpu;
      samples.push({ peer: peer.name, answer, cpu, ratio: cpu / barePipe, perSecond: calls / seconds });
    }
  }
  return samples;
}

/** No round is begun that would end after `until`, but the first. */
async function measure(loaded: readonly Loaded[], { rounds, requests, until }: Plan): Promise<Sample[]> {
  const samples: Sample[] = [];
  await round(loaded, WARM_UP_REQUESTS);
  let slowest = 0;
  for (let made = 0; made < rounds && performance.now() + slowest < until; made += 1) {
    const begun = performance.now();
    samples.push(...(await round(loaded, requests)));
    slowest = Math.max(slowest, performance.now() - begun);
  }
  return samples;
}

/** `--rounds`, `--requests` of each peer in a round, `--seconds` that all may take. */
function planned(): Plan {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '9' },
      requests: { type: 'string', default: '3000' },
      seconds: { type: 'string', default: '50' },
    },
  });
  const numbers = [values.rounds, values.requests, values.seconds].map(Number);
  if (!numbers.every((number) => number >= 1))
    throw new Error('--rounds, --requests, --seconds: expected numbers from 1');
  const [rounds = 1, requests = 1, seconds = 1] = numbers;
  return { rounds, requests, until: seconds * 1000 };
}

async function main(): Promise<void> {
  const plan = planned();
  const { peers, absent, stop } = await startPeers();
  const options = { sessions: SESSIONS, connections: CONNECTIONS };
  const loaded = await Promise.all(peers.map(async (peer) => ({ peer, load: await openLoad(peer.origin, options) })));
  const samples = await measure(loaded, plan);
  await Promise.all(loaded.map(({ load }) => load.close()));
  await stop();
  const rows = summarize(samples);
  process.stdout.write(`${tableOf(rows)}${absent.map((line) => `${line}\n`).join('')}${JSON.stringify({ rows })}\n`);
}

await main();
