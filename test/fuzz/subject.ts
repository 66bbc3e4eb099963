/** The proxy that is tried, as a process: whether it lives, what it complains of, what it holds. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CHILD_ENV } from '../house/child-env.ts';
import { soon } from '../house/until.ts';
import { MAX_BODY } from './shapes.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const INSIDE = new URL('inside.ts', import.meta.url).href;
const FLAGS = ['--port=0', '--ops-port=0', '--hold-seconds=0', '--answer-seconds=2', '--log-level=info'];
const LISTENING = z.object({ msg: z.literal('listening'), port: z.int() });
const LINE = z.looseObject({ msg: z.string() });
const HELD = z.object({ heap: z.number(), sockets: z.int() });

export type Held = z.infer<typeof HELD>;

export type Subject = {
  readonly port: number;
  readonly running: boolean;
  /** What is wrong with it since the last look: it has ended, or logged a fault of its own. */
  readonly faults: () => readonly string[];
  /** After a garbage collection. `heap`: bytes, buffers included. */
  readonly held: () => Promise<Held>;
  readonly close: () => Promise<void>;
};

export async function startSubject(backendPort: number): Promise<Subject> {
  const flags = [...FLAGS, `--max-body=${MAX_BODY}`, `--backend=http://127.0.0.1:${backendPort}`];
  const child = spawn(process.execPath, ['--expose-gc', '--import', INSIDE, CLI, ...flags], {
    env: CHILD_ENV,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let faults: string[] = [];
  let last = '';
  const exited = once(child, 'close');
  child.once('close', (code, signal) => faults.push(`the proxy ended: ${code ?? signal}, after ${last}`));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => faults.push(`on stderr: ${text}`));
  const lines = createInterface(child.stdout!);
  lines.on('line', (line) => {
    last = line;
    const read = LINE.safeParse(safeJson(line));
    if (!read.success) faults.push(`a log line that is no JSON: ${line}`);
    else if (read.data.msg === 'fault') faults.push(`a fault in the log: ${line}`);
  });
  const [first]: unknown[] = await soon('the first line', once(lines, 'line'), 20_000);
  const { port } = LISTENING.parse(JSON.parse(String(first)));
  return {
    port,
    get running() {
      return child.exitCode === null && child.signalCode === null;
    },
    faults() {
      const all = faults;
      faults = [];
      return all;
    },
    async held() {
      const answer = once(child, 'message');
      child.send('what do you hold?');
      const [said]: unknown[] = await soon('what it holds', answer);
      return HELD.parse(said);
    },
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

function safeJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
