/** A process of `redis-server` of a test's own, as a registry or a sentinel, on free ports: to be paused, killed, started again. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { install } from '../installed.ts';

/** Milliseconds until it must answer, and until it must be gone. */
const DEADLINE = 10_000;
/** Another process may take a port between our finding it free and Redis listening there. */
const PORTS_TO_TRY = 5;
const PROGRAM = 'redis-server';
const HOW_TO_INSTALL = `${PROGRAM} is not on PATH: install Redis 7 or later, as with \`apt-get install redis-server\` or \`brew install redis\``;
/** What a registry, and what a sentinel, says when it listens. */
const READY = /Ready to accept connections|Sentinel ID is/;

/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export type RedisProcess = {
  /** The same after a restart. */
  readonly port: number;
  /** SIGSTOP: connections are accepted (by the kernel), and nothing is answered. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** SIGTERM, also to a paused one; resolves when the process is gone. Nothing to do for one that is gone already. */
  stop(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill9(): Promise<void>;
  /** Starts it anew on its port, empty; resolves when it listens. It must be gone. */
  start(): Promise<void>;
  /** Kills it and removes what it wrote. Idempotent. */
  close(): Promise<void>;
};

/** Lines of its configuration file, from its port and another that is free. */
export type Settings = (port: number, another: number) => readonly string[];

/** Starts one, without persistence; installs `redis-server` first where that can be done (Debian, as root). */
export async function startProcess(settings: Settings, mode: readonly string[] = []): Promise<RedisProcess> {
  if ((await install(PROGRAM)) === undefined) throw new Error(HOW_TO_INSTALL);
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-redis-'));
  try {
    const { first, port } = await startSomewhere(folder, settings, mode);
    let child = first;
    return {
      port,
      pause: () => void child.kill('SIGSTOP'),
      resume: () => void child.kill('SIGCONT'),
      stop: () => endOf(child, 'SIGTERM'),
      kill9: () => endOf(child, 'SIGKILL'),
      async start() {
        child = await startIn(folder, mode);
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

async function startSomewhere(folder: string, settings: Settings, mode: readonly string[]) {
  let cause: unknown;
  for (let tries = 0; tries < PORTS_TO_TRY; tries += 1) {
    const port = await freePort();
    const lines = [...settings(port, await freePort()), 'bind 127.0.0.1', `dir ${folder}`];
    writeFileSync(join(folder, 'redis.conf'), `${lines.join('\n')}\n`);
    try {
      return { first: await startIn(folder, mode), port };
    } catch (error) {
      cause = error;
    }
  }
  throw cause;
}

async function startIn(folder: string, mode: readonly string[]): Promise<ChildProcess> {
  const child = spawn(PROGRAM, [join(folder, 'redis.conf'), ...mode], { stdio: ['ignore', 'pipe', 'ignore'] });
  running.add(child);
  child.once('exit', () => running.delete(child));
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000);
    if (READY.test(output)) resolve();
  });
  child.once('error', reject);
  child.once('exit', () => reject(new Error(`${PROGRAM} ended before it listened: ${output.slice(-500)}`)));
  const late = setTimeout(() => reject(new Error(`${PROGRAM} did not listen in ${DEADLINE} ms`)), DEADLINE);
  try {
    await ready;
    return child;
  } catch (error) {
    await endOf(child, 'SIGKILL');
    throw error;
  } finally {
    clearTimeout(late);
  }
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
