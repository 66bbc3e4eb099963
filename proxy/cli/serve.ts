/** `mcp-affinity serve`, or no command at all: reads flags and environment, runs the proxy. */

import { parseConfig } from '../config.ts';
import { run } from '../main.ts';
import type { Command } from './command.ts';
import { EXIT } from './exit.ts';

const command: Command = async (given, env) => {
  const parsed = parseConfig(given, env);
  if (parsed.kind === 'config') return run(parsed.config);
  process.stderr.write(`mcp-affinity: ${parsed.faults.join('\nmcp-affinity: ')}\nSee mcp-affinity --help.\n`);
  return EXIT.usage;
};
export default command;
