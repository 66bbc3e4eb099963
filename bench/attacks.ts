/** `npm run bench:attacks`: what each flood costs a proxy in a heap of 384 MB, as that of a task of 512 MB is. */

import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { rawOpen, rawPing } from '../test/house/by-hand.ts';
import { FLOODS, type Flood } from '../test/house/floods.ts';
import { startPlain } from '../test/house/plain.ts';
import { startProxyProcess } from '../test/house/proxy-process.ts';
import { startRedis } from '../test/house/redis.ts';

const HEAP_MB = 384;
const LOOK_EVERY_MS = 50;
const say = (line: string): void => void process.stdout.write(`${line}\n`);

type Cost = {
  readonly ended: string | undefined;
  readonly seconds: number;
  /** Of the process, in MB. */
  readonly memory: number;
  /** The longest that its event loop stood still, in milliseconds. */
  readonly stall: number;
  /** Of a client that pings all the while, with a session of its own. */
  readonly pings: number;
  readonly failed: number;
};

async function gauges(opsPort: number): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
  return new Map([...text.matchAll(/^(\w+) (\S+)$/gm)].map(([, name = '', value]) => [name, Number(value)]));
}

async function suffer(flood: Flood, shared: boolean): Promise<Cost> {
  const backends = await Promise.all(['a', 'b'].map(startPlain));
  const redis = shared ? await startRedis() : undefined;
  const flags = [
    ...backends.flatMap(({ origin }) => ['--backend', origin]),
    ...(redis ? ['--redis', redis.url] : []),
    '--log-level',
    'error',
  ];
  const proxy = await startProxyProcess(flags, [`--max-old-space-size=${HEAP_MB}`]);
  const url = `http://127.0.0.1:${proxy.port}/mcp`;
  let ended: string | undefined;
  void proxy.exit().then(
    (code) => (ended = String(code)),
    () => {},
  );
  const good = await rawOpen(url);
  const over = new AbortController();
  let [memory, stall, pings, failed] = [0, 0, 0, 0];
  await gauges(proxy.opsPort);
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const seen = await gauges(proxy.opsPort).catch(() => new Map<string, number>());
      memory = Math.max(memory, (seen.get('process_resident_memory_bytes') ?? 0) / 1e6);
      stall = Math.max(stall, (seen.get('nodejs_eventloop_lag_max_seconds') ?? 0) * 1000);
      await delay(LOOK_EVERY_MS);
    }
  };
  const ping = async (): Promise<void> => {
    while (!over.signal.aborted) {
      const status = await rawPing(url, good.id).then(
        (answer) => answer.status,
        () => 0,
      );
      pings += 1;
      if (status !== 200) failed += 1;
      await delay(LOOK_EVERY_MS);
    }
  };
  const watching = Promise.all([watch(), ping()]);
  const began = performance.now();
  await flood.send({ url, backends, kill: (backend) => backend.close() });
  const seconds = (performance.now() - began) / 1000;
  over.abort();
  await watching;
  const died = ended;
  await proxy.close();
  await redis?.close();
  await Promise.all(backends.map((one) => one.close().catch(() => {})));
  return { ended: died, seconds, memory, stall, pings, failed };
}

const HELP = `npm run bench:attacks -- [--only WORDS] [--redis]

What each flood costs a proxy whose heap is ${HEAP_MB} MB: whether its process ends, its memory, how long its event loop
stands still, and what a client sees that pings all the while.

  --only WORDS   floods whose name contains them
  --redis        with a Redis of its own; else sessions are in the proxy's memory
`;

const { values } = parseArgs({
  options: { only: { type: 'string' }, redis: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
});
if (values.help === true) {
  process.stdout.write(HELP);
  process.exit(0);
}
say('| flood | s | process | memory, MB | longest stall, ms | pings failed |');
say('|---|---|---|---|---|---|');
for (const flood of FLOODS) {
  if (!flood.name.includes(values.only ?? '')) continue;
  const { ended, seconds, memory, stall, pings, failed } = await suffer(flood, values.redis === true);
  say(
    `| ${flood.name} | ${seconds.toFixed(1)} | ${ended === undefined ? 'lives' : `ended: ${ended}`} | ${memory.toFixed(0)} | ${stall.toFixed(0)} | ${failed} of ${pings} |`,
  );
}
