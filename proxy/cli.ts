#!/usr/bin/env node
/** The command `mcp-affinity`: runs the proxy, or one of the commands of who operates it. */

import { parseArgs } from 'node:util';
import { COMMANDS, help } from './cli/help.ts';
import type { Command } from './cli/command.ts';
import { EXIT } from './cli/exit.ts';
import { shown } from './given.ts';
import { nearest } from './nearest.ts';
import { version } from './version.ts';

/** Each is loaded when it is called: who asks for the status need not wait for a proxy's rooms. */
const LOAD: Readonly<Record<keyof typeof COMMANDS, () => Promise<Command>>> = {
  serve: async () => (await import('./cli/serve.ts')).default,
  status: async () => (await import('./cli/status.ts')).default,
  backends: async () => (await import('./cli/backends.ts')).default,
  drain: async () => (await import('./cli/drain.ts')).drain,
  undrain: async () => (await import('./cli/drain.ts')).undrain,
  session: async () => (await import('./cli/session.ts')).default,
  probe: async () => (await import('./cli/probe.ts')).default,
};

function isCommand(word: string): word is keyof typeof COMMANDS {
  return Object.hasOwn(COMMANDS, word);
}

/** A word that is neither a command nor looks like the backend that somebody forgot the flag of. */
function unknown(word: string): number {
  const near = nearest(word, Object.keys(COMMANDS));
  const hint = near === undefined ? 'see mcp-affinity --help' : `did you mean ${near}?`;
  process.stderr.write(`mcp-affinity: ${shown(word)}: unknown command, ${hint}\n`);
  return EXIT.usage;
}

/** Resolves with the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [first = '', ...rest] = args;
  if (first === 'help') return main([...rest.slice(0, 1), '--help']);
  if (isCommand(first) && first !== 'serve') return (await LOAD[first]())(rest, process.env);
  if (/^\w[\w-]*$/.test(first) && first !== 'serve') return unknown(first);
  const given = first === 'serve' ? rest : args;
  const flag = { type: 'boolean' } as const;
  const options = { help: { ...flag, short: 'h' }, version: { ...flag, short: 'v' } };
  const asked = parseArgs({ args: [...given], options, strict: false }).values;
  if (!asked.help && !asked.version) return (await LOAD.serve())(given, process.env);
  process.stdout.write(asked.help ? help() : `${version()}\n`);
  return EXIT.well;
}

// Who reads what is printed may have seen enough.
process.stdout.on('error', () => process.exit(EXIT.failed));
// Not exitCode: a socket that would not close must not keep a stopped proxy alive.
process.exit(await main(process.argv.slice(2)));
