/** `mcp-affinity session`: where one session lives; the order to migrate it, or to end it. */

import { hash as digest } from 'node:crypto';
import { text } from 'node:stream/consumers';
import type { z } from 'zod';
import type { Args } from './args.ts';
import { opsCommand } from './command.ts';
import { EXIT, EXIT_CODES } from './exit.ts';
import { type Got, OPS_FLAGS, OPS_HELP, type Ops, type Trouble } from './ops.ts';
import { plain, tell } from './print.ts';
import { ENDED, MIGRATES, SESSION } from './shapes.ts';

const HELP = `Usage: mcp-affinity session ID|- [--migrate|--end] [flags]

Where a session lives, by the id that its client holds. The id is a secret and is not sent: only its SHA-256 is. '-'
reads it from stdin, so that it stands neither in the shell's history nor in the list of processes.

  --hash HASH         the SHA-256 instead of the id, 64 hex digits
  --migrate           give it a new home, at its next request or through its listening stream
  --end               end it: the client's next request gets 404
${OPS_HELP}
${EXIT_CODES}
Examples:
  mcp-affinity session - < session-id.txt
  mcp-affinity session 1868a90c-6f0a-4c2e-8c1b-6d1f6c1f0a1c --json
  mcp-affinity session --hash 0d4f…1c --migrate
`;

type Order = { readonly method: 'POST' | 'DELETE'; readonly path: string };

export default opsCommand({
  name: 'session',
  help: HELP,
  flags: { ...OPS_FLAGS, hash: 'text', migrate: 'switch', end: 'switch' },
  words: { what: 'ID of a session, or - for stdin', least: 0, most: 1 },
  async run(ops, args) {
    const hash = await hashOf(args);
    if (hash.kind === 'trouble') return hash;
    const path = `/sessions/${hash.value}`;
    const json = args.has('json');
    if (args.has('migrate') && args.has('end')) return usage('--migrate and --end: leave one out');
    if (args.has('migrate')) {
      const says = (): string => 'it gets a new home at its next request, or through its listening stream';
      return order(ops, { method: 'POST', path: `${path}/migrate` }, MIGRATES, says, json);
    }
    if (args.has('end')) {
      const says = ({ home }: z.infer<typeof ENDED>): string =>
        home === 'told' ? 'it has ended, and its home is told' : 'it has ended; its home could not be told';
      return order(ops, { method: 'DELETE', path }, ENDED, says, json);
    }
    const got = await ops.ask('GET', path, SESSION);
    if (got.kind === 'trouble') return got;
    tell(json, got.value, shown(got.value));
    return EXIT.well;
  },
});

async function order<T>(
  ops: Ops,
  { method, path }: Order,
  shape: z.ZodType<T>,
  says: (value: T) => string,
  json: boolean,
): Promise<number | Trouble> {
  const got = await ops.ask(method, path, shape);
  if (got.kind === 'trouble') return got;
  tell(json, got.value, says(got.value));
  return EXIT.well;
}

async function hashOf(args: Args): Promise<Got<string>> {
  const given = args.text('hash');
  const [word] = args.words;
  if ((given === undefined) === (word === undefined)) return usage('expected an ID, or -, or --hash HASH');
  if (given !== undefined) {
    return /^[\da-f]{64}$/.test(given) ? found(given) : usage('--hash: expected 64 hex digits in lower case');
  }
  const id = word === '-' ? (await text(process.stdin)).trim() : (word ?? '');
  return id === '' ? usage('expected an ID, got nothing') : found(digest('sha256', id));
}

function found(value: string): Got<string> {
  return { kind: 'got', value };
}

function usage(says: string): Trouble {
  return { kind: 'trouble', says, exit: EXIT.usage };
}

function shown(session: z.infer<typeof SESSION>): string {
  const { client, server } = session;
  const rows = {
    session: session.session,
    home: session.home,
    epoch: `${session.epoch} (how often it has migrated)`,
    protocol: session.protocolVersion,
    client: `${client.name} ${client.version}`,
    server: `${server.name} ${server.version}`,
    created: `${session.createdAt} (${session.ageSeconds} s ago)`,
    handshake: session.initialized ? 'done' : 'not done yet',
    subscriptions: String(session.subscriptions),
    ...(session.busyUntil !== undefined && { 'busy until': session.busyUntil }),
  };
  return Object.entries(rows)
    .map(([name, value]) => `${name.padEnd(15)}${plain(value)}`)
    .join('\n');
}
