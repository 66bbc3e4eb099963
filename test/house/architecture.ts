/** The rules of the house over its sources, as a function from files to faults. */

import { posix } from 'node:path';

export type Source = { readonly path: string; readonly text: string };
export type Import = { readonly of: string; readonly typesOnly: boolean };

const MOST_LINES = 300;
/** The nouns are one page on purpose: types and what they promise, nothing that runs. */
const LONGER: ReadonlyMap<string, number> = new Map([
  ['proxy/contract.ts', 480],
  ['proxy/options.ts', 380],
  ['proxy/config.ts', 320],
]);

/** A file, or with a slash at its end a directory, of proxy/ by its level. */
const LEVELS: readonly (readonly string[])[] = [
  ['contract', 'events'],
  [
    'classify',
    'client-network',
    'decide',
    'balance',
    'bounded',
    'ordered',
    'confirmations',
    'ejections',
    'session-doubt',
    'journal',
    'replay-safety',
    'rewrite',
    'limit',
    'listed',
    'as-error',
    'addresses',
    'backend-origin',
    'backend-sessions',
    'web-origin',
    'endpoint',
    'listeners',
    'sse',
    'address',
    'admit',
    'folding',
    'answer',
    'held-back',
    'held-events',
    'reading',
    'stream-answer',
    'attempt',
    'backend-host',
    'known-paths',
    'redirect',
    'wire',
    'blame',
    'emf',
    'forwarded',
    'guard',
    'guesses',
    'headers',
    'hop',
    'interim',
    'jsonrpc',
    'json-bounds',
    'json-text',
    'loops',
    'nearest',
    'clashes',
    'cors',
    'discovery-names',
    'given',
    'options',
    'owner',
    'redis-url',
    'refusal',
    'session-id',
    'subscriptions',
    'token',
    'token-bucket',
    'warnings',
    'status/board',
    'status/dependencies',
    'status/html',
    'status/page',
    'status/plot',
    'status/recent',
    'status/series',
    'status/snapshot',
    'status/standing',
    'status/tables',
    'status/traffic',
    'status/words',
  ],
  [
    'redis/',
    'activity/',
    'peers/',
    'sessions/',
    'quotas/',
    'backends/',
    'telemetry/',
    'backend-connections',
    'upstream',
    'config',
  ],
  ['migrate', 'migration', 'handshake', 'orphans', 'own-requests', 'ping', 'sweep'],
  [
    'router',
    'hold',
    'unplanned',
    'ask-before',
    'attachment',
    'client-limits',
    'client-stream',
    'endings',
    'issuers',
    'request-states',
    'rotation',
    'peer-streams',
    'prepared-streams',
    'forward',
    'lookup',
    'open',
    'outlasting',
    'reopen',
    'session-end',
    'listen',
    'aftermath',
    'plans',
    'planned',
    'questions',
    'owners',
    'first-questions',
    'quiet',
    'in-use',
    'too-old',
    'story',
    'unregister',
    'remember',
    'keeper',
    'streams',
    'heard',
  ],
  [
    'app',
    'connections',
    'door',
    'body',
    'body-budget',
    'sink',
    'head',
    'in-order',
    'incoming',
    'passthrough',
    'agents',
    'journey',
    'wrong-path',
    'passing',
    'preflight',
    'upgrades',
    'ops',
    'ops/',
    'status/',
  ],
  [
    'main',
    'rooms',
    'moves',
    'operations',
    'adapters',
    'index',
    'library-options',
    'lent',
    'middleware',
    'prepare',
    'within',
    'cli',
    'cli/',
    'version',
  ],
];
/** The levels that each level may use, and those of which it may know the types only. */
const USES: readonly { readonly whole: readonly number[]; readonly types: readonly number[] }[] = [
  { whole: [], types: [0] },
  { whole: [0, 1], types: [] },
  { whole: [0, 1], types: [] },
  { whole: [0, 1, 3], types: [2] },
  { whole: [0, 1, 4], types: [2, 3] },
  { whole: [0, 1, 4, 5], types: [2, 3] },
  { whole: [0, 1, 2, 3, 4, 5, 6], types: [] },
];
/** Handed to those that keep something in Redis. */
const CONNECTION = 'proxy/redis/';
/** What server/ may use of proxy/: what is said between the two, to the same others, and how it is read. */
const FOR_SERVERS = new Set(['proxy/contract.ts', 'proxy/emf.ts', 'proxy/sse.ts']);
/** Programs of their own, which ask a proxy from outside. */
const COMMANDS = 'proxy/cli/';
/** The one file of proxy/ that uses client/: the command that runs the probe. */
const PROBE = 'proxy/cli/probe.ts';
/** Levels that talk to the outside through an npm package; the others use none. */
const WITH_NPM = new Set([2, 5, 6]);
/** What pure files may use of Node: it computes, and reaches nothing. */
const NO_IO = new Set(['node:buffer', 'node:crypto', 'node:string_decoder', 'node:util']);
/** Each is used in one file of proxy/, and a file uses one. */
const CLIENTS: readonly (readonly string[])[] = [
  ['ioredis'],
  ['undici'],
  ['prom-client'],
  ['pino'],
  ['zod'],
  ['http-proxy-middleware'],
  ['@aws-sdk'],
];

