/** What was measured, as a table for people and a line for programs. */

import type { Answer } from './load.ts';

/** One round of one peer. */
export type Sample = {
  readonly peer: string;
  readonly answer: Answer;
  /** CPU time of one request, in microseconds. */
  readonly cpu: number;
  /** The same, over the bare pipe's of the same round. */
  readonly ratio: number;
  readonly perSecond: number;
};

export type Row = Omit<Sample, 'peer' | 'answer'> & {
  readonly rounds: number;
  /** Of the ratio: how far it can be believed. */
  readonly lowest: number;
  readonly highest: number;
};

/** The median of each column: a round that was disturbed does not count for more than another. */
function rowOf(samples: readonly Sample[]): Row {
  const column = (key: 'cpu' | 'ratio' | 'perSecond') => median(samples.map((sample) => sample[key]));
  const ratios = samples.map(({ ratio }) => ratio);
  return {
    cpu: column('cpu'),
    ratio: column('ratio'),
    perSecond: column('perSecond'),
    rounds: samples.length,
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length / 2;
  return ((sorted[Math.ceil(half) - 1] ?? NaN) + (sorted[Math.floor(half)] ?? NaN)) / 2;
}

export function summarize(samples: readonly Sample[]): readonly (Row & Pick<Sample, 'peer' | 'answer'>)[] {
  const groups = Map.groupBy(samples, ({ peer, answer }) => `${answer} ${peer}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    return first === undefined ? [] : [{ peer: first.peer, answer: first.answer, ...rowOf(group) }];
  });
}

export function tableOf(rows: ReturnType<typeof summarize>): string {
  const line = (peer: string, answer: string, cpu: string, ratio: string, range: string, perSecond: string) =>
    `${peer.padEnd(26)}${answer.padEnd(8)}${cpu.padStart(12)}${ratio.padStart(8)}${range.padStart(13)}${perSecond.padStart(12)}\n`;
  const lines = rows.map(({ peer, answer, cpu, ratio, lowest, highest, perSecond }) =>
    line(
      peer,
      answer,
      cpu.toFixed(1),
      ratio.toFixed(2),
      `${lowest.toFixed(2)}–${highest.toFixed(2)}`,
      perSecond.toFixed(0),
    ),
  );
  return line('peer', 'answer', 'CPU µs/req', 'ratio', 'range', 'requests/s') + lines.join('');
}
