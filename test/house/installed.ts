/** Programs that tests run and npm does not bring: from the PATH, or installed where that can be done. */

import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** Where the program is, installed by `apt-get` first where need be (Debian, as root); undefined where it cannot be had. */
export async function install(program: string): Promise<string | undefined> {
  const there = find(program);
  if (there !== undefined) return there;
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) return undefined;
  const command = `command -v ${program} || { apt-get update && apt-get install --yes --no-install-recommends ${program}; }`;
  // A runlevel of 1 keeps a package from starting a server of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  // The lock is the kernel's: it goes with the process that holds it, and whoever waited finds the work done.
  const lock = join(tmpdir(), `mcp-affinity-install-${program}.lock`);
  await promisify(execFile)('flock', [lock, 'sh', '-c', command], { env }).catch(() => {});
  return find(program);
}

function find(program: string): string | undefined {
  const { PATH = '' } = process.env;
  const places = PATH.split(delimiter).map((folder) => join(folder, program));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
