/** Samples of a soak while it runs: progress lines, and the curves over time. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { type Chart, type Panel, drawChart } from './chart.ts';
import type { Deployment } from './deployment.ts';
import { type ProxyReading, type Remains, readProxy, readRemains } from './measure.ts';
import { type Tally, callsOf } from './tally.ts';

export type History = {
  /** What runs from now on. */
  readonly phase: (name: string) => void;
  /** Something happens now. */
  readonly mark: (name: string) => void;
  /** Ends it, and returns the curves as an SVG. */
  readonly stop: () => Promise<string>;
};

type Sample = {
  readonly at: number;
  readonly proxies: readonly (ProxyReading | undefined)[];
  readonly remains: Remains | undefined;
  readonly calls: number;
  readonly unanswered: number;
};

const SAMPLE_EVERY_MS = 1_000;
/** Samples between two progress lines. */
const LINE_EVERY = 10;
/** A paused Redis does not answer. */
const REDIS_MS = 500;

export function newHistory(deployment: Deployment, redis: Redis, tally: Tally, say: (line: string) => void): History {
  const begun = performance.now();
  const now = () => (performance.now() - begun) / 1_000;
  const samples: Sample[] = [];
  const spans: { name: string; from: number; to: number }[] = [];
  const marks: { name: string; at: number }[] = [];
  const over = new AbortController();
  const told = new Set<string>();

  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const late = delay(REDIS_MS).then(() => undefined);
      const remains = Promise.race([readRemains(deployment, redis).catch(() => undefined), late]);
      const sample = {
        at: now(),
        proxies: await Promise.all(deployment.proxies.map(readProxy)),
        remains: await remains,
        calls: callsOf(tally),
        unanswered: callsOf(tally) - tally.counts.answered,
      };
      samples.push(sample);
      for (const words of tally.failures.keys()) if (!told.has(words)) say(`  failed: ${words}`);
      for (const words of tally.failures.keys()) told.add(words);
      if (samples.length % LINE_EVERY === 0) say(progress(sample, spans.at(-1)?.name ?? '', tally));
      await delay(SAMPLE_EVERY_MS, undefined, { signal: over.signal }).catch(() => {});
    }
  };
  const watching = watch();
  const close = (): void => {
    const open = spans.at(-1);
    if (open) open.to = now();
  };
  return {
    phase(name) {
      close();
      spans.push({ name, from: now(), to: now() });
    },
    mark(name) {
      say(`${now().toFixed(0).padStart(5)} s  ${name}`);
      marks.push({ name, at: now() });
    },
    async stop() {
      over.abort();
      await watching;
      close();
      return drawChart(chartOf(samples, spans, marks));
    },
  };
}

function progress({ at, proxies, remains, calls }: Sample, phase: string, tally: Tally): string {
  const memory = proxies.map((one) => (one ? one.rss.toFixed(0) : '–')).join('/');
  const sockets = proxies.map((one) => (one ? `${one.sockets}` : '–')).join('/');
  const { unknown, cut, failed, lost } = tally.counts;
  return (
    `${at.toFixed(0).padStart(5)} s  ${phase.padEnd(15)} ${calls} calls (${unknown} unknown, ${cut} cut, ${failed} failed, ` +
    `${lost} lost), ${tally.sessions} sessions, RSS ${memory} MB, sockets ${sockets}, ` +
    `${remains?.redisKeys ?? '–'} keys, ${remains?.backendSessions ?? '–'} backend sessions`
  );
}

const NAMES = ['first proxy', 'second (replaced)'];

function chartOf(samples: readonly Sample[], spans: Chart['spans'], marks: Chart['marks']): Chart {
  const each = (key: keyof ProxyReading, of = '') =>
    NAMES.map((name, at) => ({ name: `${of}${name}`, values: samples.map(({ proxies }) => proxies[at]?.[key]) }));
  const rate = (key: 'calls' | 'unanswered') =>
    samples.map((sample, at) => {
      const before = samples[at - 1];
      return before && (sample[key] - before[key]) / (sample.at - before.at);
    });
  const left = (key: 'redisKeys' | 'redisClients' | 'backendSessions') => samples.map(({ remains }) => remains?.[key]);
  const panels: readonly Panel[] = [
    { title: 'Resident memory', unit: 'MB', curves: each('rss') },
    { title: 'V8 heap in use', unit: 'MB', curves: each('heap') },
    { title: 'Buffers outside of the heap', unit: 'MB', curves: each('external') },
    { title: 'Handles of libuv', unit: 'count', curves: each('handles') },
    { title: 'Sockets', unit: 'count', curves: each('sockets') },
    { title: 'Listening streams', unit: 'count', curves: each('streams') },
    {
      title: 'Left elsewhere',
      unit: 'count',
      curves: [
        { name: 'keys in Redis', values: left('redisKeys') },
        { name: 'backend sessions', values: left('backendSessions') },
        { name: 'Redis clients', values: left('redisClients') },
      ],
    },
    {
      title: 'Calls',
      unit: 'per second',
      curves: [
        { name: 'all', values: rate('calls') },
        { name: 'not answered', values: rate('unanswered') },
      ],
    },
  ];
  const calls = samples.at(-1)?.calls ?? 0;
  return {
    title: 'mcp-affinity: two proxies under load and trouble, and at rest before and after',
    subtitle: `${calls} calls; triangles and dashed lines mark what befell the deployment`,
    seconds: samples.map(({ at }) => at),
    panels,
    spans,
    marks,
  };
}
