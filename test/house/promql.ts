/** What a PromQL expression asks for, by Prometheus' own grammar. */

import { parser } from '@prometheus-io/lezer-promql';

export type Query = {
  readonly metrics: readonly string[];
  /** Those that it matches or groups by. */
  readonly labels: readonly string[];
  readonly good: boolean;
};

/** Grafana's `$__rate_interval` counts as five minutes. */
export function readQuery(expression: string): Query {
  const text = expression.replaceAll('$__rate_interval', '5m');
  const found: { name: string; text: string }[] = [];
  let good = true;
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) good = false;
      found.push({ name: node.name, text: text.slice(node.from, node.to) });
    },
  });
  const named = (name: string) => [...new Set(found.filter((one) => one.name === name).map((one) => one.text))];
  return { metrics: named('Identifier'), labels: named('LabelName'), good };
}
