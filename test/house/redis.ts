/** A real Redis of a test's own, on a free port, to be paused, killed and started again. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Milliseconds until it must answer, and until it must be gone. */
const DEADLINE = 10_000;
/** Another process may take a port between our finding it free and Redis listening there. */
const PORTS_TO_TRY = 5;
const PROGRAM = 'redis-server';
const HOW_TO_INSTALL = `${PROGRAM} is not on PATH: install Redis 6 or later, as with \`apt-get install redis-server\` or \`brew install redis\``;

/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export type TestRedis = {
  readonly url: string;
  /** The same after a restart. */
  readonly port: number;
  /** Of the process that runs, or ran last. */
  readonly pid: number;
  /** SIGSTOP: connections are accepted (by the kernel), and nothing is answered. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** SIGTERM, also to a paused one; resolves when the process is gone. Nothing to do for one that is gone already. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill9(): Promise<void>;
  /** Starts it anew on its port, empty; resolves when it answers. It must be gone. */
  start(): Promise<void>;
  /** Kills it and removes what it wrote. Idempotent. */
  close(): Promise<void>;
};

/** Starts one, without persistence; installs `redis-server` first where that can be done (Debian, as root). */
export async function startRedis(): Promise<TestRedis> {
  await ensureInstalled();
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-redis-'));
  try {
    const { first, port } = await startSomewhere(folder);
    let child = first;
    return {
      url: `redis://127.0.0.1:${port}`,
      port,
      get pid() {
        return child.pid ?? 0;
      },
      pause: () => void child.kill('SIGSTOP'),
      resume: () => void child.kill('SIGCONT'),
      stop: () => endOf(child, 'SIGTERM'),
      kill9: () => endOf(child, 'SIGKILL'),
      async start() {
        child = await startAt(port, folder);
      },
      async close() {
        await endOf(child, 'SIGKILL');
        rmSync(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

/** A port that nobody listens on: connections are refused. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

async function startSomewhere(folder: string): Promise<{ first: ChildProcess; port: number }> {
  let cause: unknown;
  for (let tries = 0; tries < PORTS_TO_TRY; tries += 1) {
    const port = await freePort();
    try {
      return { first: await startAt(port, folder), port };
    } catch (error) {
      cause = error;
    }
  }
  throw cause;
}

async function startAt(port: number, folder: string): Promise<ChildProcess> {
  const settings = {
    port,
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    'enable-debug-command': 'local',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(PROGRAM, flags, { stdio: ['ignore', 'pipe', 'ignore'] });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<never>((_, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${PROGRAM} ended before it answered: ${output.slice(-500)}`)));
  });
  try {
    await Promise.race([ended, answers(port, child)]);
    return child;
  } catch (error) {
    await endOf(child, 'SIGKILL');
    throw error;
  }
}

/** Resolves when this very process, and not another that listens there, answers. */
async function answers(port: number, child: ChildProcess): Promise<void> {
  const until = Date.now() + DEADLINE;
  while (Date.now() < until) {
    if ((await ask(port, 'INFO server\r\n')).includes(`process_id:${child.pid}\r\n`)) return;
    if (child.exitCode !== null || child.signalCode !== null) return;
    await delay(10);
  }
  throw new Error(`${PROGRAM} did not answer in ${DEADLINE} ms`);
}

/** The first piece of the answer; empty when there is none. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(command));
    const done = (answer: string): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => done(''));
    socket.setEncoding('utf8').once('data', done);
    socket.once('error', () => done(''));
    socket.once('close', () => done(''));
  });
}

/** Sends the signal, and SIGKILL when that has not ended the process in time. */
function endOf(child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
    child.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    child.kill(signal);
    child.kill('SIGCONT');
  });
}

/** The lock is the kernel's: it goes with the process that holds it, and whoever waited finds the work done. */
async function ensureInstalled(): Promise<void> {
  if (isInstalled()) return;
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) throw new Error(HOW_TO_INSTALL);
  const install = `command -v ${PROGRAM} || { apt-get update && apt-get install --yes --no-install-recommends ${PROGRAM}; }`;
  // A runlevel of 1 keeps the package from starting a Redis of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  const lock = join(tmpdir(), 'mcp-affinity-install-redis.lock');
  await promisify(execFile)('flock', [lock, 'sh', '-c', install], { env }).catch(() => {});
  if (!isInstalled()) throw new Error(HOW_TO_INSTALL);
}

function isInstalled(): boolean {
  const { PATH = '' } = process.env;
  return PATH.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, PROGRAM), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
