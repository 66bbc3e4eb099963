/** Keeps the sample server's tool state in a folder, so that the tasks of one machine share it without Redis. */

import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SessionState, StateOptions, StateValue } from '../state.ts';

const DAY = 86_400;

/**
 * A folder for each session, a file for each key, named by SHA-256; the folder's time of change is the last use. A value
 * is written beside its place and renamed into it: a task that is killed in the middle leaves the old value.
 */
export function fileState(directory: string, options: StateOptions = {}): SessionState {
  const lifeMs = (options.ttlSeconds ?? DAY) * 1000;
  const folderOf = (session: string) => join(directory, digest(session));

  return {
    async set(session, key, value) {
      const folder = folderOf(session);
      await use(folder, lifeMs);
      await mkdir(folder, { recursive: true });
      const draft = join(folder, `.${randomUUID()}`);
      await writeFile(draft, JSON.stringify([key, value]), { mode: 0o600 });
      await rename(draft, join(folder, digest(key)));
    },
    async get(session, key): Promise<StateValue> {
      const folder = folderOf(session);
      if (!(await use(folder, lifeMs))) return { kind: 'no-session' };
      const pair = await readPair(join(folder, digest(key)));
      return pair ? { kind: 'value', value: pair[1] } : { kind: 'no-value' };
    },
    async all(session) {
      const folder = folderOf(session);
      if (!(await use(folder, lifeMs))) return { kind: 'no-session' };
      const names = (await readdir(folder)).filter((name) => !name.startsWith('.'));
      const stored = await Promise.all(names.map((name) => readPair(join(folder, name))));
      return { kind: 'values', values: new Map(stored.filter((pair) => pair !== undefined)) };
    },
  };
}

/** Renews a session's life; false when there is none, or when its life is over, and then it is gone. */
async function use(folder: string, lifeMs: number): Promise<boolean> {
  const now = new Date();
  const used = await orAbsent(stat(folder));
  if (!used) return false;
  if (used.mtimeMs + lifeMs > now.getTime()) {
    await orAbsent(utimes(folder, now, now));
    return true;
  }
  await rm(folder, { recursive: true, force: true });
  return false;
}

async function readPair(file: string): Promise<readonly [string, string] | undefined> {
  const text = await orAbsent(readFile(file, 'utf8'));
  if (text === undefined) return undefined;
  const pair: unknown = JSON.parse(text);
  return Array.isArray(pair) ? [String(pair[0]), String(pair[1])] : undefined;
}

async function orAbsent<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
