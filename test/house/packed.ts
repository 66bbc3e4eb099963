/** The packed package in an empty project, as its users have it: without our sources and tools. */

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PACKED = z.array(z.object({ filename: z.string() })).min(1);
const LISTENING = z.object({ port: z.number() });

export type Packed = {
  readonly folder: string;
  /** The name of the package's file. */
  readonly file: string;
  /** Runs a program there whose first line is JSON with the port that it listens on. */
  start(command: string, args: readonly string[]): Promise<{ readonly port: number; stop(): Promise<void> }>;
  remove(): void;
};

/** Beside it these other packages are installed. */
export async function installPacked(...others: readonly string[]): Promise<Packed> {
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-package-'));
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: ROOT,
  });
  const file = PACKED.parse(JSON.parse(stdout))[0]?.filename ?? '';
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'empty', type: 'module', private: true }));
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm', ['install', ...quiet, `./${file}`, ...others], { cwd: folder });
  return {
    folder,
    file,
    async start(command, args) {
      const { PATH = '' } = process.env;
      const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit'];
      // A group of its own: npx runs what it was asked for as a child, and keeps signals to itself.
      const child = spawn(command, args, { cwd: folder, env: { PATH }, stdio, detached: true });
      const stopGroup = () => process.kill(-(child.pid ?? 0), 'SIGTERM');
      const closed = once(child, 'close');
      process.once('exit', stopGroup);
      const line = await new Promise<string>((resolve, reject) => {
        createInterface(child.stdout).once('line', resolve);
        child.once('exit', (code) => reject(new Error(`${command} ended with ${code} before it listened`)));
      });
      const { port } = LISTENING.parse(JSON.parse(line));
      return {
        port,
        async stop() {
          process.off('exit', stopGroup);
          stopGroup();
          await closed;
        },
      };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
