/** Prometheus' text format, read back: what a scrape holds. */

export type Metric = {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  /** Without `le`, each with the values that it had. */
  readonly labels: ReadonlyMap<string, ReadonlySet<string>>;
  /** The names under which its values stand, as `…_bucket`. */
  readonly series: ReadonlySet<string>;
};

/** In the order of the text. Throws for a value that belongs to no metric. */
export function metricsIn(text: string): readonly Metric[] {
  const metrics: Metric[] = [];
  for (const line of text.split('\n')) {
    const [, about, name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? [];
    if (about === 'HELP') metrics.push({ name, type: '', help: rest, labels: new Map(), series: new Set() });
    if (about === 'TYPE') metrics.push({ ...lastOf(metrics, name), type: rest });
    if (line !== '' && !line.startsWith('#')) add(metrics.at(-1), line);
  }
  return metrics;
}

function lastOf(metrics: Metric[], name: string): Metric {
  const last = metrics.pop();
  if (last?.name !== name) throw new Error(`${name} has no help`);
  return last;
}

function add(metric: Metric | undefined, line: string): void {
  const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
  if (metric === undefined || !/^(_bucket|_sum|_count)?$/.test(name.replace(metric.name, ''))) {
    throw new Error(`cannot read ${line}`);
  }
  const known = new Map(metric.labels);
  for (const [, label = '', value = ''] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
    if (label !== 'le') known.set(label, new Set([...(known.get(label) ?? []), value]));
  }
  Object.assign(metric, { labels: known, series: new Set([...metric.series, name]) });
}
