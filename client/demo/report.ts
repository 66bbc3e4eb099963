/** What the demo shows: a line per call, and the verdict. Colours only on a terminal, and never against NO_COLOR. */

import { styleText } from 'node:util';
import type { Call } from './talk.ts';

type Colour = Parameters<typeof styleText>[0];

/** What the conversation came to. */
export type Tally = {
  readonly calls: readonly Call[];
  /** The calls until every task was replaced. */
  readonly rolled: number;
  readonly kills: number;
  /** As the proxy counted them. */
  readonly migrations: number;
  /** Turns whose value the next turn did not read back. */
  readonly gaps: number;
  readonly turns: number;
  /** The values of the in-memory counter, one list for each life. */
  readonly counters: readonly (readonly number[])[];
  /** Whether an update came on the listening stream after each kill. */
  readonly heard: readonly boolean[];
  readonly updates: number;
  /** The client's session id is still the first one. */
  readonly sameSession: boolean;
};

export type Report = {
  say(text: string): void;
  /** Something happens to a task. */
  event(text: string): void;
  call(call: Call): void;
  /** Prints the verdict; whether it is good. */
  verdict(tally: Tally, seconds: number): boolean;
};

export function createReport(out: NodeJS.WriteStream): Report {
  const paint = (colour: Colour, text: string) => styleText(colour, text, { stream: out });
  const say = (text = '') => void out.write(`${text}\n`);
  let calls = 0;

  return {
    say,
    event: (text) => say(`\n   ${paint('magenta', text)}`),
    call(call) {
      calls += 1;
      const mark = { answered: paint('green', '✓'), unknown: paint('yellow', '?'), failed: paint('red', '✗') };
      const task = paint('cyan', (call.task ?? '-').padEnd(8));
      const milliseconds = call.milliseconds.toFixed(1).padStart(8);
      say(
        ` ${mark[call.outcome]} ${String(calls).padStart(2)}  ${call.tool.padEnd(18)} ${task} ${milliseconds} ms  ${call.text}`,
      );
    },
    verdict(tally, seconds) {
      const findings = judge(tally);
      say(`\n ${paint('bold', 'Verdict')}`);
      for (const { good, what, finding } of findings) {
        say(` ${good ? paint('green', '✓') : paint('red', '✗')} ${what.padEnd(13)} ${finding}`);
      }
      const good = findings.every((finding) => finding.good);
      const word = good ? paint('green', 'The conversation outlived its servers') : paint('red', 'Something was lost');
      say(`\n ${word}, in ${seconds.toFixed(1)} s.`);
      return good;
    },
  };
}

type Finding = { readonly good: boolean; readonly what: string; readonly finding: string };

function judge(tally: Tally): readonly Finding[] {
  const { kills, migrations, counters, calls, rolled } = tally;
  const unanswered = calls.slice(0, rolled).filter(({ outcome }) => outcome !== 'answered').length;
  const failures = calls.filter(({ outcome }) => outcome === 'failed').length;
  const unknown = calls.filter(({ outcome }) => outcome === 'unknown').length;
  const tasks = [...new Set(calls.flatMap(({ task }) => task ?? []))].toSorted();
  const runs = counters.map((run) => run.join(' ')).join(' | ');
  return [
    { good: failures === 0, what: 'calls', finding: `${calls.length} made, ${failures} failed` },
    {
      good: unanswered === 0,
      what: 'deployment',
      finding: `every task replaced under ${rolled} calls, ${unanswered} of them not answered`,
    },
    {
      good: unknown === 1,
      what: 'unknown',
      finding: `${unknown} in flight at a kill and not safe to repeat: the client was told at once`,
    },
    {
      good: tally.sameSession,
      what: 'session',
      finding: tally.sameSession ? 'one id from first to last' : 'its id changed',
    },
    { good: tasks.length > 1, what: 'tasks', finding: `${tasks.length} answered: ${tasks.join(', ')}` },
    {
      good: migrations > kills,
      what: 'migrations',
      finding: `${migrations}: ${migrations - kills} for the deployment, ${kills} for the kills`,
    },
    {
      good: tally.gaps === 0,
      what: 'shared state',
      finding: tally.gaps === 0 ? `no gap in ${tally.turns} turns` : `${tally.gaps} gaps in ${tally.turns} turns`,
    },
    {
      good: counters.length === migrations + 1,
      what: 'counter',
      finding: `${runs}: restarted ${counters.length - 1} times, as it must: it lived in the memory of one task at a time`,
    },
    {
      good: tally.heard.every(Boolean),
      what: 'stream',
      finding: `${tally.updates} updates of demo://clock; after a kill they ${tally.heard.every(Boolean) ? 'went on' : 'stopped'}`,
    },
  ];
}
