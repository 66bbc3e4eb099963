/** `npm run bench:migration`: every server replaced under a crowd, kill -9 to the next answer, migrations per second of CPU. */

import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startRedis } from '../test/house/redis.ts';
import { type TestServer, type TestServers, startServers } from '../test/house/servers.ts';
import { startTalk } from '../test/house/talk.ts';
import { until } from '../test/house/until.ts';
import { openCrowd } from './crowd.ts';
import { openLoad } from './load.ts';
import { type Running, cpuOf, start } from './processes.ts';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

type Street = {
  readonly servers: TestServers;
  readonly proxies: readonly Running[];
  readonly close: () => Promise<void>;
};

async function build(proxies: number, env: Readonly<Record<string, string>> = {}): Promise<Street> {
  const servers = await startServers(['a', 'b', 'c'], env);
  const redis = await startRedis();
  const flags = [
    '--port',
    '0',
    '--ops-port',
    '0',
    '--lame-duck-seconds',
    '0',
    '--redis',
    redis.url,
    '--log-level',
    'error',
  ];
  const backends = servers.origins.flatMap((origin) => ['--backend', origin]);
  const started = await Promise.all(
    Array.from({ length: proxies }, () => start('proxy/cli.ts', [...flags, ...backends])),
  );
  return {
    servers,
    proxies: started,
    async close() {
      await Promise.all(started.map((one) => one.stop()));
      await Promise.all([servers.close(), redis.close()]);
    },
  };
}
const endpoints = ({ proxies }: Street) => proxies.map(({ origin }) => `${origin}/mcp`);

/** How a server is replaced; it runs again when this resolves. */
type Replace = (server: TestServer, street: Street) => Promise<void>;

const REPLACEMENTS: Readonly<Record<string, Replace>> = {
  'SIGTERM, servers that hand over': async (server) => {
    const code = await server.stop();
    if (code !== 0) say(`  ${server.id} ended with ${code}`);
    await server.restart();
  },
  'drained by a mark, then killed': async (server, { proxies }) => {
    const path = `/backends/${new URL(server.origin).host}/drain`;
    const order = async (method: string, ...expected: readonly number[]): Promise<void> => {
      const headers = { 'content-type': 'application/json' };
      const { status } = await fetch(`${proxies[0]?.opsOrigin}${path}`, { method, headers });
      if (!expected.includes(status)) throw new Error(`${method} ${path} was answered with ${status}`);
    };
    await order('POST', 202);
    const deadline = performance.now() + 60_000;
    while ((await activeAt(server)) > 0 && performance.now() < deadline) await delay(100);
    await server.restart();
    // The mark has gone with it, where its death was seen.
    await order('DELETE', 202, 404);
  },
  'kill -9': (server) => server.restart(),
};

async function activeAt({ origin }: TestServer): Promise<number> {
  const health: unknown = await (await fetch(`${origin}/health`)).json();
  if (typeof health === 'object' && health && 'active_sessions' in health) return Number(health.active_sessions);
  throw new Error(`${origin} does not say how many sessions it has`);
}

/** Each server once, with a pause in which all is calm. */
async function replaceAll(how: string, replace: Replace, sessions: number, everyMs: number): Promise<void> {
  const street = await build(2);
  const crowd = await openCrowd({ urls: endpoints(street), sessions, listeners: Math.floor(sessions / 5), everyMs });
  const begun = performance.now();
  for (const server of street.servers.servers) {
    await delay(2_000);
    await replace(server, street);
  }
  await delay(2_000);
  const seconds = (performance.now() - begun) / 1000;
  const lost = await crowd.leave();
  const { tally } = crowd;
  const runs = new Map<string, number>();
  for (const { key } of street.servers.effects()) runs.set(key, (runs.get(key) ?? 0) + 1);
  const twice = [...runs.values()].filter((count) => count > 1).length;
  const never = tally.answered.filter((key) => !runs.has(key)).length;
  say(
    `${how}: ${sessions} sessions, ${tally.calls} calls in ${seconds.toFixed(0)} s, ${tally.failed.length} failed, ` +
      `${tally.unknown.length} unknown, ${twice} ran twice, ${never} answered without a run, ` +
      `${tally.streamsEnded} streams ended, ${lost} sessions lost, slowest call ${tally.slowest.toFixed(0)} ms`,
  );
  for (const line of tally.failed.slice(0, 5)) say(`  ${line}`);
  await street.close();
}

