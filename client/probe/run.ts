/** A run of the survival probe, from its flags to its exit code. */

import { openSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createEvidence, type Evidence, type Row, type Sums } from './evidence.ts';
import { helpOf, parseProbe, type ProbeOptions } from './options.ts';
import { createProgress, type Progress } from './progress.ts';
import { reasonOf } from './reason.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { createSession, lacking, within } from './session.ts';

const EXIT_LOST = 1;
const EXIT_USAGE = 2;

/** What the calls came to. */
type Tally = {
  /** In the order in which they answered, again each time. */
  readonly tasks: string[];
  made: number;
  failed: number;
  /** The most keys that the state was seen to hold. */
  largest: number;
};

/** What a run needs. */
type House = { readonly options: ProbeOptions; readonly evidence: Evidence; readonly recorder: Recorder };

/** Every call that was asked for, unless the session cannot be opened or `stop` says so. */
async function run(house: House, progress: Progress, stop: AbortSignal): Promise<Tally> {
  const { options, evidence, recorder } = house;
  const started = performance.now();
  const tally: Tally = { tasks: [], made: 0, failed: 0, largest: 0 };
  const session = createSession(options, recorder.fetch, (task) => tally.tasks.push(task));
  const complain = (of: string) => (error: unknown) => progress.say(`${of}: ${evidence.clean(reasonOf(error))}`);
  const callOnce = async (number: number) => {
    const begun = performance.now();
    recorder.begin(number);
    try {
      tally.largest = Math.max(tally.largest, await session.call(number));
    } catch (error) {
      tally.failed += 1;
      recorder.failed(reasonOf(error), performance.now() - begun);
      complain(`call ${number}`)(error);
    }
    recorder.begin(null);
    tally.made += 1;
    progress.show({ made: tally.made, failed: tally.failed, task: tally.tasks.at(-1) });
  };

  try {
    await session.open();
    const without = lacking(await session.tools());
    if (without.length > 0) throw new Error(`the server has no ${without.join(' and no ')}: is it the sample server?`);
    for (let number = 1; number <= options.calls && !stop.aborted; number += 1) {
      if (number > 1) await pause(options.delay * 1000, undefined, { signal: stop }).catch(() => {});
      if (!stop.aborted) await callOnce(number);
    }
  } catch (error) {
    recorder.failed(reasonOf(error), performance.now() - started);
    complain('no call can be made')(error);
  }
  await session.end().catch(complain('the end of the session'));
  await session.close();
  await recorder.settled();
  progress.end();
  return tally;
}

/** The summary, its keys in the order in which they are read. */
function summarize({ tasks, made, failed, largest }: Tally, sums: Sums, asked: number) {
  const whole = made === asked && failed === 0;
  return {
    http_status_counts: sums.statuses,
    unique_task_ids: [...new Set(tasks)],
    first_task_id: tasks[0] ?? null,
    last_task_id: tasks.at(-1) ?? null,
    max_state_size: largest,
    session_not_found_count: sums.sessionsNotFound,
    error_rows: sums.errorRows,
    session_complete: whole && sums.sessions === 1 && sums.sessionsNotFound === 0,
  };
}

/** A sentence on a session that is opened and ended at once; `timeout` seconds are for all of it. */
async function check({ options, evidence, recorder }: House): Promise<{ good: boolean; says: string }> {
  const begun = performance.now();
  const session = createSession(options, recorder.fetch, () => {});
  let step = 'initialize';
  const steps = async () => {
    await session.open();
    step = 'tools/list';
    const tools = await session.tools();
    step = 'DELETE';
    const ending = session.opened() ? 'DELETE' : 'no session to end';
    await session.end();
    return `initialize, tools/list (${tools.length} tools), ${ending}`;
  };
  const where = `${options.endpoint.origin}${options.endpoint.pathname}`;
  try {
    const done = await within(options.timeout, steps());
    return { good: true, says: `ok: ${where}: ${done} in ${Math.round(performance.now() - begun)} ms` };
  } catch (error) {
    return { good: false, says: `failed: ${where}: ${step}: ${evidence.clean(reasonOf(error))}` };
  } finally {
    await session.close();
    await recorder.settled();
  }
}

/** Where rows go. Each is written before the next thing happens: a probe that is killed leaves what it saw. */
function openOut(out: string | undefined): (row: Row) => void {
  if (out === undefined) return () => {};
  if (out === '-') return (row) => void process.stdout.write(`${JSON.stringify(row)}\n`);
  const file = openSync(out, 'w');
  return (row) => void writeSync(file, `${JSON.stringify(row)}\n`);
}

function wrong(faults: readonly string[], called: string): number {
  process.stderr.write(`probe: ${faults.join('\nprobe: ')}\nSee ${called} --help.\n`);
  return EXIT_USAGE;
}

/** `called`: the command that it was called by, for its help. Resolves with the exit code; may leave things open. */
export async function probe(args: readonly string[], called: string): Promise<number> {
  const parsed = parseProbe(args);
  if (parsed.kind === 'faults') return wrong(parsed.faults, called);
  if (parsed.kind === 'help') {
    process.stdout.write(helpOf(called));
    return 0;
  }
  const { options } = parsed;
  let write: (row: Row) => void;
  try {
    write = openOut(options.out);
  } catch (error) {
    const fault = `--out: expected a file that can be written, got ${JSON.stringify(options.out)}: ${reasonOf(error)}`;
    return wrong([fault], called);
  }
  const evidence = createEvidence(
    write,
    options.headers.flatMap(([, value]) => [value, ...value.split(' ')]),
  );
  const house = { options, evidence, recorder: createRecorder(evidence) };
  if (options.check) {
    const { good, says } = await check(house);
    process.stdout.write(`${options.json ? JSON.stringify({ ok: good, says }) : says}\n`);
    return good ? 0 : EXIT_LOST;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const tally = await run(house, createProgress(options.calls, process.stderr), stop.signal);
  const summary = summarize(tally, evidence.sums(), options.calls);
  process.stdout.write(`${JSON.stringify(summary)}\n`);
  return summary.session_complete ? 0 : EXIT_LOST;
}
