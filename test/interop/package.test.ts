/** The packed package in an empty project: the library, its types, the server part and the bin, without our tools. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { versionOf } from '../house/foreign/kinds.ts';
import { type Packed, installPacked } from '../house/packed.ts';
import { type TestServers, startServers } from '../house/servers.ts';
import { startTalk } from '../house/talk.ts';

const LOCK = z.object({ packages: z.record(z.string(), z.object({ hasInstallScript: z.boolean().optional() })) });
const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
let servers: TestServers;
let packed: Packed;
let folder: string;

/** What a user writes: five lines that matter. */
const APP = `
import express from 'express';
import { sessionAffinity } from 'mcp-affinity';
const app = express();
app.use('/mcp', sessionAffinity({ backends: process.argv.slice(2), logger: { write() {} } }));
const server = app.listen(0, '127.0.0.1', () => console.log(JSON.stringify(server.address())));
`;
const PROXY = `
import { createProxy } from 'mcp-affinity';
const proxy = createProxy({ backends: process.argv.slice(2), port: 0, opsPort: 0, lameDuckSeconds: 0, logger: { write() {} } });
console.log(JSON.stringify(await proxy.listen()));
`;
const TYPED = `
import { createServer } from 'node:http';
import { ConfigurationError, createProxy, sessionAffinity, type Backends, type Proxy, type Sessions } from 'mcp-affinity';
import { findTaskId, memoryState, type SessionState } from 'mcp-affinity/server';
const proxy: Proxy = createProxy({ backends: ['http://127.0.0.1:3000'], holdSeconds: 5 });
const state: SessionState = memoryState({ ttlSeconds: 60 });
const task: Promise<string> = findTaskId();
createServer(sessionAffinity({ backends: ['http://127.0.0.1:3000'], replay: 'never', redis: process.env['REDIS_URL'] }));
// @ts-expect-error: a word that is no policy
createProxy({ backends: [], replay: 'sometimes' });
export type Own = { backends: Backends; sessions: Sessions };
export { ConfigurationError, proxy, state, task };
`;

beforeAll(async () => {
  servers = await startServers(['a', 'b']);
  packed = await installPacked('express', `@types/node@${versionOf('@types/node')}`);
  ({ folder } = packed);
  writeFileSync(join(folder, 'app.js'), APP);
  writeFileSync(join(folder, 'proxy.js'), PROXY);
  writeFileSync(join(folder, 'typed.ts'), TYPED);
}, 180_000);

afterAll(async () => {
  await servers.close();
  packed.remove();
});

/** Starts a program there, and speaks through the port that its first line says. */
async function speakThrough(command: string, args: readonly string[]): Promise<string[]> {
  const program = await packed.start(command, args);
  try {
    const talk = await startTalk(`http://127.0.0.1:${program.port}/mcp`);
    const said = [await talk.count(), await talk.count(), await talk.count()];
    await talk.close();
    return said.map((one) => one.slice(1));
  } finally {
    await program.stop();
  }
}

test('the middleware in an Express app', async () => {
  expect(await speakThrough(process.execPath, ['app.js', ...servers.origins])).toEqual(['1', '2', '3']);
});

test('createProxy', async () => {
  expect(await speakThrough(process.execPath, ['proxy.js', ...servers.origins])).toEqual(['1', '2', '3']);
});

test('the bin, as npx finds it', async () => {
  const backends = servers.origins.flatMap((origin) => ['--backend', origin]);
  const bin = join(folder, 'node_modules', '.bin', 'mcp-affinity');
  expect(await speakThrough(bin, ['--port', '0', '--ops-port', '0', '--lame-duck-seconds', '0', ...backends])).toEqual([
    '1',
    '2',
    '3',
  ]);
  const { stdout } = await run('npx', ['--no-install', 'mcp-affinity', '--version'], { cwd: folder });
  const manifest = z
    .object({ version: z.string() })
    .parse(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')));
  expect(stdout.trim()).toBe(manifest.version);
  expect((await run(bin, ['probe', '--help'])).stdout).toContain('mcp-affinity probe');
});

test('runs nothing as it is installed, and none of its dependencies does', () => {
  const { packages } = LOCK.parse(JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')));
  expect(Object.keys(packages)).toContain('node_modules/mcp-affinity');
  expect(Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript === true)).toEqual([]);
});

/** As a reader does it: the packed package is installed as in beforeAll, and then one command. */
test('the proxy in one command, as README.md has it', async () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const [, block = ''] = /^```sh\n(npm install [^]*?)^```$/m.exec(readme) ?? [];
  const [install, start = '', ...more] = block.trimEnd().split('\n');
  expect({ install, more }).toEqual({ install: `npm install ../mcp-affinity/${packed.file}`, more: [] });
  const [npx = '', ...words] = start.split(' ');
  expect(words.filter((word) => word.startsWith('http'))).toHaveLength(servers.origins.length);
  const origins = [...servers.origins];
  const own = words.map((word) => (word.startsWith('http') ? (origins.shift() ?? '') : word));
  expect(await speakThrough(npx, [...own, '--port', '0', '--ops-port', '0', '--lame-duck-seconds', '0'])).toEqual([
    '1',
    '2',
    '3',
  ]);
});

test.each([
  ['node16', 'node16'],
  ['bundler', 'esnext'],
])('types under %s resolution, those of dependencies checked too', async (moduleResolution, module) => {
  const tsc = join(ROOT, 'node_modules', '.bin', 'tsc');
  const flags = [
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    'false',
    '--types',
    'node',
    '--exactOptionalPropertyTypes',
    '--target',
    'es2024',
    '--module',
    module,
    '--moduleResolution',
    moduleResolution,
  ];
  const { stdout } = await run(tsc, [...flags, 'typed.ts'], { cwd: folder }).catch((error: unknown) => {
    throw new Error(z.object({ stdout: z.string() }).parse(error).stdout);
  });
  expect(stdout).toBe('');
});

test.each(['README.md', 'CHANGELOG.md'])('what %s links to is there', (page) => {
  const installed = join(folder, 'node_modules', 'mcp-affinity');
  const links = [...readFileSync(join(installed, page), 'utf8').matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(
    ([, to = '']) => to,
  );
  const inside = links.filter((to) => !/^[a-z]+:/.test(to));
  expect(inside).toContain('docs/operations.md');
  expect(inside.filter((to) => !existsSync(join(installed, to)))).toEqual([]);
});

test('has neither demos, nor programs that only the repository runs, nor source maps', () => {
  const installed = join(folder, 'node_modules', 'mcp-affinity');
  const all = readdirSync(installed, { recursive: true, encoding: 'utf8' });
  const files = all.filter((path) => !path.startsWith('node_modules'));
  expect(files).toContain(join('dist', 'client', 'probe', 'run.js'));
  expect(files.filter((path) => /demo|\.map$|^dist.client.probe\./.test(path))).toEqual([]);
  const maps = files.filter(
    (path) => path.endsWith('.js') && /^\/\/# sourceMap/m.test(readFileSync(join(installed, path), 'utf8')),
  );
  expect(maps).toEqual([]);
});

test('brings nothing that only we need', () => {
  const lock: unknown = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
  const installed = z.object({ packages: z.record(z.string(), z.unknown()) }).parse(lock);
  const names = Object.keys(installed.packages).map((path) => path.replace(/^.*node_modules\//, ''));
  expect(names.filter((name) => name.startsWith('@types/'))).toEqual(['@types/node']);
  for (const ours of ['vitest', 'typescript', 'oxlint', 'fast-check', 'knip', 'node'])
    expect(names).not.toContain(ours);
});
