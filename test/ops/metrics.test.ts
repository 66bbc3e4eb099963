/** A proxy's real /metrics: its names, docs/metrics.md, and what rules and dashboard ask for. */

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../proxy/config.ts';
import { start } from '../../proxy/main.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';
import { type Metric, metricsIn } from '../house/exposition.ts';
import { type Panel, dashboard, rules, sourceUid } from '../house/observability.ts';
import { readQuery } from '../house/promql.ts';

const DOC = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
/** Of Prometheus itself. */
const BUILT_IN = ['up', 'ALERTS'];
const BUILT_IN_LABELS = ['job', 'instance', 'alertname', 'alertstate', 'le'];

let metrics: readonly Metric[] = [];
let stop = async () => {};

beforeAll(async () => {
  const parsed = parseConfig(
    ['--backend', 'http://127.0.0.1:9', '--port', '0', '--ops-port', '0', '--lame-duck-seconds', '0'],
    {},
  );
  if (parsed.kind === 'faults') throw new Error(parsed.faults.join());
  const proxy = await start(parsed.config, createTelemetry({ level: 'error', destination: { write: () => {} } }));
  stop = () => proxy.stop();
  metrics = metricsIn(await (await fetch(`http://127.0.0.1:${proxy.opsPort}/metrics`)).text());
});
afterAll(() => stop());

const series = () => new Set(metrics.flatMap((metric) => [...metric.series, metric.name]));
const ours = () => metrics.filter(({ name }) => name.startsWith('mcp_affinity_'));

describe('names, after Prometheus', () => {
  test('are words with underscores, of ours or of the process', () => {
    const odd = metrics
      .map(({ name }) => name)
      .filter((name) => !/^(mcp_affinity|process|nodejs)(_[a-z0-9]+)+$/.test(name));
    expect(odd).toEqual([]);
  });

  test('end in _total when they count, and only then', () => {
    const wrong = metrics.filter(({ name, type }) => name.endsWith('_total') !== (type === 'counter'));
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });

  test('are in base units', () => {
    const other = /_(milli|micro|nano)?(ms|msec|millis|milliseconds|minutes|hours|kb|mb|kilobytes|percent)(_|$)/;
    expect(metrics.map(({ name }) => name).filter((name) => other.test(name))).toEqual([]);
    const measured = ours().filter(({ type }) => type === 'histogram');
    expect(measured.filter(({ name }) => !name.endsWith('_seconds')).map(({ name }) => name)).toEqual([]);
  });
});

type Row = { readonly name: string; readonly type: string; readonly labels: ReadonlyMap<string, readonly string[]> };

/** The tables of metrics in the docs; a label is followed by its values where they are ours. */
const rows = (): readonly Row[] =>
  [...DOC.matchAll(/^\| `(\w+)` \| (counter|gauge|histogram) \|(.*?)\| \S.*\|$/gm)].map(
    ([, name = '', type = '', labels = '']) => {
      const pairs = [...labels.matchAll(/`(\w+)`(?:: ([^;`]+))?/g)];
      return { name, type, labels: new Map(pairs.map(([, label = '', values = '']) => [label, list(values)])) };
    },
  );
const list = (values: string) => values.split(',').flatMap((value) => value.trim() || []);

describe('docs/metrics.md', () => {
  test('names every metric with its type, and no other', () => {
    const told = rows().map(({ name, type }) => `${name} ${type}`);
    expect(told.toSorted()).toEqual(metrics.map(({ name, type }) => `${name} ${type}`).toSorted());
  });

  test('names every label', () => {
    const seen = metrics.filter(({ labels }) => labels.size > 0);
    const told = new Map(rows().map(({ name, labels }) => [name, [...labels.keys()]]));
    expect(seen.map(({ name }) => [name, told.get(name)])).toEqual(
      seen.map(({ name, labels }) => [name, [...labels.keys()]]),
    );
    const without = ours().filter(({ labels }) => labels.size === 0);
    expect(without.filter(({ name }) => (told.get(name) ?? []).length > 0)).toEqual([]);
  });

  test('and every value of ours; a status is of three digits, or a class', () => {
    const told = new Map(rows().map(({ name, labels }) => [name, labels]));
    const values = ours().map(({ name, labels }) =>
      [...labels].map(([label, seen]) => ({ name, label, seen: [...seen].toSorted() })),
    );
    const [statuses, others] = [true, false].map((yes) =>
      values.flat().filter(({ label }) => (label === 'status') === yes),
    );
    expect(statuses?.flatMap(({ seen }) => seen).filter((value) => !/^[1-5](\d\d|xx)$/.test(value))).toEqual([]);
    const listed = others?.map(({ name, label }) => told.get(name)?.get(label)?.toSorted());
    expect(listed).toEqual(others?.map(({ seen }) => seen));
  });

  test('tells what to do at each alert', () => {
    const told = [...DOC.matchAll(/^\| `(McpAffinity\w+)` \| (\w+) \| \S.*\|$/gm)].map((match) => match.slice(1));
    const alerts = rules().flatMap(({ alert, labels }) => (alert === undefined ? [] : [[alert, labels?.['severity']]]));
    expect(told).toEqual(alerts);
  });
});

describe('rules and dashboard', () => {
  const asked = () => [...rules().map(({ expr }) => expr), ...dashboard().expressions];

  test('ask for what there is', () => {
    const recorded = rules().flatMap(({ record }) => record ?? []);
    const known = new Set([...series(), ...recorded, ...BUILT_IN]);
    const labels = new Set([...metrics.flatMap(({ labels: own }) => Array.from(own.keys())), ...BUILT_IN_LABELS]);
    for (const expression of asked()) {
      const query = readQuery(expression);
      const unknown = [
        ...query.metrics.filter((name) => !known.has(name)),
        ...query.labels.filter((name) => !labels.has(name)),
      ];
      expect({ expression, unknown, good: query.good }).toEqual({ expression, unknown: [], good: true });
    }
  });

  test('ask for all that is ours, between them', () => {
    const used = new Set(asked().flatMap((expression) => readQuery(expression).metrics));
    expect(
      ours()
        .filter((metric) => ![...metric.series].some((name) => used.has(name)))
        .map(({ name }) => name),
    ).toEqual([]);
  });

  test('each panel has its place, its number and the one data source', () => {
    const { panels } = dashboard();
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(panels.flatMap((one, number) => panels.slice(number + 1).filter((other) => overlap(one, other)))).toEqual(
      [],
    );
    const sources = new Set(panels.flatMap(({ targets }) => targets.map(({ datasource }) => datasource.uid)));
    expect([...sources]).toEqual([sourceUid()]);
    expect(panels.filter(({ type, targets }) => (type === 'row') !== (targets.length === 0))).toEqual([]);
  });
});

function overlap({ gridPos: one }: Panel, { gridPos: other }: Panel): boolean {
  const beside = one.x + one.w <= other.x || other.x + other.w <= one.x;
  return !beside && one.y < other.y + other.h && other.y < one.y + one.h;
}
