/** What a command of the CLI is, and what those that ask the ops port have in common. */

import { type Args, type Flags, type Words, readArgs } from './args.ts';
import { EXIT } from './exit.ts';
import { type Ops, type Trouble, openOps } from './ops.ts';
import { sayJson } from './print.ts';

export type Env = Readonly<Record<string, string | undefined>>;

/** Resolves with the exit code. */
export type Command = (given: readonly string[], env: Env) => Promise<number>;

export type OpsCommand = {
  readonly name: string;
  readonly help: string;
  readonly flags: Flags;
  readonly words: Words;
  readonly run: (ops: Ops, args: Args) => Promise<number | Trouble>;
};

/** Help on stdout, wrong usage and trouble on stderr; with `--json` trouble is `{"error":…}` on stdout. */
export function opsCommand({ name, help, flags, words, run }: OpsCommand): Command {
  return async (given, env) => {
    const parsed = readArgs(given, flags, words);
    if (parsed.kind === 'help') {
      process.stdout.write(help);
      return EXIT.well;
    }
    if (parsed.kind === 'faults') return wrong(name, parsed.faults);
    const { args } = parsed;
    const opened = openOps(args, env);
    const done = opened.kind === 'trouble' ? opened : await run(opened.value, args);
    if (typeof done === 'number') return done;
    if (done.exit === EXIT.usage) return wrong(name, [done.says]);
    if (args.has('json')) sayJson({ error: done.says });
    else process.stderr.write(`mcp-affinity ${name}: ${done.says}\n`);
    return done.exit;
  };
}

function wrong(name: string, faults: readonly string[]): number {
  const lines = faults.map((fault) => `mcp-affinity ${name}: ${fault}\n`);
  process.stderr.write(`${lines.join('')}See mcp-affinity ${name} --help.\n`);
  return EXIT.usage;
}

/** Aborted by the first SIGINT or SIGTERM; a second one ends the process as ever. */
export function interruption(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}
