/** The help text of the whole command, and of `serve`. */

import { OPTIONS, type Option } from '../options.ts';
import { EXIT_CODES } from './exit.ts';

/** By name: what follows it, and what it is for. */
export const COMMANDS = {
  serve: ['[flags]', 'run the proxy; the same without the word'],
  status: ['[--watch]', 'whether a proxy is well, and its backends'],
  backends: ['', 'who the backends are, and how many sessions each holds'],
  drain: ['ID [--wait]', 'have a backend give its sessions away'],
  undrain: ['ID', 'undo it'],
  session: ['ID|- [--migrate|--end]', 'where a session lives; a new home for it; its end'],
  probe: ['URL [--check]', 'the survival probe: one client keeps one session through a deployment'],
} as const;

const EXAMPLES = `Examples:
  mcp-affinity --backend http://10.0.0.7:3000 --backend http://10.0.0.8:3000
  mcp-affinity --dns mcp.internal:3000 --health-path /health
  mcp-affinity --cloud-map mcp.local/server --backend-port 3000 --health-path /health
  BACKENDS=http://a:3000,http://b:3000 REDIS_URL=redis://redis:6379 mcp-affinity --host 0.0.0.0
  mcp-affinity drain 10.0.0.7:3000 --wait
`;

const REDIS_URLS = `Redis, with rediss:// or rediss+…:// over TLS (an authority of your own: NODE_EXTRA_CA_CERTS):
  redis://user:password@host:6379/0                          one server, or a name that follows the primary
  redis+sentinel://user:password@host:26379,host/NAME        the primary of that name, as its sentinels know it
  redis+cluster://user:password@host:6379,host               a cluster; several redis:// URLs are one too
`;

export function help(): string {
  const rows = Object.values<Option>(OPTIONS).map((option) => ({
    flag: `--${option.flag} ${option.value}`,
    env: option.env,
    meaning: `${option.meaning} [${option.fallback ?? option.unset}]`,
  }));
  const column = (key: 'flag' | 'env') => Math.max(...rows.map((row) => row[key].length)) + 2;
  const line = (flag: string, env: string, meaning: string) =>
    `  ${flag.padEnd(column('flag'))}${env.padEnd(column('env'))}${meaning}\n`;
  const commands = Object.entries(COMMANDS).map(([name, [args, meaning]]) => [`${name} ${args}`.trimEnd(), meaning]);
  const wide = Math.max(...commands.map(([command = '']) => command.length)) + 2;
  return [
    'Usage: mcp-affinity --backend URL [--backend URL …] [flags]\n',
    '       mcp-affinity COMMAND …\n\n',
    'A proxy for stateful MCP servers: a session stays with its server, and outlives it.\n\n',
    'Commands; each has a --help of its own:\n\n',
    ...commands.map(([command = '', meaning]) => `  ${command.padEnd(wide)}${meaning}\n`),
    '\nFlags of the proxy win over the environment; defaults are in brackets.\n\n',
    ...rows.map((row) => line(row.flag, row.env, row.meaning)),
    line('-h, --help', '', 'this text'),
    line('-v, --version', '', 'the version'),
    `\n${REDIS_URLS}`,
    `\n${EXIT_CODES}`,
    `\n${EXAMPLES}`,
  ].join('');
}
