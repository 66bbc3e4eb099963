/** `npm run bench:sessions`: what a known session and an open stream cost in memory, and what `initialize` does beside many. */

import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { startRedis } from '../test/house/redis.ts';
import { HEADERS, INITIALIZE } from './load.ts';
import { type Running, start } from './processes.ts';

const CONNECTIONS = 32;
const STEPS = 5;
const FIRST_STREAMS = 500;
const STREAMS = 1_500;
/** As clients say it, so that what is equal in all sessions is no smaller than it is elsewhere. */
const PARAMS = {
  ...INITIALIZE,
  capabilities: { roots: { listChanged: true }, sampling: {}, elicitation: { form: {}, url: {} } },
};
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Clients of one proxy. */
function clientsOf(origin: string) {
  const agent = new Agent({ connections: CONNECTIONS, bodyTimeout: 0, headersTimeout: 0 });
  const listening = new Agent({ bodyTimeout: 0, headersTimeout: 0 });
  const url = `${origin}/mcp`;
  async function post(headers: Record<string, string>, message: object): Promise<string> {
    const body = JSON.stringify({ jsonrpc: '2.0', ...message });
    const answer = await request(url, { method: 'POST', headers: { ...HEADERS, ...headers }, body, dispatcher: agent });
    await answer.body.dump();
    if (answer.statusCode >= 300) throw new Error(`${JSON.stringify(message)} was answered with ${answer.statusCode}`);
    return String(answer.headers['mcp-session-id']);
  }
  async function open(): Promise<string> {
    const id = await post({}, { id: 0, method: 'initialize', params: PARAMS });
    await post({ 'mcp-session-id': id }, { method: 'notifications/initialized' });
    return id;
  }
  async function repeat(times: number, one: () => Promise<void>): Promise<void> {
    let begun = 0;
    const line = async (): Promise<void> => {
      while (begun < times) {
        begun += 1;
        await one();
      }
    };
    await Promise.all(Array.from({ length: CONNECTIONS }, line));
  }
  return {
    /** Returns the ids. */
    async open(count: number): Promise<readonly string[]> {
      const ids: string[] = [];
      await repeat(count, async () => void ids.push(await open()));
      return ids;
    },
    async listen(ids: readonly string[]): Promise<void> {
      const left = ids.values();
      await repeat(ids.length, async () => {
        const { value: id = '' } = left.next();
        const headers = { ...HEADERS, 'mcp-session-id': id };
        const answer = await request(url, { headers, dispatcher: listening });
        if (answer.statusCode !== 200) throw new Error(`a stream was answered with ${answer.statusCode}`);
        answer.body.on('error', () => {}).resume();
      });
    },
    close: () => Promise.all([agent.destroy(), listening.destroy()]),
  };
}

/** What is left when the garbage is gone, in bytes: objects and buffers, and all memory, which is given back slowly. */
type Memory = { readonly kept: number; readonly resident: number };

async function memoryOf({ pid, opsOrigin = '' }: Running): Promise<Memory> {
  for (let round = 0; round < 3; round += 1) {
    process.kill(pid, 'SIGUSR2');
    await delay(1_000);
  }
  const metrics = await (await request(`${opsOrigin}/metrics`)).body.text();
  const metric = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1]);
  const kept = metric('nodejs_heap_size_used_bytes') + metric('nodejs_external_memory_bytes');
  return { kept, resident: metric('process_resident_memory_bytes') };
}

function perOne(before: Memory, after: Memory, count: number): string {
  const kilobytes = (name: keyof Memory): string => ((after[name] - before[name]) / count / 1024).toFixed(2);
  return `${kilobytes('kept')} KiB kept, ${kilobytes('resident')} KiB resident`;
}

async function measure(name: string, backend: Running, sessions: number, flags: readonly string[]): Promise<void> {
  const args = ['--port', '0', '--ops-port', '0', '--lame-duck-seconds', '0', '--log-level', 'error'];
  const proxy = await start('bench/collected-proxy.ts', [...args, '--backend', backend.origin, ...flags]);
  const clients = clientsOf(proxy.origin);
  let before: Memory | undefined;
  let opened: readonly string[] = [];
  const rates: string[] = [];
  for (let step = 0; step < 2 * STEPS; step += 1) {
    // By then all is compiled, and V8 has as much room for garbage as it wants: that is no session's.
    if (step === STEPS) before = await memoryOf(proxy);
    const begun = performance.now();
    opened = await clients.open(sessions / STEPS / 2);
    rates.push((opened.length / ((performance.now() - begun) / 1000)).toFixed(0));
  }
  const after = await memoryOf(proxy);
  if (before) say(`${name}: a session ${perOne(before, after, sessions / 2)}`);
  say(`${name}: opened a second, by tenths: ${rates.join(', ')}`);
  const [first, streams] = [opened.slice(0, FIRST_STREAMS), opened.slice(FIRST_STREAMS, FIRST_STREAMS + STREAMS)];
  await clients.listen(first);
  const few = await memoryOf(proxy);
  await clients.listen(streams);
  say(`${name}: an open stream ${perOne(few, await memoryOf(proxy), streams.length)}`);
  await clients.close();
  await proxy.stop();
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { sessions: { type: 'string', default: '50000' } } });
  const sessions = Number(values.sessions);
  if (!(sessions >= 20_000)) throw new Error('--sessions: expected a number from 20000');
  // How much room there is for garbage is V8's to choose, and would count for sessions.
  process.env['NODE_OPTIONS'] = '--max-semi-space-size=2';
  const backend = await start('bench/backend.ts');
  const redis = await startRedis();
  await measure('in memory', backend, sessions, []);
  // As many as the cache keeps.
  await measure('Redis', backend, Math.min(sessions, 20_000), ['--redis', redis.url]);
  await Promise.all([backend.stop(), redis.close()]);
}

await main();
