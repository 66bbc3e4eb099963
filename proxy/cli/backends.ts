/** `mcp-affinity backends`: who they are and how they fare. */

import { opsCommand } from './command.ts';
import { EXIT, EXIT_CODES } from './exit.ts';
import { OPS_FLAGS, OPS_HELP } from './ops.ts';
import { table, tell } from './print.ts';
import { BACKENDS, type BackendsShown } from './shapes.ts';

const HELP = `Usage: mcp-affinity backends [flags]

The backends as a proxy sees them: sessions are counted at all proxies, what runs at this one.

${OPS_HELP}
${EXIT_CODES}
Examples:
  mcp-affinity backends
  mcp-affinity backends --json
`;

/** `gone` are homes of sessions that are not listed any more. */
export function backendsTable({ backends, gone }: BackendsShown): string {
  const rows = backends.map(({ id, state, sessions, running, zone = '', since = '' }) => [
    id,
    state,
    String(sessions ?? '?'),
    String(running),
    zone,
    since,
  ]);
  const left = gone.map(({ id, sessions }) => [id, 'gone', String(sessions), '0', '', '']);
  return table(['BACKEND', 'STATE', 'SESSIONS', 'RUNNING', 'ZONE', 'SINCE'], [...rows, ...left]);
}

export default opsCommand({
  name: 'backends',
  help: HELP,
  flags: OPS_FLAGS,
  words: { what: 'word', least: 0, most: 0 },
  async run(ops, args) {
    const got = await ops.ask('GET', '/backends', BACKENDS);
    if (got.kind === 'trouble') return got;
    tell(args.has('json'), got.value, backendsTable(got.value));
    return EXIT.well;
  },
});
