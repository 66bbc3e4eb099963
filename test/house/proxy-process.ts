/** The command as a process on ports of its own, to be stopped by signals and started again. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { CHILD_ENV } from './child-env.ts';
import { freePort } from './redis.ts';
import { soon, until } from './until.ts';

const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));
const LINE = z.looseObject({ msg: z.string() });
/** Milliseconds until it must listen, and until it must be gone. */
const DEADLINE = 20_000;

/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export type ProxyProcess = {
  /** The same in every life. */
  readonly port: number;
  readonly opsPort: number;
  /** Of the life that runs or ran last. */
  readonly pid: number;
  /** What it has logged, over all its lives. */
  readonly lines: readonly z.infer<typeof LINE>[];
  readonly signal: (name: NodeJS.Signals) => void;
  /** Of the life that runs or ran last: its exit code, or the signal that ended it. */
  readonly exit: () => Promise<number | string>;
  /** What `/readyz` says. */
  readonly ready: () => Promise<number | 'refused'>;
  /** Starts it on its ports again; it must be gone. */
  readonly start: () => Promise<void>;
  readonly close: () => Promise<void>;
};

/** `node`: flags of Node itself. */
export async function startProxyProcess(flags: readonly string[], node: readonly string[] = []): Promise<ProxyProcess> {
  const [port, opsPort] = [await freePort(), await freePort()];
  const lines: z.infer<typeof LINE>[] = [];
  let child: ChildProcess;
  let exited: Promise<number | string>;

  async function start(): Promise<void> {
    const args = [...node, CLI, '--port', String(port), '--ops-port', String(opsPort), ...flags];
    const life = spawn(process.execPath, args, { env: CHILD_ENV, stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface(life.stderr).on('line', (line) => {
      // What Node says of an inspector, where its flags asked for one.
      if (!/debugger/i.test(line)) process.stderr.write(`${line}\n`);
    });
    child = life;
    running.add(life);
    exited = once(life, 'exit').then(([code, name]: unknown[]) => {
      running.delete(life);
      return typeof code === 'number' ? code : String(name);
    });
    const before = lines.length;
    createInterface(life.stdout).on('line', (line) => lines.push(LINE.parse(JSON.parse(line))));
    await until('the proxy listens', () => lines.length > before, DEADLINE);
  }

  await start();
  return {
    port,
    opsPort,
    get pid() {
      return child.pid ?? 0;
    },
    lines,
    signal: (name) => void child.kill(name),
    exit: () => soon('the exit', exited, DEADLINE),
    async ready() {
      const asking = fetch(`http://127.0.0.1:${opsPort}/readyz`);
      return asking.then(({ status }) => status).catch(() => 'refused' as const);
    },
    start,
    async close() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
