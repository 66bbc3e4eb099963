/** The demo's child processes: started, frozen, killed, started again on their ports; none outlives the demo. */

import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** Milliseconds until a program must be listening. */
const DEADLINE = 10_000;

/** What a program says in its first line on stdout. */
export type Listening = { readonly port: number; readonly opsPort: number | undefined };

export type Program = {
  readonly name: string;
  /** The same in every life. */
  readonly port: number;
  readonly opsPort: number | undefined;
  /** SIGSTOP: from now on it answers nothing, and what was sent to it waits. */
  freeze(): void;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves when the process has ended by itself. */
  terminate(): Promise<void>;
  /** Starts it on its port again, with nothing in its memory. */
  restart(): Promise<void>;
};

export type Programs = {
  /** Starts `script`, a path from the root of the package, with a free port. Rejects with its last words when it fails. */
  start(name: string, script: string, args: readonly string[], env: Environment): Promise<Program>;
};

type Environment = Readonly<Record<string, string>>;

/** However the demo ends, the programs are killed, by their ids, and `folder` is removed. */
export function createPrograms(folder: string): Programs {
  const running = new Set<ChildProcess>();
  process.once('exit', () => {
    for (const child of running) child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  const launch = (script: string, args: readonly string[], env: Environment) => {
    const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
    const inherited = { PATH: process.env['PATH'] ?? '' };
    const child = spawn(process.execPath, [script, ...args], { env: { ...inherited, ...env }, stdio });
    running.add(child);
    child.once('exit', () => running.delete(child));
    return { child, listening: firstLine(child, createInterface(child.stdout), child.stderr) };
  };

  return {
    async start(name, script, args, env) {
      // As this file is: sources in a checkout, JavaScript when built.
      const file = fileURLToPath(new URL(`../../${script}${extname(import.meta.url)}`, import.meta.url));
      let life = launch(file, args, { ...env, PORT: '0' });
      const { port, opsPort } = await life.listening;
      return {
        name,
        port,
        opsPort,
        freeze: () => void life.child.kill('SIGSTOP'),
        kill: () => gone(life.child, 'SIGKILL'),
        terminate: () => gone(life.child, 'SIGTERM'),
        async restart() {
          await gone(life.child, 'SIGKILL');
          life = launch(file, args, { ...env, PORT: String(port) });
          await life.listening;
        },
      };
    },
  };
}

function firstLine(child: ChildProcess, lines: NodeJS.EventEmitter, stderr: NodeJS.ReadableStream): Promise<Listening> {
  let lastWords = '';
  stderr.setEncoding('utf8').on('data', (text: string) => {
    lastWords = (lastWords + text).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(late);
      reject(new Error(`${child.spawnargs[1]} ${why}\n${lastWords}`.trim()));
    };
    const late = setTimeout(() => fail('did not listen in time'), DEADLINE);
    child.once('exit', () => fail('ended before it listened'));
    lines.once('line', (line: string) => {
      const said = portsIn(line);
      if (!said) return fail(`said ${line}`);
      clearTimeout(late);
      return resolve(said);
    });
  });
}

function portsIn(line: string): Listening | undefined {
  const said: unknown = JSON.parse(line);
  if (typeof said !== 'object' || !said || !('port' in said) || typeof said.port !== 'number') return undefined;
  return { port: said.port, opsPort: 'opsPort' in said && typeof said.opsPort === 'number' ? said.opsPort : undefined };
}

function gone(child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => resolve());
    child.kill(signal);
  });
}
