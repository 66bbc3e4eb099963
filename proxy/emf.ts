/** Lines of CloudWatch's embedded metric format: metrics that CloudWatch Logs makes of what is written to stdout. Pure. */

export type Measurement = {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The dimension `Service`: what tells this deployment from others, not one task from another. */
  readonly service: string;
  /** By name; several values of one are each counted in its average. One without any is left out. */
  readonly counts: Readonly<Record<string, readonly number[]>>;
  /** Told beside, for who looks into a line: no dimensions. */
  readonly about?: Readonly<Record<string, string>>;
};

const NAMESPACE = 'McpAffinity';
/** In one line, of one metric (CloudWatch, "Embedded metric format specification"). */
const MOST_VALUES = 100;

/** One JSON object a line, without line feeds; none where there is nothing to tell. */
export function emfLines({ at, service, counts, about = {} }: Measurement): readonly string[] {
  const longest = Math.max(0, ...Object.values(counts).map((values) => values.length));
  return Array.from({ length: Math.ceil(longest / MOST_VALUES) }, (_, line) => {
    const part = Object.entries(counts)
      .map(([name, values]) => [name, values.slice(line * MOST_VALUES, (line + 1) * MOST_VALUES)] as const)
      .filter(([, values]) => values.length > 0);
    const metrics = part.map(([Name]) => ({ Name, Unit: 'Count' }));
    const directive = { Namespace: NAMESPACE, Dimensions: [['Service']], Metrics: metrics };
    const values = part.map(([name, all]) => [name, all.length === 1 ? all[0] : all] as const);
    return JSON.stringify({
      ...about,
      _aws: { Timestamp: Math.trunc(at), CloudWatchMetrics: [directive] },
      Service: service,
      ...Object.fromEntries(values),
    });
  });
}
