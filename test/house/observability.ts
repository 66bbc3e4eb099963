/** What observability/ asks Prometheus for: recording rules, alerts, the dashboard's panels. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';

export const OBSERVABILITY = fileURLToPath(new URL('../../observability', import.meta.url));

const RULE = z.object({
  record: z.string().optional(),
  alert: z.string().optional(),
  expr: z.string(),
  labels: z.record(z.string(), z.string()).optional(),
  annotations: z.object({ summary: z.string(), description: z.string() }).optional(),
});
const RULES = z.object({ groups: z.array(z.object({ name: z.string(), rules: z.array(RULE) })) });
const GRID = z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() });
const PANEL = z.object({
  id: z.number(),
  title: z.string(),
  type: z.string(),
  gridPos: GRID,
  targets: z.array(z.object({ expr: z.string(), datasource: z.object({ uid: z.string() }) })).default([]),
});
const DASHBOARD = z.object({
  panels: z.array(PANEL),
  annotations: z.object({ list: z.array(z.object({ expr: z.string() })) }),
});

export type Rule = z.infer<typeof RULE>;
export type Panel = z.infer<typeof PANEL>;

const read = (path: string) => readFileSync(`${OBSERVABILITY}/${path}`, 'utf8');

export function rules(): readonly Rule[] {
  return ['recording', 'alerts'].flatMap((file) =>
    RULES.parse(parse(read(`rules/${file}.yml`))).groups.flatMap((group) => group.rules),
  );
}

export function dashboard(): { readonly panels: readonly Panel[]; readonly expressions: readonly string[] } {
  const { panels, annotations } = DASHBOARD.parse(JSON.parse(read('grafana/dashboards/mcp-affinity.json')));
  const asked = [...panels.flatMap(({ targets }) => targets), ...annotations.list];
  return { panels, expressions: asked.map(({ expr }) => expr) };
}

/** The uid under which Grafana is given its data source. */
export function sourceUid(): string {
  const sources = z.object({ datasources: z.tuple([z.object({ uid: z.string() })]) });
  return sources.parse(parse(read('grafana/provisioning/datasources/prometheus.yml'))).datasources[0].uid;
}
