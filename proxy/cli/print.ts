/** How the commands print: tables, colours on a terminal only, nothing that a terminal would obey. */

import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

const STYLES: Readonly<Record<string, Style>> = {
  ready: 'green',
  up: 'green',
  suspect: 'yellow',
  draining: 'cyan',
  down: 'red',
  'not ready': 'red',
  ignored: 'red',
  gone: 'red',
};

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function sayJson(value: unknown): void {
  say(JSON.stringify(value));
}

/** The one or the other. */
export function tell(json: boolean, value: unknown, sentence: string): void {
  say(json ? JSON.stringify(value) : sentence);
}

/** In its colour, where stdout is a terminal and `NO_COLOR` does not say otherwise. */
export function state(word: string): string {
  return paint(STYLES[word] ?? 'reset', word);
}

/** A heading row, and columns as wide as their widest cell. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) => row.map(plain));
  const widths = heads.map((head, at) => Math.max(head.length, ...clean.map((row) => row[at]?.length ?? 0)));
  const line = (row: readonly string[], style: (padded: string, cell: string) => string): string =>
    row
      .map((cell, at) => style(at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0), cell))
      .join('  ')
      .trimEnd();
  const body = clean.map((row) =>
    line(row, (padded, cell) => padded.replace(cell, cell in STYLES ? state(cell) : cell)),
  );
  return [line(heads, (padded) => paint('bold', padded)), ...body].join('\n');
}

/** Names are what clients and servers make of them: no control characters, nor those that turn the text around. */
export function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
}

function paint(style: Style, text: string): string {
  return styleText(style, text, { stream: process.stdout });
}
