/** `mcp-affinity drain` and `undrain`: a backend gives its sessions away, and whether they have left. */

import { setTimeout as pause } from 'node:timers/promises';
import { interruption, opsCommand } from './command.ts';
import { EXIT, EXIT_CODES } from './exit.ts';
import { type Got, OPS_FLAGS, OPS_HELP, type Ops, type Trouble } from './ops.ts';
import { plain, tell } from './print.ts';
import { BACKEND, BACKENDS, DRAINING } from './shapes.ts';

const HELP = `Usage: mcp-affinity drain ID [--wait] [flags]

The backend gets no new sessions, at any proxy, and gives each of its own away when that is quiet: at once where its
client listens, else at the client's next request. Until 'undrain', or until it has left.

  --wait              until its last session has left; Ctrl-C leaves it draining
  --timeout SECONDS   wait no longer than this: 4 if sessions are left then [no limit]
${OPS_HELP}
${EXIT_CODES}
Examples:
  mcp-affinity drain 10.0.0.7:3000
  mcp-affinity drain 10.0.0.7:3000 --wait --timeout 300
`;
const UNDRAIN_HELP = `Usage: mcp-affinity undrain ID [flags]

Undoes a drain: the backend gets new sessions again. Those that have left stay where they are.

${OPS_HELP}
${EXIT_CODES}
Examples:
  mcp-affinity undrain 10.0.0.7:3000
`;

/** Milliseconds between two looks, and how long there must be no session: a proxy that has not heard yet may open one. */
const LOOK_EVERY = 500;
const SETTLED = 2_500;
/** Looks that may fail in a row: a proxy that is restarted is back by then. */
const MOST_FAILED = 20;

const WORD = { what: 'ID of a backend', least: 1, most: 1 };
const pathOf = (id: string): string => `/backends/${encodeURIComponent(id)}`;

export const drain = opsCommand({
  name: 'drain',
  help: HELP,
  flags: { ...OPS_FLAGS, wait: 'switch', timeout: 'seconds' },
  words: WORD,
  async run(ops, args) {
    const id = args.words[0] ?? '';
    const stop = interruption();
    const got = await ops.ask('POST', `${pathOf(id)}/drain`, DRAINING);
    if (got.kind === 'trouble') return got;
    if (!args.has('wait')) {
      tell(args.has('json'), got.value, `${plain(id)} drains`);
      return EXIT.well;
    }
    const timeout = args.seconds('timeout');
    const limit = timeout === undefined ? stop : AbortSignal.any([stop, AbortSignal.timeout(timeout * 1000)]);
    const left = await untilEmpty(ops, id, args.has('json'), limit);
    if (typeof left !== 'number') return left;
    if (!limit.aborted) return EXIT.well;
    const word = stop.aborted ? 'interrupted' : `${timeout} s are over`;
    tell(
      args.has('json'),
      { backend: id, draining: true, sessions: left, done: false },
      `${word}: ${plain(id)} goes on draining with ${count(left)}; undo it with: mcp-affinity undrain ${plain(id)}`,
    );
    return stop.aborted ? EXIT.interrupted : EXIT.notYet;
  },
});

/** Tells of each change; resolves with the sessions that are left. */
async function untilEmpty(ops: Ops, id: string, json: boolean, stop: AbortSignal): Promise<number | Trouble> {
  let told: number | undefined;
  let emptySince: number | undefined;
  let failed = 0;
  while (!stop.aborted) {
    const got = await sessionsAt(ops, id);
    failed = got.kind === 'trouble' ? failed + 1 : 0;
    if (got.kind === 'trouble' && (failed > MOST_FAILED || got.exit !== EXIT.failed)) return got;
    if (got.kind === 'got') {
      const { sessions, listed } = got.value;
      emptySince = sessions === 0 ? (emptySince ?? performance.now()) : undefined;
      if (!listed || (emptySince !== undefined && performance.now() - emptySince >= SETTLED)) {
        const says = listed ? `no session is left at ${plain(id)}` : `${plain(id)} has left`;
        tell(json, { backend: id, draining: listed, sessions, done: true }, says);
        return 0;
      }
      if (sessions !== told && sessions > 0) {
        tell(json, { backend: id, draining: true, sessions, done: false }, `${plain(id)}: ${count(sessions)} left`);
        if (told === undefined) await warnIfLast(ops, id);
      }
      told = sessions;
    }
    await pause(LOOK_EVERY, undefined, { signal: stop }).catch(() => {});
  }
  return told ?? 0;
}

/** One that has left takes its last sessions with it: they migrate as those of a dead one. */
async function sessionsAt(ops: Ops, id: string): Promise<Got<{ sessions: number; listed: boolean }>> {
  const got = await ops.ask('GET', pathOf(id), BACKEND);
  if (got.kind === 'trouble') {
    return got.exit === EXIT.unknown ? { kind: 'got', value: { sessions: 0, listed: false } } : got;
  }
  const { sessions } = got.value;
  if (sessions !== null) return { kind: 'got', value: { sessions, listed: true } };
  return { kind: 'trouble', says: 'the registry cannot be reached: nobody knows what is left', exit: EXIT.failed };
}

async function warnIfLast(ops: Ops, id: string): Promise<void> {
  const got = await ops.ask('GET', '/backends', BACKENDS);
  if (got.kind === 'trouble' || got.value.backends.some(({ state }) => state !== 'draining')) return;
  process.stderr.write(`no other backend takes sessions: those of ${plain(id)} stay until there is one\n`);
}

export const undrain = opsCommand({
  name: 'undrain',
  help: UNDRAIN_HELP,
  flags: OPS_FLAGS,
  words: WORD,
  async run(ops, args) {
    const id = args.words[0] ?? '';
    const got = await ops.ask('DELETE', `${pathOf(id)}/drain`, DRAINING);
    if (got.kind === 'trouble') return got;
    tell(args.has('json'), got.value, `${plain(id)} takes sessions again`);
    return EXIT.well;
  },
});

function count(sessions: number): string {
  return sessions === 1 ? '1 session' : `${sessions} sessions`;
}
