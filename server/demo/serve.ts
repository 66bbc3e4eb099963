/** Runs a sample server in this process: from its environment to its exit code. */

import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { findPackageJSON } from 'node:module';
import { createDrain } from '../drain.ts';
import { findRelease, findTaskId } from '../identity.ts';
import { sessionMetrics } from '../emf.ts';
import { scaleInProtection } from '../protection.ts';
import { memoryState, type SessionState } from '../state.ts';
import { createDemo, type Demo, type DemoOptions } from './app.ts';
import { parseDemoConfig, type DemoConfig } from './config.ts';
import { connectState } from './redis.ts';
import { fileState } from './state-files.ts';

const BAD_CONFIGURATION = 2;
/** What still runs after the drain has this long, in milliseconds, or less when the drain took its time. */
const GRACE = 5000;
const IDLE_CHECK = 50;

/**
 * Serves until SIGTERM or SIGINT and resolves with the exit code: 0, 1 when the port cannot be had, 2 for a faulty
 * environment. The first line on stdout is `{"msg":"listening","port":…,"taskId":…}`. `extend` adds tools.
 */
export async function serve(
  env: Readonly<Record<string, string | undefined>>,
  extend?: DemoOptions['extend'],
): Promise<number> {
  const parsed = parseDemoConfig(env);
  if (parsed.kind === 'faults') {
    process.stderr.write(`The sample server cannot start:\n  ${parsed.faults.join('\n  ')}\n`);
    return BAD_CONFIGURATION;
  }
  const { config } = parsed;
  const stop = Promise.race(['SIGTERM', 'SIGINT'].map((signal) => new Promise((end) => process.once(signal, end))));
  const task = { id: await findTaskId(env), version: config.version ?? packageVersion() };
  const release = await findRelease(env);
  const { state, close } = openState(config);
  const drain = createDrain({
    id: task.id,
    graceSeconds: config.drainSeconds,
    sessionIdleSeconds: config.sessionTtlSeconds,
    signals: [],
  });
  const demo = createDemo({ ...config, task, release, state, drain, storeName: config.store.kind, extend });
  const server = createServer(demo.app);
  let metrics: { close(): void } | undefined;
  const protection = scaleInProtection({
    sessions: demo.sessions,
    env: config.protection ? env : {},
    onChange: ({ kind, ...more }) => say({ msg: 'protection', state: kind, ...more }),
  });
  try {
    const port = await listen(server, config);
    say({ msg: 'listening', port, taskId: task.id });
    const { emf: service } = config;
    if (service !== undefined) metrics = sessionMetrics({ sessions: demo.sessions, service, task: task.id });
    await stop;
    const stoppedAt = performance.now();
    await drain.start();
    await shutDown(server, demo, graceLeft(config, performance.now() - stoppedAt));
    return 0;
  } catch (error) {
    process.stderr.write(`The sample server cannot serve: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  } finally {
    metrics?.close();
    await protection.close();
    close();
  }
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function openState(config: DemoConfig): { state: SessionState; close: () => void } {
  const options = { ttlSeconds: config.sessionTtlSeconds };
  const nothing = () => {};
  switch (config.store.kind) {
    case 'redis':
      return connectState(config.store.url, options);
    case 'files':
      return { state: fileState(config.store.directory, options), close: nothing };
    case 'memory':
      return { state: memoryState(options), close: nothing };
  }
}

function listen(server: Server, { port, host }: DemoConfig): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : port);
    });
  });
}

/** After a drain that took all its time what still runs is cut off: whoever sent the signal will not wait for it. */
function graceLeft({ drainSeconds }: DemoConfig, drainedMs: number): number {
  return Math.min(GRACE, Math.max(0, Math.max(GRACE, drainSeconds * 1000) - drainedMs));
}

async function shutDown(server: Server, demo: Demo, graceMs: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  demo.hush();
  const late = setTimeout(() => {
    void demo.close();
    server.closeAllConnections();
  }, graceMs);
  // A connection whose last answer went out after the close would otherwise be kept alive.
  const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK);
  await closed;
  clearTimeout(late);
  clearInterval(idle);
  await demo.close();
}

function packageVersion(): string {
  const file = findPackageJSON(import.meta.url);
  const manifest: unknown = file === undefined ? undefined : JSON.parse(readFileSync(file, 'utf8'));
  return typeof manifest === 'object' && manifest && 'version' in manifest ? String(manifest.version) : 'unknown';
}
