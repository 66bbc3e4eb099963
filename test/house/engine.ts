/** A Docker engine with Compose, where one can be had. */

import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** An engine that is made of packages first, and images after it. Milliseconds. */
export const ENGINE_MS = 300_000;

export type Engine = { readonly kind: 'here' } | { readonly kind: 'none'; readonly why: string };
export type Ran = { readonly code: number; readonly out: string; readonly err: string };

/** Runs a program in the repository to its end, whatever that is; a program that is not there ends with 127. */
export function ran(
  program: string,
  args: readonly string[],
  { env = {}, ms = 60_000 }: { readonly env?: Readonly<Record<string, string>>; readonly ms?: number } = {},
): Promise<Ran> {
  const options = { cwd: REPOSITORY, env: { ...process.env, ...env }, timeout: ms, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((done) => {
    const child = execFile(program, args, options, (error, out, err) => {
      const code = child.exitCode ?? (error?.code === 'ENOENT' ? 127 : 1);
      done({ code, out, err: child.signalCode === null ? err : `${err}\nended by ${child.signalCode}` });
    });
  });
}

/**
 * The engine that answers; else the one that the program named by `DOCKER_HERE` starts, or the program of that name in
 * ../shared/tools beside this repository, the one that it is a worktree of, or the one that it was cloned from.
 */
export async function findEngine(): Promise<Engine> {
  if (await answers()) return { kind: 'here' };
  const starter = await findStarter();
  if (starter === undefined) return { kind: 'none', why: 'no Docker engine answers, and DOCKER_HERE names none' };
  const started = await ran(starter, [], { ms: ENGINE_MS });
  if (started.code === 0 && (await answers())) return { kind: 'here' };
  return { kind: 'none', why: `${starter} failed: ${started.err.trim().split('\n').at(-1)}` };
}

async function answers(): Promise<boolean> {
  const all = await Promise.all([ran('docker', ['info']), ran('docker', ['compose', 'version'])]);
  return all.every(({ code, err }) => code === 0 && !err.includes('Cannot connect'));
}

async function findStarter(): Promise<string | undefined> {
  const named = process.env['DOCKER_HERE'];
  if (named !== undefined && named !== '') return runs(named) ? named : undefined;
  const [common, origin] = await Promise.all([
    ran('git', ['rev-parse', '--path-format=absolute', '--git-common-dir']),
    ran('git', ['config', 'remote.origin.url']),
  ]);
  const near = [REPOSITORY, join(common.out.trim(), '..'), origin.out.trim().replace(/\/\.git\/?$/, '')];
  return near
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => resolve(folder, '../shared/tools/docker-here'))
    .find(runs);
}

function runs(program: string): boolean {
  try {
    accessSync(program, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
