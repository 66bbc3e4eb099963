/** `mcp-affinity status`: whether a proxy is well, and its backends; once, or again and again. */

import { setTimeout as pause } from 'node:timers/promises';
import { interruption, opsCommand } from './command.ts';
import { EXIT, EXIT_CODES } from './exit.ts';
import { backendsTable } from './backends.ts';
import { type Got, OPS_FLAGS, OPS_HELP, type Ops, type Trouble } from './ops.ts';
import { state, tell } from './print.ts';
import { BACKENDS, type BackendsShown, READINESS } from './shapes.ts';

const HELP = `Usage: mcp-affinity status [--watch] [flags]

Whether a proxy is well, who its backends are, and how many sessions each holds.

  --watch             again and again, until Ctrl-C; with --json a line each time
  --every SECONDS     the pause between two looks [2]
${OPS_HELP}
${EXIT_CODES}
Examples:
  mcp-affinity status
  mcp-affinity status --ops http://10.0.0.5:9464 --watch
  mcp-affinity status --json
`;

type Status = BackendsShown & {
  readonly ops: string;
  readonly ready: boolean;
  readonly registry: 'up' | 'down';
  readonly discovery: 'up' | 'down';
  /** `ignored`: no backend passes its check, so that the checks are doubted. */
  readonly checks: 'up' | 'ignored';
  /** Null while the registry is down. */
  readonly sessions: number | null;
  /** Listening streams, through this proxy. */
  readonly streams: number;
};

async function look(ops: Ops): Promise<Got<Status>> {
  const [readiness, backends, metrics] = await Promise.all([
    ops.ask('GET', '/readyz', READINESS, 503),
    ops.ask('GET', '/backends', BACKENDS),
    ops.text('/metrics'),
  ]);
  if (readiness.kind === 'trouble') return readiness;
  if (backends.kind === 'trouble') return backends;
  if (metrics.kind === 'trouble') return metrics;
  const value = (name: string): number =>
    Number(new RegExp(`^mcp_affinity_${name} (\\S+)$`, 'm').exec(metrics.value)?.[1] ?? 0);
  const held = [...backends.value.backends, ...backends.value.gone].map(({ sessions }) => sessions);
  return {
    kind: 'got',
    value: {
      ops: ops.url,
      ready: readiness.value.status === 'ready',
      registry: value('registry_up') === 1 ? 'up' : 'down',
      discovery: value('discovery_up') === 1 ? 'up' : 'down',
      checks: value('checks_believed') === 1 ? 'up' : 'ignored',
      sessions: held.includes(null) ? null : held.reduce<number>((sum, one) => sum + (one ?? 0), 0),
      streams: value('streams_open'),
      ...backends.value,
    },
  };
}

function shown(status: Status): string {
  const { ops, ready, registry, discovery, checks, sessions, streams } = status;
  return [
    `proxy      ${state(ready ? 'ready' : 'not ready')} at ${ops}`,
    `registry   ${state(registry)}`,
    `discovery  ${state(discovery)}`,
    `checks     ${state(checks)}`,
    `sessions   ${sessions ?? 'unknown'}`,
    `streams    ${streams}`,
    '',
    backendsTable(status),
  ].join('\n');
}

const CLEAR = '\u001B[2J\u001B[H';

export default opsCommand({
  name: 'status',
  help: HELP,
  flags: { ...OPS_FLAGS, watch: 'switch', every: 'seconds' },
  words: { what: 'word', least: 0, most: 0 },
  async run(ops, args) {
    const json = args.has('json');
    if (args.has('watch')) return watch(ops, json, (args.seconds('every') ?? 2) * 1000);
    const got = await look(ops);
    if (got.kind === 'trouble') return got;
    tell(json, got.value, shown(got.value));
    return got.value.ready ? EXIT.well : EXIT.notYet;
  },
});

/** A proxy that is being replaced is back soon: that it is away is shown, and not the end. */
async function watch(ops: Ops, json: boolean, everyMs: number): Promise<number | Trouble> {
  const stop = interruption();
  while (!stop.aborted) {
    const got = await look(ops);
    if (got.kind === 'trouble' && got.exit !== EXIT.failed) return got;
    if (process.stdout.isTTY && !json) process.stdout.write(CLEAR);
    if (got.kind === 'got') tell(json, got.value, shown(got.value));
    else tell(json, { error: got.says }, got.says);
    await pause(everyMs, undefined, { signal: stop }).catch(() => {});
  }
  return EXIT.well;
}
