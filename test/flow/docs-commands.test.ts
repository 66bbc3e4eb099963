/** The commands in README.md and docs/: each is run against a real deployment, or it is said who checks it. */

import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseConfig } from '../../proxy/config.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { soon, until } from '../house/until.ts';

const ROOT = new URL('../../', import.meta.url);
const PAGES = readdirSync(new URL('docs', ROOT)).filter((name) => name.endsWith('.md'));
const PATHS = ['README.md', ...PAGES.map((name) => `docs/${name}`)];

/** Each line of the blocks of shell, with a trailing comment taken off. */
const COMMANDS = PATHS.flatMap((path) => {
  const page = readFileSync(new URL(path, ROOT), 'utf8');
  const blocks = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = '']) => block);
  const lines = blocks.flatMap((block) => block.replaceAll('\\\n', ' ').split('\n'));
  return [...new Set(lines.map((line) => line.replace(/\s+#.*$/, '').trim()).filter((line) => line !== ''))].map(
    (command) => [path, command] as const,
  );
});

/** What is not run here, and who does. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/^npm ci && npm run demo$/, '.ci/run does both'],
  [/^npm ci && npm test$/, '.ci/run does both'],
  [/^npm install \.\.\/mcp-affinity\//, 'the test of the packed package, which installs it so'],
  [/^docker compose /, 'the test of docker-compose.yml'],
  [/^(cd|export|terraform|TF_VAR_release=none terraform|aws) /, 'nobody: they need an account of AWS'],
  [/^kubectl /, 'nobody: they need a cluster'],
  [/ &$/, 'the same in the foreground, of docs/probe.md'],
];

let flow: Flow;
let folder: string;
/** A backend that holds no session, so that its drain ends. */
let free: string;

beforeAll(async () => {
  flow = await startFlow({ redis: true });
  folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-docs-'));
  const shim = (name: string, program: string): void => {
    const file = join(folder, name);
    writeFileSync(file, `#!/bin/sh\nexec '${process.execPath}' '${fileURLToPath(new URL(program, ROOT))}' "$@"\n`);
    chmodSync(file, 0o755);
  };
  shim('mcp-affinity', 'proxy/cli.ts');
  shim('probe', 'client/probe.ts');
}, 180_000);
afterAll(async () => {
  await flow.close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  const talk = await flow.talk();
  const home = await talk.task('ping');
  free = new URL(flow.servers.servers.find(({ id }) => id !== home)?.origin ?? '').host;
  await flow.undrain(flow.servers.servers.find(({ origin }) => origin.endsWith(free))?.id ?? '');
  writeFileSync(join(folder, 'session-id.txt'), `${talk.sessionId}\n`);
});

/** As the reader would put in his own. */
function own(command: string): string {
  return command
    .replaceAll('http://127.0.0.1:9464', flow.proxies[0]!.opsUrl)
    .replaceAll(/https?:\/\/(127\.0\.0\.1:8080|mcp\.example\.com)\/mcp/g, flow.url)
    .replaceAll(/(10\.0\.0\.7|127\.0\.0\.1):3000/g, free)
    .replace(/--calls \d+ --delay \d+/, '--calls 3 --delay 0')
    .replace('npm run probe --', 'probe');
}

function start(command: string) {
  const env = {
    PATH: `${folder}:${process.env['PATH'] ?? ''}`,
    OPS_URL: flow.proxies[0]!.opsUrl,
    OPS_TOKEN: 'unused-by-these-proxies',
  };
  const child = spawn('sh', ['-ec', `exec 2>&1; ${command}`], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  return { child, out: text(child.stdout) };
}

test('there are some', () => {
  for (const path of ['README.md', 'docs/operations.md']) expect(COMMANDS.map(([page]) => page)).toContain(path);
});

/** Runs the proxy with the flags that follow; the test of the packed package starts the one by npx, too. */
const SERVE = /^(npm start --|npx mcp-affinity) (?=--)/;
const isServe = (command: string) => SERVE.test(command);
const isWatch = (command: string) => command.includes('--watch');
const known = (command: string) => ELSEWHERE.some(([rule]) => rule.test(command));
const toRun = COMMANDS.filter(([, one]) => !isServe(one) && !isWatch(one) && !known(one));

test.each(toRun)('%s: %s', async (_path, command) => {
  expect(command).toMatch(/^(mcp-affinity|curl|npm run probe --) /);
  const { child, out } = start(own(command));
  const said = await soon('its end', out, 25_000);
  expect(said).not.toContain('"error"');
  expect({ said, code: child.exitCode ?? (await new Promise((resolve) => child.once('exit', resolve))) }).toMatchObject(
    {
      code: 0,
    },
  );
});

test.each(COMMANDS.filter(([, one]) => isServe(one)))('%s: %s is a configuration that can be', (_path, command) => {
  expect(parseConfig(command.replace(SERVE, '').split(' '), {})).toMatchObject({ kind: 'config' });
});

test.each(COMMANDS.filter(([, one]) => isWatch(one)))(
  '%s: %s shows something until it is stopped',
  async (_path, command) => {
    const { child, out } = start(`exec ${own(command)}`);
    let seen = '';
    child.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    await until('it shows something', () => seen.includes('BACKEND'), 20_000);
    child.kill('SIGINT');
    await out;
    expect(child.exitCode ?? (await new Promise((resolve) => child.once('exit', resolve)))).toBe(0);
  },
);
