/** promtool's word on observability/ and on a proxy's metrics: from the PATH, else from Prometheus' image. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, test } from 'vitest';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';
import { ENGINE_MS, findEngine, ran } from '../house/engine.ts';
import { OBSERVABILITY } from '../house/observability.ts';

const IMAGE = 'prom/prometheus:v3.5.0';
const SECONDS_60 = 60_000;

type Promtool =
  | { readonly kind: 'here'; readonly command: readonly [string, ...string[]]; readonly folder: string }
  | { readonly kind: 'none'; readonly why: string };
let promtool: Promtool = { kind: 'none', why: 'not looked for' };

beforeAll(async () => {
  promtool = await findPromtool();
  if (promtool.kind === 'none') process.stdout.write(`promtool: not run: ${promtool.why}\n`);
}, ENGINE_MS);

async function findPromtool(): Promise<Promtool> {
  if ((await ran('promtool', ['--version'])).code === 0) {
    return { kind: 'here', command: ['promtool'], folder: OBSERVABILITY };
  }
  const engine = await findEngine();
  if (engine.kind === 'none') return { kind: 'none', why: `no promtool on PATH, and ${engine.why}` };
  const shared = ['--volume', `${OBSERVABILITY}:/etc/prometheus:ro`, '--entrypoint', 'promtool', IMAGE];
  const command = ['docker', 'run', '--rm', '--interactive', '--network', 'none', ...shared] as const;
  return { kind: 'here', command, folder: '/etc/prometheus' };
}

/** Its exit code and what it said. */
async function say(tool: Extract<Promtool, { kind: 'here' }>, args: readonly string[], input = '') {
  const [program, ...first] = tool.command;
  const child = spawn(program, [...first, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: child.exitCode, said: out + err };
}

test.for<[string, [string, string, string]]>([
  ['the configuration and its rules', ['check', 'config', 'prometheus.yml']],
  ['the alerts fire when they should, and not before', ['test', 'rules', 'tests/alerts.yml']],
])('%s', { timeout: SECONDS_60 }, async ([, [what, kind, file]], { skip }) => {
  if (promtool.kind === 'none') return skip(promtool.why);
  const { code, said } = await say(promtool, [what, kind, `${promtool.folder}/${file}`]);
  expect({ code, said }).toEqual({ code: 0, said: expect.stringContaining('SUCCESS') });
});

test(
  'what a proxy exposes has nothing that promtool would have otherwise',
  { timeout: SECONDS_60 },
  async ({ skip }) => {
    if (promtool.kind === 'none') return skip(promtool.why);
    const telemetry = createTelemetry({ level: 'error', destination: { write: () => {} } });
    telemetry.countSessions(async () => ({ ready: 1, suspect: 0, draining: 0, gone: 0 }));
    expect(await say(promtool, ['check', 'metrics'], await telemetry.metrics())).toEqual({ code: 0, said: '' });
  },
);
