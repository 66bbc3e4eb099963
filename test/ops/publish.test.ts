/** terraform/publish.sh in a repository of its own, with stand-ins for aws and docker that write down what they are told. */

import { execFile } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TERRAFORM } from '../house/terraform.ts';

const REGISTRY = '123456789012.dkr.ecr.eu-west-1.amazonaws.com';
/** Images are there where a file says so. */
const AWS = `#!/bin/sh
echo "aws $*" >> "$LOG"
case "$2" in
  get-login-password) echo secret ;;
  describe-images) grep -qsF "$6 $8" "$PUBLISHED" ;;
esac
`;
const DOCKER = `#!/bin/sh
echo "docker $*" >> "$LOG"
if [ "$1" = login ]; then cat > /dev/null; fi
`;

let folder = '';

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-publish-'));
  mkdirSync(join(folder, 'repository', 'terraform'), { recursive: true });
  mkdirSync(join(folder, 'bin'));
  for (const [name, text] of Object.entries({ aws: AWS, docker: DOCKER })) {
    writeFileSync(join(folder, 'bin', name), text);
    chmodSync(join(folder, 'bin', name), 0o755);
  }
  copyFileSync(join(TERRAFORM, 'publish.sh'), join(folder, 'repository', 'terraform', 'publish.sh'));
  await git('init', '--quiet');
  await git('add', '--all');
  await git('-c', 'user.name=a', '-c', 'user.email=a@b.test', 'commit', '--quiet', '--message', 'All');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

type Ran = { readonly code: number; readonly out: string; readonly err: string };

function run(program: string, args: readonly string[]): Promise<Ran> {
  const PATH = `${join(folder, 'bin')}:${process.env['PATH']}`;
  const env = { ...process.env, PATH, LOG: join(folder, 'log'), PUBLISHED: join(folder, 'published') };
  return new Promise((resolve) => {
    const child = execFile(program, args, { cwd: join(folder, 'repository'), env }, (_error, out, err) =>
      resolve({ code: child.exitCode ?? 1, out, err }),
    );
  });
}

const git = (...args: string[]) => run('git', args);
const publish = (...args: string[]) => run(join(folder, 'repository', 'terraform', 'publish.sh'), args);
const told = () =>
  existsSync(join(folder, 'log')) ? readFileSync(join(folder, 'log'), 'utf8').trim().split('\n') : [];

test('builds both targets for the platform, pushes them under the commit, and says its tag', async () => {
  const { out: commit } = await git('rev-parse', '--short=12', 'HEAD');
  const { code, out } = await publish(`${REGISTRY}/mcp`);
  expect({ code, out }).toEqual({ code: 0, out: commit });
  const tag = commit.trim();
  const built = (target: string) =>
    `docker buildx build --platform linux/arm64 --target ${target} --tag ${REGISTRY}/mcp/${target}:${tag} --provenance=false --push .`;
  expect(told().filter((line) => line.startsWith('docker'))).toEqual([
    `docker login --username AWS --password-stdin ${REGISTRY}`,
    built('proxy'),
    built('server'),
  ]);
  expect(told().join('\n')).not.toContain('secret');
});

test('for another platform', async () => {
  await publish(`${REGISTRY}/a/b`, 'linux/amd64');
  expect(told().filter((line) => line.includes('--platform linux/amd64 --target'))).toHaveLength(2);
});

test('an image that is there is not built again', async () => {
  const { out: commit } = await git('rev-parse', '--short=12', 'HEAD');
  writeFileSync(join(folder, 'published'), `mcp/proxy imageTag=${commit}`);
  const { code, err } = await publish(`${REGISTRY}/mcp`);
  expect(code).toBe(0);
  expect(err).toContain('mcp/proxy:');
  expect(
    told()
      .filter((line) => line.includes('buildx'))
      .join('\n'),
  ).toMatch(/^[^\n]*--target server [^\n]*$/);
});

test.each([
  [[], 'expected a prefix'],
  [['mcp'], 'expected a prefix'],
  [[`${REGISTRY}/mcp`, 'windows/amd64'], 'expected linux/arm64 or linux/amd64'],
])('%j is refused before anything is done', async (args, says) => {
  const { code, err } = await publish(...args);
  expect(code).toBe(1);
  expect(err).toContain(says);
  expect(told()).toEqual([]);
});

test('what is not committed is not published', async () => {
  writeFileSync(join(folder, 'repository', 'new'), '');
  const { code, err } = await publish(`${REGISTRY}/mcp`);
  expect(code).toBe(1);
  expect(err).toContain('commit first');
  expect(told()).toEqual([]);
});
