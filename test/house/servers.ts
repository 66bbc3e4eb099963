/** Sample servers as child processes with names, to be killed, paused and started again in flow tests. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { CHILD_ENV } from './child-env.ts';
import { freePort } from './redis.ts';

const PROGRAM = fileURLToPath(new URL('server.ts', import.meta.url));
/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));
/** Milliseconds until a server must be listening, and until it must be gone. */
const DEADLINE = 30_000;

/** One side effect that a server has begun: a call of `effect` or `safe_effect`. */
export type Effect = { readonly key: string; readonly taskId: string };

/** One sample server. Its task id is its name. */
export type TestServer = {
  readonly id: string;
  /** The same after a restart. */
  readonly port: number;
  readonly origin: string;
  /** Its process has not ended. */
  readonly running: boolean;
  /** What it wrote to stderr, over all its lives. */
  readonly stderr: string;
  /** SIGKILL; resolves when the process is gone. Nothing to do for one that is gone already. */
  kill(): Promise<void>;
  /** SIGTERM, also to a paused one; resolves with the exit code when the process is gone. */
  stop(): Promise<number | null>;
  /** Starts it anew on its port, with an empty memory; kills it first if it runs. */
  restart(): Promise<void>;
  /** SIGSTOP: it accepts connections (the kernel does) and says nothing. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
};

export type TestServers = {
  readonly servers: readonly TestServer[];
  /** By name; throws for a name that was not started. */
  get(id: string): TestServer;
  readonly origins: readonly string[];
  /** The side effects of all of them in the order they began, those of servers killed since included. */
  effects(): readonly Effect[];
  /** Kills all of them and removes what they wrote. Idempotent. */
  close(): Promise<void>;
};

/**
 * Starts one server for each of `ids`, which share their tool state in a folder unless `env` says otherwise. Rejects,
 * with what a server wrote to stderr, when one does not listen in time; none is left behind then. With `addresses`, one
 * for each, as 127.0.0.2, all have the same port, as behind a DNS name; else all are at 127.0.0.1.
 */
export async function startServers(
  ids: readonly string[] = ['a', 'b', 'c'],
  env: Readonly<Record<string, string>> = {},
  addresses?: readonly string[],
): Promise<TestServers> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-test-'));
  const ledger = join(folder, 'ledger.jsonl');
  const store = 'REDIS_URL' in env ? {} : { STATE_DIR: join(folder, 'state') };
  const lives = ids.map((id, at) => {
    const host = addresses?.[at] ?? '127.0.0.1';
    return { id, host, life: newLife({ ...store, CLOCK_MS: '0', LEDGER: ledger, ...env, HOST: host, TASK_ID: id }) };
  });

  const close = async () => {
    await Promise.all(lives.map(({ life }) => life.end('SIGKILL')));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const port = addresses ? await freePort() : 0;
    const servers = await Promise.all(lives.map(({ id, host, life }) => startServer(id, life, host, port)));
    const get = (id: string) => {
      const server = servers.find((one) => one.id === id);
      if (!server) throw new Error(`No server is named ${id}`);
      return server;
    };
    return { servers, get, origins: servers.map(({ origin }) => origin), effects: () => readEffects(ledger), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startServer(id: string, life: Life, host: string, at: number): Promise<TestServer> {
  const port = await life.begin(at);
  return {
    id,
    port,
    origin: `http://${host}:${port}`,
    get running() {
      return life.running();
    },
    get stderr() {
      return life.stderr();
    },
    async kill() {
      await life.end('SIGKILL');
    },
    stop: () => life.end('SIGTERM'),
    async restart() {
      await life.end('SIGKILL');
      await life.begin(port);
    },
    pause: () => life.signal('SIGSTOP'),
    resume: () => life.signal('SIGCONT'),
  };
}

type Life = {
  /** Resolves with the port when the process listens. */
  begin(port: number): Promise<number>;
  end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null>;
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  running(): boolean;
  stderr(): string;
};

function newLife(env: Readonly<Record<string, string>>): Life {
  let child: ChildProcess | undefined;
  let stderr = '';

  return {
    async begin(port) {
      const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
      const begun = spawn(process.execPath, [PROGRAM], { env: { ...CHILD_ENV, PORT: String(port), ...env }, stdio });
      child = begun;
      running.add(begun);
      begun.once('exit', () => running.delete(begun));
      begun.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      return listening(begun, createInterface(begun.stdout), () => stderr);
    },
    end: (signal) => (child ? endOf(child, signal) : Promise.resolve(null)),
    signal: (signal) => void child?.kill(signal),
    running: () => child !== undefined && child.exitCode === null && child.signalCode === null,
    stderr: () => stderr,
  };
}

/** The port in the first line of stdout. */
function listening(child: ChildProcess, lines: NodeJS.EventEmitter, stderr: () => string): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(late);
      reject(new Error(`${why}; stderr: ${stderr()}`));
    };
    const late = setTimeout(() => fail('A server did not listen in time'), DEADLINE);
    child.once('exit', () => fail('A server ended before it listened'));
    lines.once('line', (line: string) => {
      clearTimeout(late);
      const said: unknown = JSON.parse(line);
      const port = typeof said === 'object' && said && 'port' in said ? said.port : undefined;
      if (typeof port === 'number') resolve(port);
      else reject(new Error(`Expected a line that says "listening", got ${line}`));
    });
  });
}

/** Sends the signal, and SIGKILL when that has not ended the process in time. */
function endOf(child: ChildProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => {
    const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
    child.once('exit', (code) => {
      clearTimeout(late);
      resolve(code);
    });
    child.kill(signal);
    child.kill('SIGCONT');
  });
}

function readEffects(ledger: string): readonly Effect[] {
  let text: string;
  try {
    text = readFileSync(ledger, 'utf8');
  } catch {
    return [];
  }
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const [key = '', taskId = ''] = line.split('\t');
    return { key, taskId };
  });
}
