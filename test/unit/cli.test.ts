/** The command as it is sold: a real process, what it prints and how it ends. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { OPTIONS } from '../../proxy/options.ts';

/** In code the way of discovery is the one that is given. */
const IN_CODE = Object.keys(OPTIONS)
  .filter((name) => name !== 'discovery')
  .toSorted();
const CLI = fileURLToPath(new URL('../../proxy/cli.ts', import.meta.url));

function start(args: readonly string[], env: Record<string, string> = {}) {
  return spawn(process.execPath, [CLI, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
}

async function run(args: readonly string[], env: Record<string, string> = {}) {
  const child = start(args, env);
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { out, err, code: child.exitCode };
}

describe('questions', () => {
  test.each([[['--help']], [['-h']], [['--port', 'x', '--help']]])(
    '%j: each flag, its variable and default',
    async (args) => {
      const { out, err, code } = await run(args);
      expect({ err, code }).toEqual({ err: '', code: 0 });
      for (const option of Object.values(OPTIONS)) {
        const line = out.split('\n').find((row) => row.trim().startsWith(`--${option.flag} `));
        expect(line).toContain(` ${option.env} `);
        expect(line).toContain('fallback' in option ? `[${option.fallback}]` : `[${option.unset}]`);
      }
      expect(out).toMatch(/^Usage: mcp-affinity --backend URL/);
      expect(out).toContain('Examples:');
      expect(out.split('\n').filter((row) => row.length > 160)).toEqual([]);
    },
  );

  test.each(['--version', '-v'])('%s', async (flag) => {
    const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    const { out, err, code } = await run([flag]);
    expect({ err, code }).toEqual({ err: '', code: 0 });
    expect(manifest).toMatchObject({ version: out.trim() });
  });
});

describe('a wrong configuration ends with 2 and says so on stderr', () => {
  test('an unknown flag', async () => {
    expect(await run(['--backend', 'http://a', '--no-such', 'none'])).toEqual({
      out: '',
      err: 'mcp-affinity: --no-such: unknown flag, see --help\nSee mcp-affinity --help.\n',
      code: 2,
    });
  });

  test('nothing at all', async () => {
    const { out, err, code } = await run([]);
    expect({ out, code }).toEqual({ out: '', code: 2 });
    expect(err).toMatch(/^mcp-affinity: --backend or BACKENDS: expected at least one backend/);
  });

  test('all faults at once, without a password', async () => {
    const { err, code } = await run(['--port', 'x', '--prot', '1'], {
      BACKENDS: 'a',
      REDIS_URL: 'redis://:hun/ter2@r',
    });
    expect(code).toBe(2);
    const named = err.split('\n').flatMap((line) => line.split(':')[1]?.trim() ?? []);
    expect(named).toEqual(['--prot', '--port', 'BACKENDS', 'REDIS_URL']);
    expect(err).not.toMatch(/hun|ter2/);
  });
});

test('a right one listens, says where in the first line, and ends with 0 when told to stop', async () => {
  const child = start([
    '--port',
    '0',
    '--ops-port',
    '0',
    '--backend',
    'http://127.0.0.1:9',
    '--log-level',
    'error',
    '--lame-duck-seconds',
    '0',
  ]);
  const ended = once(child, 'exit');
  try {
    const first = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
    const line: unknown = JSON.parse(String(first.value));
    expect(line).toMatchObject({ msg: 'listening', path: '/mcp', backends: [expect.stringContaining('127.0.0.1:9')] });
    expect(line).toMatchObject({ port: expect.any(Number), opsPort: expect.any(Number) });
    child.kill('SIGTERM');
    await ended;
    expect(child.exitCode).toBe(0);
  } finally {
    child.kill('SIGKILL');
  }
});

test('docs/options.md names each option, by flag, environment and in code, and no other', () => {
  const page = readFileSync(new URL('../../docs/options.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| (`--[^|]*) \| ([^|]*) \| ([^|]*) \|/gm)];
  const named = (column: 1 | 2 | 3, pattern: RegExp) =>
    rows.flatMap((row) => row[column]?.match(pattern) ?? []).toSorted();
  const all = Object.values(OPTIONS);
  expect(named(1, /(?<=`--)[a-z-]+/g)).toEqual(all.map(({ flag }): string => flag).toSorted());
  expect(named(2, /(?<=`)[A-Z_]+(?=`)/g)).toEqual(all.map(({ env }): string => env).toSorted());
  expect(named(3, /(?<=`)\w+(?=`)/g)).toEqual(IN_CODE);
});

test('each option in code says its default', () => {
  const source = readFileSync(new URL('../../proxy/library-options.ts', import.meta.url), 'utf8');
  const said = [...source.matchAll(/\/\*\*([^]*?)\*\/\s+readonly (\w+)\?:/g)];
  const documented = new Map(said.map(([, words = '', name = '']) => [name, words.replaceAll(/\s+(\* )?/g, ' ')]));
  expect(IN_CODE.filter((name) => !documented.has(name))).toEqual([]);
  for (const [name, option] of Object.entries(OPTIONS)) {
    if (!('fallback' in option) || name === 'discovery') continue;
    expect(documented.get(name)).toContain(`Default: ${option.fallback}.`);
  }
});
