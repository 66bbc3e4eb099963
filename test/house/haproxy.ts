/** A real HAProxy in front of proxies, without stickiness, which asks each of them whether it is ready. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { install } from './installed.ts';
import { freePort } from './redis.ts';
import { until } from './until.ts';

const PROGRAM = 'haproxy';
const HOW_TO_INSTALL = `${PROGRAM} is not on PATH, so that no proxy was replaced behind one: install it, as with \`apt-get install ${PROGRAM}\``;

/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export type Haproxy = {
  /** The MCP endpoint. */
  readonly url: string;
  /** Whether it sends requests to the proxy of that port now. */
  readonly sendsTo: (port: number) => Promise<boolean>;
  readonly close: () => Promise<void>;
};

/** Undefined, after a line that says how to install it, where there is none. */
export async function startHaproxy(
  proxies: readonly { readonly port: number; readonly opsPort: number }[],
): Promise<Haproxy | undefined> {
  const path = await install(PROGRAM);
  if (path === undefined) {
    process.stdout.write(`${HOW_TO_INSTALL}\n`);
    return undefined;
  }
  const [port, statsPort] = [await freePort(), await freePort()];
  const folder = mkdtempSync(join(tmpdir(), 'mcp-affinity-haproxy-'));
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, configuration(port, statsPort, proxies));
  const child = spawn(path, ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe'] });
  running.add(child);
  const ended = once(child, 'exit').then(() => running.delete(child));
  const sendsTo = async (to: number): Promise<boolean> => {
    const csv = await fetch(`http://127.0.0.1:${statsPort}/;csv`).then((answer) => answer.text());
    const row = csv.split('\n').find((line) => line.startsWith(`proxies,${to},`));
    return row?.split(',').some((field) => field.startsWith('UP')) === true;
  };
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await until('HAProxy sends to every proxy', async () => {
      const up = await Promise.all(proxies.map((proxy) => sendsTo(proxy.port).catch(() => false)));
      return up.every(Boolean);
    });
  } catch (error) {
    await close();
    throw error;
  }
  return { url: `http://127.0.0.1:${port}/mcp`, sendsTo, close };
}

/** A request that could not connect is tried elsewhere; one that could is not. Connections to proxies are kept. */
function configuration(
  port: number,
  statsPort: number,
  proxies: readonly { readonly port: number; readonly opsPort: number }[],
): string {
  const servers = proxies.map(({ port: to, opsPort }) => `  server ${to} 127.0.0.1:${to} check port ${opsPort}`);
  return `global
defaults
  mode http
  timeout connect 1s
  timeout check 2s
  timeout client 1m
  timeout server 1m
  retries 3
  retry-on conn-failure
  option redispatch 1
frontend mcp
  bind 127.0.0.1:${port}
  default_backend proxies
backend proxies
  balance roundrobin
  option httpchk GET /readyz
  default-server inter 100ms fall 1 rise 1
${servers.join('\n')}
listen stats
  bind 127.0.0.1:${statsPort}
  stats enable
  stats uri /
`;
}
