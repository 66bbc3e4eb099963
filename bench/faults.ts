/** `npm run faults`: what clients notice of each fault of Redis, servers and proxies, as a Markdown table. */

import { parseArgs } from 'node:util';
import { FAULTS } from './fault-list.ts';
import { type Findings, watch } from './scene.ts';

const HELP = `npm run faults -- [options]

For each fault a fresh deployment (two proxies, three SDK servers, a Redis) and 20 SDK clients that call all the time;
prints what they noticed as a Markdown table, and what failed below it. Some 6 minutes.

  --seconds N    how long each fault lasts (default 8)
  --only WORD    the faults whose name contains it
  --list         the names
  --help

Exit code 0: no session was lost and nothing ran twice; 1: else; 2: wrong usage.
`;

const COLUMNS = [
  'fault',
  'calls ok',
  'outcome unknown',
  'failed',
  'above 5 s',
  'slowest',
  'sessions lost',
  'ran twice',
  'new sessions',
  'at the other proxy',
] as const;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const tell = (line: string): void => void process.stderr.write(`${line}\n`);

function row({ name, tally, lost, twice, opens, elsewhere }: Findings): string {
  const { counts, slow, slowest } = tally;
  const cells = [
    name,
    counts.answered,
    counts.unknown,
    counts.failed + counts.lost + counts.cut,
    slow.length,
    `${(slowest / 1_000).toFixed(1)} s`,
    lost,
    twice,
    inWords(opens),
    inWords(elsewhere),
  ];
  return `| ${cells.join(' | ')} |`;
}

/** As in `12 ok, 3 × 503`. */
function inWords(counts: ReadonlyMap<string, number>): string {
  const sorted = [...counts].toSorted(([one], [other]) => one.localeCompare(other));
  return sorted.map(([what, times]) => (what === '200' ? `${times} ok` : `${times} × ${what}`)).join(', ');
}

async function run(only: string | undefined, seconds: number): Promise<boolean> {
  const chosen = FAULTS.filter(({ name }) => name.includes(only ?? ''));
  const rows: string[] = [];
  const failures: string[] = [];
  let well = true;
  for (const fault of chosen) {
    tell(`${new Date().toISOString().slice(11, 19)} ${fault.name}`);
    const findings = await watch(fault, seconds * 1_000).catch((error: unknown) => String(error));
    if (findings === undefined) continue;
    if (typeof findings === 'string') {
      failures.push(`- ${fault.name}: ${findings}`);
      well = false;
      continue;
    }
    rows.push(row(findings));
    tell(rows.at(-1) ?? '');
    for (const [words, times] of findings.tally.failures) failures.push(`- ${fault.name}: ${times} × ${words}`);
    well &&= findings.lost === 0 && findings.twice === 0;
  }
  say(`| ${COLUMNS.join(' | ')} |\n|${'---|'.repeat(COLUMNS.length)}\n${rows.join('\n')}`);
  if (failures.length > 0) say(`\n${failures.join('\n')}`);
  return well;
}

type Plan = 'help' | 'list' | { readonly only: string | undefined; readonly seconds: number };

function plan(): Plan {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '8' },
      only: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  if (values.list) return 'list';
  const seconds = Number(values.seconds);
  if (!(seconds >= 1)) throw new Error(`--seconds: expected a number from 1, got ${values.seconds}`);
  return { only: values.only, seconds };
}

async function main(): Promise<void> {
  let planned: Plan;
  try {
    planned = plan();
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    process.exitCode = 2;
    return;
  }
  if (planned === 'help') return say(HELP);
  if (planned === 'list') return say(FAULTS.map(({ name }) => name).join('\n'));
  process.exitCode = (await run(planned.only, planned.seconds)) ? 0 : 1;
}

// What runs beside is ended when this process exits, but not when a signal ends it.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
await main();
