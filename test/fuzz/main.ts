/** The fuzzer: random connections through a proxy and directly, for so many minutes. See `--help`. */

import { parseArgs } from 'node:util';
import { array, asyncProperty, check, oneof, sample } from 'fast-check';
import { until } from '../house/until.ts';
import { type Backend, startBackend } from './backend.ts';
import { type Connection, connection } from './shapes.ts';
import { type Subject, startSubject } from './subject.ts';
import { isStormy, tryConnection } from './trial.ts';

const HELP = `npm run fuzz -- [--minutes N] [--seed S] [--path P]

Sends random requests to a proxy whose backend gives random answers, over raw sockets, and compares what passes
unchanged with what the backend answers directly. Ends with 1 and the shortest failing connections at the first fault.

  --minutes N  how long (1)
  --seed S     which random numbers: a whole number (a random one, which is printed)
  --path P     goes to the failing case of that seed at once, as a fault prints it
`;

/** At the same time, so that connections to the backend are shared. */
const AT_ONCE = 8;
/** Bytes by which the heap may have grown at the end. */
const MOST_GROWTH = 16 * 1024 * 1024;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string' },
      path: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(HELP);
  const ms = Number(values.minutes) * 60_000;
  const seed = values.seed === undefined ? Math.trunc(Math.random() * 0x7fff_ffff) : Number(values.seed);
  if (!(ms > 0) || !Number.isInteger(seed)) {
    process.stderr.write(HELP);
    process.exitCode = 2;
    return;
  }
  process.stdout.write(`seed ${seed}\n`);
  const fault = await fuzz(ms, seed, values.path);
  if (fault !== undefined) process.stdout.write(`${fault}\n`);
  process.stdout.write(fault === undefined ? '1 passed, 0 failed\n' : '0 passed, 1 failed\n');
  process.exitCode = fault === undefined ? 0 : 1;
}

/** What is wrong; undefined when nothing was found. */
async function fuzz(ms: number, seed: number, path: string | undefined): Promise<string | undefined> {
  const backend = await startBackend();
  let subject = await startSubject(backend.port);
  let exchanges = 0;
  const name = (): string => `f${(exchanges += 1)}e`;

  async function tryAll(all: readonly Connection[]): Promise<void> {
    const stormy = all.some(isStormy);
    const place = { proxy: subject.port, backend, name, stormy };
    const ends = await Promise.allSettled(all.map((one) => tryConnection(place, one)));
    const faults = [...subject.faults(), ...backend.faults()];
    for (const one of ends) if (one.status === 'rejected') faults.push(String(one.reason));
    if (!subject.running) subject = await startSubject(backend.port);
    // What others have done to connections is not to be met by those that come next.
    if (stormy) backend.drop();
    if (stormy) await until('the backend has no connections', () => backend.connections === 0);
    if (faults.length > 0) throw new Error(faults.join('\n'));
  }

  try {
    for (let at = 0; at < WARMING.length; at += AT_ONCE) await tryAll(WARMING.slice(at, at + AT_ONCE));
    const before = await subject.held();
    const kinds = [connection, connection.map(calmed)];
    const some = oneof(...kinds.map((one) => array(one, { minLength: 1, maxLength: AT_ONCE, size: 'max' })));
    const found = await check(asyncProperty(some, tryAll), {
      seed,
      ...(path !== undefined && { path }),
      numRuns: 1_000_000_000,
      interruptAfterTimeLimit: ms,
    });
    process.stdout.write(`${exchanges} exchanges in ${found.numRuns} runs\n`);
    if (!found.failed || found.counterexample === null) return await remains(subject, backend, before);
    const shortest = found.counterexample[0].map(described).join('\n');
    const again = `Again: npm run fuzz -- --seed ${seed} --path ${found.counterexamplePath}`;
    return `${String(found.errorInstance)}\nThe shortest connections that fail:\n${shortest}\n${again}`;
  } finally {
    await subject.close();
    await backend.close();
  }
}

function described({ steps, ...how }: Connection): string {
  const cut = (_key: string, value: unknown): unknown =>
    typeof value === 'string' && value.length > 200 ? `${value.slice(0, 200)}… of ${value.length}` : value;
  return [how, ...steps].map((one) => JSON.stringify(one, cut)).join('\n  ');
}

/** The same, before a backend that breaks nothing. */
function calmed({ steps, ...how }: Connection): Connection {
  return { ...how, steps: steps.map(({ request, answer }) => ({ request, answer: { ...answer, fault: NONE } })) };
}
const NONE = { kind: 'none' } as const;

/** What any process holds once it has served. */
const WARMING: readonly Connection[] = sample(connection.map(calmed), { seed: 1, numRuns: 400 });

/** Sockets and memory that stay when all clients have gone. */
async function remains(subject: Subject, backend: Backend, before: Awaited<ReturnType<Subject['held']>>) {
  const gone = until(
    'no connection to the backend is left, and no more sockets than at the start',
    async () => backend.connections === 0 && (await subject.held()).sockets <= before.sockets,
    20_000,
  );
  const fault = await gone.then(
    () => undefined,
    (error: unknown) => String(error),
  );
  const after = await subject.held();
  const grown = after.heap - before.heap;
  process.stdout.write(`the heap has grown by ${Math.round(grown / 1024)} KiB; ${after.sockets} sockets\n`);
  return fault ?? (grown > MOST_GROWTH ? `the heap has grown by ${grown} bytes` : undefined);
}

await main();
