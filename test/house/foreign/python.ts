/** A Python that has the official SDK and FastMCP, where one can be had: once for all test files that want it. */

import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { until } from '../until.ts';

const run = promisify(execFile);
const FOLDER = join(tmpdir(), 'mcp-affinity-python');
const PYTHON = join(FOLDER, 'bin', 'python');
const LOCK = `${FOLDER}.lock`;
/** Two packages and what they need, from an index nearby or from far away. Milliseconds. */
export const PYTHON_MS = 240_000;
const VERSIONS = 'import importlib.metadata as m; print(m.version("mcp"), m.version("fastmcp"))';

export type Python =
  | { readonly kind: 'python'; readonly path: string; readonly mcp: string; readonly fastmcp: string }
  | { readonly kind: 'none'; readonly why: string };

/** `MCP_PYTHON` names one that has both; else python3 makes one, which is kept. Versions are major. */
export async function findPython(): Promise<Python> {
  const { MCP_PYTHON: given } = process.env;
  if (given !== undefined && given !== '') return ask(given);
  await until('the Python environment is free', lock, PYTHON_MS);
  try {
    const made = await ask(PYTHON);
    if (made.kind === 'python') return made;
    await run('python3', ['-m', 'venv', '--clear', FOLDER]);
    await run(PYTHON, ['-m', 'pip', 'install', '-q', '--retries', '0', 'mcp', 'fastmcp']);
    return await ask(PYTHON);
  } catch (error) {
    const said = error instanceof Error ? error.message.trim().split('\n').at(-1) : String(error);
    return { kind: 'none', why: `MCP_PYTHON is not set, and python3 could not install mcp and fastmcp: ${said}` };
  } finally {
    rmSync(LOCK, { force: true });
  }
}

export function pythonFile(name: string): string {
  return fileURLToPath(new URL(`python/${name}`, import.meta.url));
}

async function ask(path: string): Promise<Python> {
  try {
    const { stdout } = await run(path, ['-c', VERSIONS]);
    const [mcp = '', fastmcp = ''] = stdout
      .trim()
      .split(' ')
      .map((version) => version.split('.')[0]);
    return { kind: 'python', path, mcp, fastmcp };
  } catch {
    return { kind: 'none', why: `${path} has not both mcp and fastmcp` };
  }
}

/** True when it is ours; one whose holder is dead is free. */
function lock(): boolean {
  try {
    writeFileSync(LOCK, String(process.pid), { flag: 'wx' });
    return true;
  } catch {
    if (!holderLives()) rmSync(LOCK, { force: true });
    return false;
  }
}

function holderLives(): boolean {
  try {
    const holder = Number(readFileSync(LOCK, 'utf8'));
    // Its holder has opened it and not written yet.
    return holder === 0 || process.kill(holder, 0);
  } catch {
    return false;
  }
}
