/** Plots as inline SVG, without a style or a script. Pure. */

import { type Html, html } from './html.ts';

type Values = readonly (number | null)[];

/** In units of the view box, which is stretched to the room that there is. */
const HEIGHT = 40;

/** The highest value, or what a plot of small ones is high; a line at the very top would be no line. */
export function ceilingOf(values: Values, least = 1): number {
  return Math.max(least, ...values.map((value) => value ?? 0));
}

/** A line with the area under it. It breaks where nothing is known. */
export function linePlot(values: Values, label: string): Html {
  const runs = runsOf(values, ceilingOf(values));
  const lines = runs.map((run) => `M${run.join('L')}`).join('');
  const areas = runs.map((run) => `M${xOf(run[0])},${HEIGHT}L${run.join('L')}L${xOf(run.at(-1))},${HEIGHT}Z`).join('');
  return plot(values.length, label, html`<path class="area" d="${areas}" /> <path class="line" d="${lines}" />`);
}

/** A bar for each step in which there was something. */
export function barPlot(values: Values, label: string): Html {
  const ceiling = ceilingOf(values);
  const bars = values.map((value, at) => {
    if (value === null || value === 0) return '';
    // What happened once must be seen, whatever the highest is.
    const height = Math.max(2.5, (value / ceiling) * (HEIGHT - 2));
    return `M${at},${HEIGHT}v${(-height).toFixed(1)}h1v${height.toFixed(1)}Z`;
  });
  return plot(values.length, label, html`<path class="bars" d="${bars.join('')}" />`);
}

function plot(steps: number, label: string, paths: Html): Html {
  return html`<svg
    class="plot"
    viewBox="0 0 ${steps} ${HEIGHT}"
    preserveAspectRatio="none"
    role="img"
    aria-label="${label}"
  >
    ${paths}
  </svg>`;
}

/** A line no higher than the text beside it, which says the same in words. */
export function sparkline(values: Values, ceiling: number): Html {
  const lines = runsOf(values, ceiling).map((run) => `M${run.join('L')}`);
  return html`<svg
    class="spark"
    viewBox="0 0 ${Math.max(1, values.length)} ${HEIGHT}"
    preserveAspectRatio="none"
    aria-hidden="true"
  >
    <path class="line" d="${lines.join('')}" />
  </svg>`;
}

/** A bar of which `part`, from 0 to 1, is filled. */
export function gauge(part: number): Html {
  const width = `${(Math.min(1, Math.max(0, part)) * 100).toFixed(1)}%`;
  return html`<svg class="gauge" aria-hidden="true">
    <rect class="track" width="100%" height="100%" />
    <rect class="fill" width="${width}" height="100%" />
  </svg>`;
}

function runsOf(values: Values, ceiling: number): readonly (readonly string[])[] {
  const runs: string[][] = [];
  let run: string[] | undefined;
  for (const [at, value] of values.entries()) {
    if (value === null) {
      run = undefined;
      continue;
    }
    if (run === undefined) runs.push((run = []));
    run.push(`${at + 0.5},${(HEIGHT - 1 - (value / ceiling) * (HEIGHT - 3)).toFixed(1)}`);
  }
  return runs;
}

function xOf(point: string | undefined): string {
  return point?.split(',')[0] ?? '0';
}
