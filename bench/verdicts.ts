/** Whether a soak left anything behind, and whether each client got what it was promised. */

import type { Deployment } from './deployment.ts';
import { type ProxyReading, type Remains, metricOf } from './measure.ts';
import { type Tally, callsOf, judgeRuns } from './tally.ts';

/** What was there while nobody was. */
export type Held = {
  /** The proxy that lives through all of it. */
  readonly steady: ProxyReading;
  /** The one that is replaced: of its memory nothing can be said. */
  readonly other: ProxyReading;
  readonly remains: Remains;
};

export type Verdict = { readonly well: boolean; readonly line: string };

type Bound = { readonly of: string; readonly unit: string; readonly allowance: number; readonly why: string };

/** Beside a tenth of what was there before. */
const SHARE = 0.1;
const BOUNDS: Readonly<Record<string, Bound>> = {
  rss: {
    of: 'resident memory',
    unit: ' MB',
    allowance: 8,
    why: 'pages that V8 and the allocator keep: of one proxy, two rests differ by some 4 MB',
  },
  heap: {
    of: 'heap',
    unit: ' MB',
    allowance: 4,
    why: 'compiled code, and sessions that idled out and stay in the cache until it is full',
  },
  external: {
    of: 'buffers outside of the heap',
    unit: ' MB',
    allowance: 4,
    why: 'pools of buffers',
  },
  handles: { of: 'handles', unit: '', allowance: 4, why: 'a health check, a scrape' },
  sockets: { of: 'sockets', unit: '', allowance: 4, why: 'a health check, a scrape' },
  streams: { of: 'listening streams', unit: '', allowance: 0, why: '' },
};

const KEYS: Bound = { of: 'keys', unit: '', allowance: 4, why: 'lists of proxies, drains and of who holds what' };

type Run = {
  readonly deployment: Deployment;
  readonly tally: Tally;
  readonly before: Held;
  readonly after: Held;
};

export async function judge({ deployment, tally, before, after }: Run): Promise<readonly Verdict[]> {
  const { proxies, servers } = deployment;
  const effects = servers.effects();
  const { twice, never } = judgeRuns(tally, effects);
  const { failed, lost, unknown, cut } = tally.counts;
  const total = async (name: string): Promise<number> =>
    (await Promise.all(proxies.map((proxy) => metricOf(proxy, name)))).reduce((sum, one) => sum + one);
  const faults = proxies.flatMap(({ process }) => process.lines.filter(({ msg }) => msg === 'fault')).length;
  const none = (what: string, count: number, how = ''): Verdict => ({
    well: count === 0,
    line: `${what}: ${count}${how && ` (${how})`}`,
  });
  return [
    ...(['rss', 'heap', 'external', 'handles', 'sockets', 'streams'] as const).map((key) =>
      compare('first proxy', BOUNDS[key], before.steady[key], after.steady[key]),
    ),
    ...(['handles', 'sockets', 'streams'] as const).map((key) =>
      compare('second proxy', BOUNDS[key], before.other[key], after.other[key]),
    ),
    none('Redis, keys of single sessions', after.remains.sessionKeys, after.remains.kinds),
    compare('Redis', KEYS, before.remains.redisKeys, after.remains.redisKeys),
    compare(
      'Redis',
      { of: 'clients', unit: '', allowance: 0, why: '' },
      before.remains.redisClients,
      after.remains.redisClients,
    ),
    compare(
      'servers',
      { of: 'sessions', unit: '', allowance: 0, why: '' },
      before.remains.backendSessions,
      after.remains.backendSessions,
    ),
    none('failed calls', failed, `of ${callsOf(tally)}; ${unknown} "outcome unknown", ${cut} cut with their proxy`),
    none('calls that ran twice', twice.length, `of ${effects.length} runs`),
    none('calls that were answered and never ran', never.length),
    none('sessions lost', lost, `of ${tally.sessions}; each pinged before its client left`),
    none('sessions lost, as the proxies count', await total('mcp_affinity_sessions_lost_total')),
    none('sessions that could not be opened', tally.unopened),
    none('faults in the logs', faults),
  ];
}

function compare(where: string, bound: Bound | undefined, before: number, after: number): Verdict {
  const { of, unit, allowance, why } = bound ?? { of: '', unit: '', allowance: 0, why: '' };
  const most = before * (1 + SHARE) + allowance;
  const shown = (value: number) => `${unit === '' ? value : value.toFixed(1)}${unit}`;
  const bounds = allowance === 0 ? '10 %' : `10 % and ${allowance}${unit} for ${why}`;
  return {
    well: after <= most,
    line: `${where}, ${of}: ${shown(before)} before, ${shown(after)} after (at most ${bounds} more)`,
  };
}

/** Prints them, and the line of a test run's summary; true when all is well. */
export function printVerdicts(verdicts: readonly Verdict[], tally: Tally, say: (line: string) => void): boolean {
  const { refused, asked, unanswered, slow, slowest, streams, failures } = tally;
  say(
    `${callsOf(tally)} calls, slowest ${(slowest / 1_000).toFixed(1)} s, ${slow.length} above 5 s; ${refused} times 503 with ` +
      `Retry-After, and sent again; ${asked} questions answered, ${unanswered} not; ${streams} listening streams`,
  );
  // A question that went astray with its stream is given up after 5 s by the server.
  for (const line of slow.filter((one) => !/^ask answered 5\.\d s$/.test(one)).slice(0, 20)) say(`  ${line}`);
  for (const [words, times] of failures) say(`  ${times} × ${words}`);
  for (const { well, line } of verdicts) say(`${well ? 'ok  ' : 'FAIL'}  ${line}`);
  const passed = verdicts.filter(({ well }) => well).length;
  say(`${passed} passed, ${verdicts.length - passed} failed`);
  return passed === verdicts.length;
}
