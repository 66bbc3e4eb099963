/** What was run with which result: rows that a run fills, prints, and holds against docs/compatibility.md. */

import { readFileSync } from 'node:fs';

export type Row = {
  /** Runs one check and writes `yes`, or the word that it returns, into its column; `no`, and the error on, when it fails. */
  check(column: string, run: () => Promise<string | void>): Promise<void>;
};

export type Table = {
  row(name: string, version: string): Row;
  /** A row that cannot be run here; `why` is said once, in one line. */
  skip(name: string, why: string): void;
  /** As Markdown, in the order of the rows. */
  text(): string;
  /** The rows of this run that `docs/compatibility.md` says otherwise, and the rows that it lacks or has too many. */
  faults(): readonly string[];
};

type Cells = { readonly version: string; readonly results: Map<string, string> } | 'skipped';

const DOC = new URL('../../../docs/compatibility.md', import.meta.url);
/** A cell where there was nothing to run. */
const NONE = '–';

/** `section` is its heading in the document; `first` the head of its first column. */
export function newTable(section: string, first: string, columns: readonly string[]): Table {
  const rows = new Map<string, Cells>();

  function line(name: string, cells: Cells): readonly string[] {
    if (cells === 'skipped') return [name, 'not run'];
    return [name, cells.version, ...columns.map((column) => cells.results.get(column) ?? NONE)];
  }

  return {
    row(name, version) {
      const results = new Map<string, string>();
      rows.set(name, { version, results });
      return {
        async check(column, run) {
          if (!columns.includes(column)) throw new Error(`No column is named ${column}`);
          results.set(column, 'no');
          results.set(column, (await run()) ?? 'yes');
        },
      };
    },
    skip(name, why) {
      rows.set(name, 'skipped');
      process.stdout.write(`${name}: not run (${why})\n`);
    },
    text() {
      const lines = [
        [first, 'version', ...columns],
        ['---', '---', ...columns.map(() => '---')],
        ...[...rows].map(([name, cells]) => line(name, cells)),
      ];
      return `${section}\n\n${lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')}\n`;
    },
    faults() {
      const written = rowsOf(readFileSync(DOC, 'utf8'), section);
      const heads = [first, 'version', ...columns];
      if (JSON.stringify(written[0]) !== JSON.stringify(heads)) return [`${section}: has other columns`];
      const documented = new Map(written.slice(1).map((cells) => [cells[0] ?? '', cells]));
      const untold = [...rows].flatMap(([name, cells]) => {
        const said = documented.get(name);
        const seen = line(name, cells);
        const same = said !== undefined && (cells === 'skipped' || JSON.stringify(said) === JSON.stringify(seen));
        return same ? [] : [`${section}: seen | ${seen.join(' | ')} | written | ${said?.join(' | ') ?? 'nothing'} |`];
      });
      const unseen = [...documented.keys()].filter((name) => !rows.has(name));
      return [...untold, ...unseen.map((name) => `${section}: ${name} was not run`)];
    },
  };
}

/** The cells of the first table under the heading, its line of dashes left out. */
function rowsOf(text: string, section: string): readonly (readonly string[])[] {
  const part = text.split(/^## /m).find((one) => one.startsWith(`${section}\n`)) ?? '';
  return part
    .split('\n')
    .filter((one) => one.startsWith('|') && !/^[|\s:-]+$/.test(one))
    .map((one) =>
      one
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}
