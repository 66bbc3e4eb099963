/** `npm run demo`: a conversation through a rolling deployment and two kills of its server, on this machine alone. */

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createPrograms, type Program, type Programs } from './demo/programs.ts';
import { createReport, type Report, type Tally } from './demo/report.ts';
import { type Call, startTalk, type Talk } from './demo/talk.ts';

/** The demo ends within this, in milliseconds, come what may. */
const DEADLINE = 28_000;
/** How long an update of the clock may take to come after a kill. */
const UPDATE_DEADLINE = 5000;
/** How often the client speaks while a task stops. */
const BETWEEN_TURNS = 250;
/** What a call needs to reach a frozen task through the proxy. */
const ON_ITS_WAY = 200;

type House = { readonly tasks: readonly Program[]; readonly proxy: Program };

async function build(programs: Programs, folder: string): Promise<House> {
  const start = (name: string) =>
    programs.start(name, 'server/demo/main', [], { TASK_ID: name, STATE_DIR: join(folder, 'state'), CLOCK_MS: '250' });
  const tasks = await Promise.all(['task-a', 'task-b', 'task-c'].map(start));
  const backends = tasks.flatMap(({ port }) => ['--backend', `http://127.0.0.1:${port}`]);
  const args = ['--port', '0', '--ops-port', '0', '--health-path', '/health', ...backends];
  return { tasks, proxy: await programs.start('proxy', 'proxy/cli', args, {}) };
}

/** Reads, writes, counts, asks who is there: what it wrote is what the next turn must read. */
async function turn(talk: Talk, number: number): Promise<{ readonly gap: boolean }> {
  const read = number > 1 ? await talk.call('get_session_value', { key: 'turn' }) : undefined;
  await talk.call('set_session_value', { key: 'turn', value: String(number) });
  await talk.call('counter');
  await talk.call('ping');
  return { gap: read !== undefined && read.value !== String(number - 1) };
}

/** Kills the home with two calls in flight: one that may be repeated, and one that must not be. */
async function killInFlight(talk: Talk, home: Program, report: Report): Promise<void> {
  report.event(`kill -9 ${home.name}, with a safe and an unsafe call in flight`);
  let slow: Promise<Call> | undefined;
  await new Promise<void>((begun) => {
    slow = talk.call('slow', { ms: 5000, steps: 100 }, begun);
    void slow.then(() => begun());
  });
  home.freeze();
  const safe = talk.call('get_session_value', { key: 'turn' });
  await delay(ON_ITS_WAY);
  await home.kill();
  await Promise.all([slow, safe]);
}

/** As a deployment does it: each task is told to stop, ends when it has given its sessions away, and is started anew. */
async function roll(tasks: readonly Program[], takeTurns: (count: number) => Promise<void>, report: Report) {
  for (const task of tasks) {
    report.event(`SIGTERM to ${task.name}: it gives its sessions away and ends`);
    const ended = task.terminate().then(() => true);
    do await takeTurns(1);
    while (!(await Promise.race([ended, delay(BETWEEN_TURNS, false)])));
    await task.restart();
  }
  report.event('every task has been replaced');
  await takeTurns(1);
}

async function converse(house: House, report: Report): Promise<Tally> {
  const calls: Call[] = [];
  const url = new URL(`http://127.0.0.1:${house.proxy.port}/mcp`);
  const talk = await startTalk(url, (call) => {
    calls.push(call);
    report.call(call);
  });
  const sessionId = talk.sessionId();
  const home = () => {
    const answered = calls.findLast(({ task }) => task !== undefined)?.task;
    const found = house.tasks.find(({ name }) => name === answered);
    if (!found) throw new Error('No task has answered yet');
    return found;
  };
  let turns = 0;
  let gaps = 0;
  const takeTurns = async (count: number) => {
    for (const until = turns + count; turns < until;) {
      turns += 1;
      if ((await turn(talk, turns)).gap) gaps += 1;
    }
  };
  const heard = [await talk.nextUpdate(UPDATE_DEADLINE)];
  const afterwards = async (killed: Program) => {
    await takeTurns(1);
    heard.push(await talk.nextUpdate(UPDATE_DEADLINE));
    await killed.restart();
    report.event(`${killed.name} is started again on its port, with nothing in its memory`);
    await takeTurns(1);
  };

  report.event('a session is open, its stream listens, demo://clock is subscribed');
  await takeTurns(2);

  await roll(house.tasks, takeTurns, report);
  const rolled = calls.length;

  const first = home();
  report.event(`kill -9 ${first.name}, between two calls`);
  await first.kill();
  await afterwards(first);

  const second = home();
  await killInFlight(talk, second, report);
  await afterwards(second);

  const sameSession = sessionId !== undefined && talk.sessionId() === sessionId;
  await talk.end();
  const migrations = await countMigrations(house.proxy);
  const counters = runs(calls.filter(({ tool }) => tool === 'counter').map(({ value }) => Number(value)));
  return { calls, rolled, kills: 2, migrations, gaps, turns, counters, heard, updates: talk.updates(), sameSession };
}

/** Splits where the counter does not go on. */
function runs(values: readonly number[]): number[][] {
  const split: number[][] = [];
  for (const value of values) {
    const last = split.at(-1);
    if (last?.at(-1) === value - 1) last.push(value);
    else split.push([value]);
  }
  return split;
}

async function countMigrations(proxy: Program): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${proxy.opsPort}/metrics`);
  const lines = (await answer.text()).split('\n');
  const counted = lines.filter((line) => /^mcp_affinity_migrations_total\{.*outcome="migrated"/.test(line));
  return counted.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

async function main(): Promise<number> {
  const begun = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-demo-'));
  const programs = createPrograms(folder);
  const report = createReport(process.stdout);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130));
  const tooLate = delay(DEADLINE, undefined, { ref: false }).then(() => {
    throw new Error('It took too long');
  });
  const play = async () => {
    report.say(' One client, one proxy, three tasks of a stateful MCP server: all get replaced, two get killed.');
    const tally = await converse(await build(programs, folder), report);
    return report.verdict(tally, (performance.now() - begun) / 1000);
  };
  try {
    return (await Promise.race([play(), tooLate])) ? 0 : 1;
  } catch (error) {
    report.say(`\n The demo could not go on: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  }
}

// Not exitCode: the programs still run, and the exit is what kills them.
process.exit(await main());