/** What a file imports and re-exports, in order; `import('…')` counts as the whole thing. */
export function importsOf(text: string): readonly Import[] {
  const code = text
    .split('\n')
    .filter((line) => !/^\s*(\/\/|\/\*|\*)/.test(line))
    .join('\n');
  const found: Import[] = [];
  for (const [, type, names = '', of = ''] of code.matchAll(
    /^\s*(?:import|export)\s+(type\s)?([^'";=]*?)\s*from\s*['"]([^'"]+)['"]/gm,
  )) {
    const named =
      /^\{(.*)\}$/s
        .exec(names.trim())?.[1]
        ?.split(',')
        .filter((name) => name.trim() !== '') ?? [];
    const typesOnly = type !== undefined || (named.length > 0 && named.every((name) => /^\s*type\s/.test(name)));
    found.push({ of, typesOnly });
  }
  for (const [, of = ''] of code.matchAll(/(?:^\s*import|\bimport\()\s*['"]([^'"]+)['"]/gm)) {
    found.push({ of, typesOnly: false });
  }
  return found;
}

/** All that is against the rules, a sentence each; empty when the house is in order. */
export function faultsOf(sources: readonly Source[]): readonly string[] {
  const faults = sources.flatMap((source) => [
    ...shapeFaults(source),
    ...importsOf(source.text).flatMap((found) => importFaults(source.path, found)),
  ]);
  return [...faults, ...clientFaults(sources)];
}

function shapeFaults({ path, text }: Source): readonly string[] {
  const faults: string[] = [];
  const lines = text.trimEnd().split('\n').length;
  const most = LONGER.get(path) ?? MOST_LINES;
  if (lines > most) faults.push(`${path}: ${lines} lines, at most ${most}`);
  if (/(^|[/-])(utils?|helpers?|common|misc)([./-]|$)/.test(path)) faults.push(`${path}: a name that says nothing`);
  if (path.startsWith('proxy/') && levelOf(path) === undefined) faults.push(`${path}: is at no level`);
  const header = /^(?:#!.*\n)?\/\*\*(.*?)(?:\*\/|\n \*\n)/s.exec(text)?.[1]?.replaceAll('\n *', '').trim() ?? '';
  if (!header.endsWith('.')) faults.push(`${path}: does not begin with a sentence of purpose`);
  return faults;
}

function importFaults(path: string, { of, typesOnly }: Import): readonly string[] {
  const room = path.split('/')[0];
  const fault = [`${path}: may not import ${of}`];
  const level = room === 'proxy' ? levelOf(path) : undefined;
  if (!of.startsWith('.')) {
    if (level === undefined) return [];
    if (of.startsWith('node:')) return level <= 1 && !NO_IO.has(of) ? fault : [];
    return WITH_NPM.has(level) ? [] : fault;
  }
  const to = posix.join(posix.dirname(path), of);
  const toRoom = to.split('/')[0];
  if (room !== 'proxy') return toRoom === room || (room === 'server' && FOR_SERVERS.has(to)) ? [] : fault;
  if (path === PROBE && toRoom === 'client') return [];
  const toLevel = toRoom === 'proxy' ? levelOf(to) : undefined;
  if (level === undefined || toLevel === undefined) return fault;
  const parts = level === 2 && posix.dirname(path) !== 'proxy' && posix.dirname(path) === posix.dirname(to);
  const shared = level === 2 && typesOnly && to.startsWith(CONNECTION);
  const { whole = [], types = [] } = USES[level] ?? {};
  return parts || shared || whole.includes(toLevel) || (typesOnly && types.includes(toLevel)) ? [] : fault;
}

function clientFaults(sources: readonly Source[]): readonly string[] {
  const uses = sources
    .filter(({ path }) => path.startsWith('proxy/') && !path.startsWith(COMMANDS))
    .map(({ path, text }) => {
      const packages = new Set(importsOf(text).flatMap(({ of, typesOnly }) => (typesOnly ? [] : [of.split('/')[0]])));
      return { path, clients: CLIENTS.filter((client) => client.some((name) => packages.has(name))) };
    });
  const many = uses.filter(({ clients }) => clients.length > 1);
  const shared = CLIENTS.map((client) => ({ client, by: uses.filter(({ clients }) => clients.includes(client)) }));
  return [
    ...many.map(({ path, clients }) => `${path}: has more than one npm client: ${clients.flat().join(', ')}`),
    ...shared
      .filter(({ by }) => by.length > 1)
      .map(
        ({ client, by }) =>
          `${client[0]}: is the client of more than one file: ${by.map(({ path }) => path).join(', ')}`,
      ),
  ];
}

function levelOf(path: string): number | undefined {
  const name = path.slice('proxy/'.length).replace(/\.ts$/, '');
  const level = LEVELS.findIndex((names) =>
    names.some((known) => (known.endsWith('/') ? name.startsWith(known) : name === known)),
  );
  return level === -1 ? undefined : level;
}
