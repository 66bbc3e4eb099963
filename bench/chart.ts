/** Curves over time as an SVG that stands alone: panels one above the other, with the same time below each. */

export type Curve = { readonly name: string; readonly values: readonly (number | undefined)[] };

export type Panel = {
  readonly title: string;
  readonly unit: string;
  readonly curves: readonly Curve[];
};

export type Chart = {
  readonly title: string;
  readonly subtitle: string;
  /** Seconds of each sample. */
  readonly seconds: readonly number[];
  readonly panels: readonly Panel[];
  /** Spans of time with a name, such as a warm-up. */
  readonly spans: readonly { readonly name: string; readonly from: number; readonly to: number }[];
  /** Moments, by their kind: a tick in the colour of its kind above the panels. */
  readonly marks: readonly { readonly name: string; readonly at: number }[];
};

const WIDTH = 1_000;
const LEFT = 70;
const RIGHT = 20;
const HEAD = 150;
/** Above the first panel's title. */
const MARKS = HEAD - 28;
const PANEL = 150;
const GAP = 62;
const COLOURS = ['#0b6bcb', '#c2410c', '#15803d', '#7c3aed', '#be185d', '#525252'];

export function drawChart(chart: Chart): string {
  const last = Math.max(1, ...chart.seconds);
  const x = (seconds: number): number => LEFT + (seconds / last) * (WIDTH - LEFT - RIGHT);
  const height = HEAD + chart.panels.length * (PANEL + GAP) + 10;
  const bottom = height - GAP - 10;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12" fill="#222">`,
    `<rect width="100%" height="100%" fill="white"/>`,
    text(LEFT, 28, chart.title, 'font-size="18" font-weight="bold"'),
    text(LEFT, 48, chart.subtitle, 'fill="#555"'),
    ...chart.spans.map((span, at) => drawSpan(span, x, bottom, at)),
    ...drawMarks(chart, x, bottom),
    ...chart.panels.map((panel, at) => drawPanel(panel, chart.seconds, x, HEAD + at * (PANEL + GAP))),
    '</svg>',
    '',
  ].join('\n');
}

function drawSpan({ name, from, to }: Chart['spans'][number], x: (at: number) => number, bottom: number, at: number) {
  const shade = at % 2 === 0 ? '#f3f4f6' : '#ffffff';
  const box = `<rect x="${n(x(from))}" y="${MARKS - 12}" width="${n(x(to) - x(from))}" height="${bottom - MARKS + 12}" fill="${shade}"/>`;
  return box + text((x(from) + x(to)) / 2, MARKS - 18, name, 'text-anchor="middle" fill="#555" font-size="11"');
}

function drawMarks({ marks }: Chart, x: (at: number) => number, bottom: number): readonly string[] {
  const kinds = [...new Set(marks.map(({ name }) => name))];
  const colour = (name: string) => COLOURS[kinds.indexOf(name) % COLOURS.length];
  return [
    ...marks.map(
      ({ name, at }) =>
        `<line x1="${n(x(at))}" x2="${n(x(at))}" y1="${MARKS}" y2="${bottom}" stroke="${colour(name)}" stroke-opacity="0.35" stroke-dasharray="2 3"/>` +
        `<path d="M${n(x(at))},${MARKS}l-4,-9h8z" fill="${colour(name)}"><title>${name} at ${at.toFixed(0)} s</title></path>`,
    ),
    ...kinds.map((name, at) => legend(LEFT + at * 145, 72, colour(name) ?? '', name)),
  ];
}

function drawPanel({ title, unit, curves }: Panel, seconds: readonly number[], x: (at: number) => number, top: number) {
  const highest = Math.max(0, ...curves.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const step = niceStep(highest / 4);
  const ceiling = Math.max(step, Math.ceil(highest / step) * step);
  const y = (value: number): number => top + PANEL - (value / ceiling) * PANEL;
  const rows = Array.from({ length: Math.round(ceiling / step) + 1 }, (_, at) => at * step);
  const lastSecond = Math.max(1, ...seconds);
  const every = niceStep(lastSecond / 10);
  const columns = Array.from({ length: Math.floor(lastSecond / every) + 1 }, (_, at) => at * every);
  return [
    text(LEFT, top - 8, `${title} (${unit})`, 'font-weight="bold"'),
    ...curves.map(({ name }, at) =>
      legend(WIDTH - RIGHT - (curves.length - at) * 150, top - 12, COLOURS[at % COLOURS.length] ?? '', name),
    ),
    ...rows.map(
      (row) =>
        `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${n(y(row))}" y2="${n(y(row))}" stroke="#d4d4d4" stroke-width="${row === 0 ? 1.5 : 0.5}"/>` +
        text(LEFT - 6, y(row) + 4, `${Number(row.toPrecision(4))}`, 'text-anchor="end" font-size="11"'),
    ),
    ...columns.map((at) => text(x(at), top + PANEL + 15, `${at}`, 'text-anchor="middle" font-size="11"')),
    text((LEFT + WIDTH - RIGHT) / 2, top + PANEL + 30, 'seconds', 'text-anchor="middle" font-size="11" fill="#555"'),
    ...curves.map(({ values }, at) => {
      const lines = runsOf(values, (index, value) => `${n(x(seconds[index] ?? 0))},${n(y(value))}`);
      return `<path d="${lines}" fill="none" stroke="${COLOURS[at % COLOURS.length]}" stroke-width="1.5"/>`;
    }),
  ].join('\n');
}

/** It breaks where nothing is known. */
function runsOf(values: readonly (number | undefined)[], point: (index: number, value: number) => string): string {
  let path = '';
  for (const [at, value] of values.entries()) {
    if (value !== undefined) path += `${at === 0 || values[at - 1] === undefined ? 'M' : 'L'}${point(at, value)}`;
  }
  return path;
}

function niceStep(rough: number): number {
  const unit = 10 ** Math.floor(Math.log10(Math.max(rough, 0.1)));
  return unit * ([1, 2, 5, 10].find((times) => times * unit >= rough) ?? 10);
}

function legend(x: number, y: number, colour: string, name: string): string {
  return `<rect x="${x}" y="${y - 5}" width="14" height="6" fill="${colour}"/>${text(x + 19, y + 2, name, 'font-size="11"')}`;
}

function text(x: number, y: number, words: string, more = ''): string {
  const safe = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${n(x)}" y="${n(y)}" ${more}>${safe}</text>`;
}

const n = (value: number): string => value.toFixed(1);