/** Handshakes after which a server that was just started is as quick as it gets. */
const WARM = 30;

/** All servers warm, and found well by the proxy: killed sooner, one after the other, it finds none to believe in. */
async function allWell({ servers, proxies }: Street): Promise<void> {
  const well = async () => {
    const listed = await (await fetch(`${proxies[0]?.opsOrigin}/backends`)).text();
    return listed.split('"state":"ready"').length - 1 === servers.servers.length;
  };
  await until('all are ready', well, 60_000);
}

async function warmUp({ origin }: TestServer): Promise<void> {
  const load = await openLoad(origin, { sessions: WARM, connections: 1 });
  await load.close();
}

/** Milliseconds from kill -9 to the next answer. */
async function killToAnswer(kills: number): Promise<void> {
  const street = await build(1);
  for (const server of street.servers.servers) await warmUp(server);
  const talk = await startTalk(endpoints(street)[0] ?? '');
  const took: number[] = [];
  for (let made = 0; made < kills; made += 1) {
    await allWell(street);
    const home = street.servers.get(await talk.task('ping'));
    await home.kill();
    const begun = performance.now();
    await talk.task('ping');
    took.push(performance.now() - begun);
    await home.restart();
    await warmUp(home);
  }
  took.sort((one, other) => one - other);
  const at = (share: number): string => (took[Math.ceil(took.length * share) - 1] ?? 0).toFixed(0);
  say(`kill -9 to the next answer, ${kills} kills: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
  await talk.close();
  await street.close();
}

async function migrationsOf({ opsOrigin }: Running): Promise<number> {
  const text = await (await fetch(`${opsOrigin}/metrics`)).text();
  const counts = [...text.matchAll(/^mcp_affinity_migrations_total\{[^}]*outcome="migrated"[^}]*\} (\d+)$/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

/** With `--chaos-migrate` each call migrates its session: what that costs beside the same calls without. */
async function migrationsPerCore(calls: number): Promise<void> {
  const backends = await Promise.all([start('bench/backend.ts'), start('bench/backend.ts')]);
  const flags = ['--port', '0', '--ops-port', '0', '--lame-duck-seconds', '0', '--log-level', 'error'];
  const cost = async (chaos: string): Promise<number> => {
    const proxy = await start('proxy/cli.ts', [
      ...flags,
      ...backends.flatMap(({ origin }) => ['--backend', origin]),
      '--chaos-migrate',
      chaos,
    ]);
    const load = await openLoad(proxy.origin, { sessions: 64, connections: 32 });
    await load.call('json', calls);
    const [before, moved] = [cpuOf(proxy.pid), await migrationsOf(proxy)];
    await load.call('json', calls);
    const cpu = (cpuOf(proxy.pid) - before) / calls;
    const migrated = (await migrationsOf(proxy)) - moved;
    if (migrated !== (chaos === 'on' ? calls : 0)) say(`  --chaos-migrate ${chaos}: ${migrated} of ${calls} migrated`);
    await load.close();
    await proxy.stop();
    return cpu;
  };
  const [plain, chaos] = [await cost('off'), await cost('on')];
  await Promise.all(backends.map((one) => one.stop()));
  say(
    `a call ${plain.toFixed(0)} µs of CPU, a call with a migration ${chaos.toFixed(0)} µs: ` +
      `${(1e6 / chaos).toFixed(0)} migrations a second of one core`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      sessions: { type: 'string', default: '1000' },
      every: { type: 'string', default: '1000' },
      kills: { type: 'string', default: '100' },
      migrations: { type: 'string', default: '5000' },
      only: { type: 'string' },
    },
  });
  const number = (name: 'sessions' | 'every' | 'kills' | 'migrations'): number => {
    const value = Number(values[name]);
    if (!Number.isInteger(value) || value < 1)
      throw new Error(`--${name}: expected a whole number from 1, got ${values[name]}`);
    return value;
  };
  const wanted = (what: string): boolean => values.only === undefined || what.includes(values.only);
  for (const [how, replace] of Object.entries(REPLACEMENTS)) {
    if (wanted(how)) await replaceAll(how, replace, number('sessions'), number('every'));
  }
  if (wanted('kills')) await killToAnswer(number('kills'));
  if (wanted('migrations')) await migrationsPerCore(number('migrations'));
}

await main();
