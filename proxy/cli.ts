#!/usr/bin/env node
/** The command `mcp-affinity`: reads flags and environment, runs the proxy, ends with its exit code. */

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parseConfig } from './config.ts';
import { run } from './main.ts';
import { OPTIONS, type Option } from './options.ts';

const EXIT_BAD_CONFIGURATION = 2;

const EXAMPLES = `Examples:
  mcp-affinity --backend http://10.0.0.7:3000 --backend http://10.0.0.8:3000
  mcp-affinity --dns mcp.internal:3000 --health-path /health
  mcp-affinity --cloud-map mcp.local/server --backend-port 3000 --health-path /health
  BACKENDS=http://a:3000,http://b:3000 REDIS_URL=redis://redis:6379 mcp-affinity --host 0.0.0.0
`;

const REDIS_URLS = `Redis, with rediss:// or rediss+…:// over TLS (an authority of your own: NODE_EXTRA_CA_CERTS):
  redis://user:password@host:6379/0                          one server, or a name that follows the primary
  redis+sentinel://user:password@host:26379,host/NAME        the primary of that name, as its sentinels know it
  redis+cluster://user:password@host:6379,host               a cluster; several redis:// URLs are one too
`;

function help(): string {
  const rows = Object.values<Option>(OPTIONS).map((option) => ({
    flag: `--${option.flag} ${option.value}`,
    env: option.env,
    meaning: `${option.meaning} [${option.fallback ?? option.unset}]`,
  }));
  const column = (key: 'flag' | 'env') => Math.max(...rows.map((row) => row[key].length)) + 2;
  const line = (flag: string, env: string, meaning: string) =>
    `  ${flag.padEnd(column('flag'))}${env.padEnd(column('env'))}${meaning}\n`;
  return [
    'Usage: mcp-affinity --backend URL [--backend URL …] [flags]\n\n',
    'A proxy for stateful MCP servers: a session stays with its server, and outlives it.\n\n',
    'Flags win over the environment; defaults are in brackets.\n\n',
    ...rows.map((row) => line(row.flag, row.env, row.meaning)),
    line('-h, --help', '', 'this text'),
    line('-v, --version', '', 'the version'),
    `\n${REDIS_URLS}\n${EXAMPLES}`,
  ].join('');
}

/** From the nearest package.json upwards: beside proxy/ in the sources, above dist/ when built. */
function version(directory = new URL('.', import.meta.url)): string {
  const up = new URL('..', directory);
  try {
    const manifest: unknown = JSON.parse(readFileSync(new URL('package.json', directory), 'utf8'));
    if (typeof manifest === 'object' && manifest && 'version' in manifest) return String(manifest.version);
  } catch {
    // None here: the next directory up is asked.
  }
  return up.href === directory.href ? 'unknown' : version(up);
}

async function main(args: string[]): Promise<void> {
  const flag = { type: 'boolean' } as const;
  const options = { help: { ...flag, short: 'h' }, version: { ...flag, short: 'v' } };
  const asked = parseArgs({ args, options, strict: false }).values;
  if (asked.help || asked.version) {
    process.stdout.write(asked.help ? help() : `${version()}\n`);
    return;
  }
  const parsed = parseConfig(args, process.env);
  if (parsed.kind === 'faults') {
    process.stderr.write(`mcp-affinity: ${parsed.faults.join('\nmcp-affinity: ')}\nSee mcp-affinity --help.\n`);
    process.exitCode = EXIT_BAD_CONFIGURATION;
    return;
  }
  // Not exitCode: a socket that would not close must not keep a stopped proxy alive.
  process.exit(await run(parsed.config));
}

await main(process.argv.slice(2));
