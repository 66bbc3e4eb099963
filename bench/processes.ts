/** The bench's child processes: each says its port in its first line, and is asked for its CPU time from outside. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

export type Running = {
  readonly pid: number;
  readonly origin: string;
  /** Of its ops port, where it has one. */
  readonly opsOrigin: string | undefined;
  /** SIGTERM; resolves when it is gone. */
  stop(): Promise<void>;
};

/** Milliseconds until a process must be listening, and until it must be gone. */
const DEADLINE = 10_000;
/** The kernel's unit in `/proc/<pid>/stat`: 100 to the second on every Linux. */
const TICK_US = 10_000;

const SAID = z.object({ port: z.number(), opsPort: z.number().optional() });
/** However the bench ends, it leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** Starts one of our programs, a path from the root of the package. */
export async function start(script: string, args: readonly string[] = []): Promise<Running> {
  const file = fileURLToPath(new URL(`../${script}`, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(child);
  child.once('exit', () => running.delete(child));
  const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
  for await (const line of createInterface(child.stdout)) {
    clearTimeout(late);
    child.stdout.resume();
    const { port, opsPort } = SAID.parse(JSON.parse(line));
    const opsOrigin = opsPort === undefined ? undefined : originAt(opsPort);
    return { pid: child.pid ?? 0, origin: originAt(port), opsOrigin, stop: () => stop(child) };
  }
  throw new Error(`${script} ended before it listened`);
}

const originAt = (port: number): string => `http://127.0.0.1:${port}`;

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const late = setTimeout(() => child.kill('SIGKILL'), DEADLINE);
    child.once('exit', () => {
      clearTimeout(late);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/** User and system time of a process so far, all its threads, in microseconds. */
export function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name before these fields is in parentheses and may hold anything; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

/** Inside a child: listens on a free port, says which, and ends on SIGTERM as a program does. */
export function announce(server: Server): void {
  process.once('SIGTERM', () => process.exit(0));
  server.listen(0, '127.0.0.1', () => {
    const address = server.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    process.stdout.write(`${JSON.stringify({ port })}\n`);
  });
}
