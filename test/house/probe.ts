/** The survival probe as a child process, and what it recorded. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Row } from '../../client/probe/evidence.ts';
import { CHILD_ENV } from './child-env.ts';
import { soon, until } from './until.ts';

const PROGRAM = fileURLToPath(new URL('../../client/probe.ts', import.meta.url));
/** Milliseconds until a probe must have ended, where a test gives it no more. */
const DEADLINE = 25_000;

export type Probe = {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly out: string; readonly err: string; readonly code: number | null }>;
};

export type Recording = Probe & {
  /** What is in its file so far. */
  readonly rows: () => readonly Row[];
  /** Resolves with the task that answered this call, once one has. */
  readonly called: (number: number) => Promise<string>;
};

export function startProbe(args: readonly string[], ms = DEADLINE): Probe {
  const child = spawn(process.execPath, [PROGRAM, ...args], { env: CHILD_ENV, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const said = ended.then(([out, err]) => ({ out, err, code: child.exitCode }));
  return { child, ended: soon('the end of the probe', said, ms) };
}

/** With `--out` into a file; `close` kills the probe and removes the file. */
export function startRecording(args: readonly string[], ms = DEADLINE): Recording & { readonly close: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-probe-'));
  const file = join(folder, 'probe.jsonl');
  const probe = startProbe(['--out', file, ...args], ms);
  const rows = () => rowsIn(readFileSync(file, { encoding: 'utf8', flag: 'a+' }));
  const called = (number: number) =>
    until(
      `call ${number} was answered`,
      () => rows().find(({ call, task_id: task }) => call === number && task !== null)?.task_id ?? undefined,
    );
  const close = () => {
    probe.child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  return { ...probe, rows, called, close };
}

/** A row that is being written has no end yet. */
function rowsIn(jsonl: string): readonly Row[] {
  const lines = jsonl.split('\n').slice(0, -1);
  return lines.map((line): Row => JSON.parse(line));
}
