/** Listens on both ports, and shuts down gracefully. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { DEADLINES, createDoorServer } from './app.ts';
import type { Deadlines } from './app.ts';
import { asError } from './as-error.ts';
import type { Config } from './config.ts';
import { trackConnections } from './connections.ts';
import { createDoor } from './door.ts';
import { ownerTeller } from './owner.ts';
import { createOperations } from './operations.ts';
import { buildHouse } from './rooms.ts';
import type { Given } from './rooms.ts';
import type { BoardOptions } from './status/board.ts';
import { warningsOf } from './warnings.ts';
import { createStatus } from './status/status.ts';
import { createTelemetry } from './telemetry/telemetry.ts';
import type { TelemetryWithMetrics } from './telemetry/telemetry.ts';
import { version } from './version.ts';

export interface Running {
  readonly port: number;
  readonly opsPort: number;
  /**
   * Is not ready any more and serves on for `lameDuckSeconds`, with `Connection: close`; then takes nothing new, ends the
   * listening streams, finishes what runs, and cuts what is left `drainSeconds` after the call. Idempotent.
   */
  stop(how?: { readonly lameDuck: boolean }): Promise<void>;
}

/** How long a kept connection is idle before it is closed, once the listener is: nobody uses it any more. */
const KEPT_MS = 1000;

/** Their default in Node ends the process, or opens its inspector. */
const IGNORED = ['SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;

/**
 * Resolves with the process's exit code, after SIGTERM, or after SIGINT, which a person sends who does not want to wait for
 * a lame duck; a second signal exits at once, with 1.
 */
export async function run(config: Config): Promise<number> {
  const telemetry = createTelemetry({ level: config.logLevel, emf: config.emf });
  endOnFault(telemetry);
  // However the process ends, what was counted and not said yet is said.
  process.once('exit', () => telemetry.close());
  // Before anybody can read that we listen, and so may tell us to stop.
  const told = new Promise<string>((resolve) => {
    let first = true;
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => {
        if (!first) process.exit(1);
        first = false;
        resolve(name);
      });
    }
  });
  for (const signal of IGNORED) process.on(signal, () => telemetry.record({ type: 'ignored', signal }));
  let running: Running;
  try {
    running = await start(config, telemetry);
  } catch (error) {
    process.stderr.write(`mcp-affinity: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
  const signal = await told;
  telemetry.record({ type: 'stopping', signal });
  await running.stop({ lameDuck: signal === 'SIGTERM' });
  telemetry.close();
  telemetry.record({ type: 'stopped', clean: true });
  return 0;
}

/** What nobody caught leaves the process in a state that nobody knows: one line says it, and whoever watches starts anew. */
function endOnFault(telemetry: TelemetryWithMetrics): void {
  const end = (thrown: unknown): void => {
    telemetry.record({ type: 'fault', error: asError(thrown) });
    process.exit(1);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}

/** Listens on both ports. Throws when one cannot be had. */
export async function start(
  config: Config,
  told: TelemetryWithMetrics,
  deadlines: Deadlines = DEADLINES,
  given: Given = {},
): Promise<Running> {
  let listening = false;
  const status = createStatus({ ...kindsOf(config, given), version: version(), now: Date.now });
  const telemetry = status.overhear(told);
  const house = buildHouse(config, telemetry, { ...given, listening: { host: config.host, port: config.port } });
  const ready = (): boolean => listening && house.backends.list().length > 0;
  status.watch(house, ready);
  await house.found;
  const ownerOf = ownerTeller(config.bindOwner, given.owner);
  const door = createDoor(house.router, { ...config, ownerOf, bodyMs: deadlines.body }, telemetry);
  const { elsewhere, self } = house;
  const server = createDoorServer({ ...config, rules: { ...config, self }, door, elsewhere, telemetry }, deadlines);
  const connections = trackConnections(server);
  const ops = createServer(createOperations(config, house, telemetry, [status.router], ready));

  async function closeRooms(): Promise<void> {
    status.close();
    await Promise.all([house.close(), closeAtOnce(ops)]);
  }
  function cut(): void {
    door.cut();
    elsewhere?.cut();
  }
  async function stop(lameDuck: boolean): Promise<void> {
    listening = false;
    const end = performance.now() + config.drainSeconds * 1000;
    const grace = lameDuck ? config.lameDuckSeconds : 0;
    if (grace > 0) {
      connections.closeAfterAnswers();
      await delay(grace * 1000);
    }
    await connections.closeListener((config.drainSeconds - grace) * 1000, Math.min(grace * 1000, KEPT_MS));
    // Only now: whoever listened comes again at once, and must find another proxy.
    door.close();
    elsewhere?.close();
    await connections.ended(end - performance.now(), cut);
    elsewhere?.cut();
    await closeRooms();
  }

  let stopping: Promise<void> | undefined;
  try {
    const port = await listen(server, config.port, config.host, '--port');
    const opsPort = await listen(ops, config.opsPort, config.opsHost, '--ops-port');
    listening = true;
    const origins = house.backends.list().map(({ origin }) => origin);
    telemetry.record({ type: 'listening', port, opsPort, path: config.path.join(','), backends: origins });
    for (const warning of warningsOf(config)) telemetry.record({ type: 'configuration', warning });
    return { port, opsPort, stop: (how) => (stopping ??= stop(how?.lameDuck ?? true)) };
  } catch (error) {
    server.close();
    await closeRooms();
    throw error;
  }
}

/** What the registry and discovery are, for people. */
function kindsOf(
  { redis, discovery }: Config,
  { sessions, backends }: Given,
): Pick<BoardOptions, 'registry' | 'discovery'> {
  const registered = redis === undefined ? 'memory' : 'redis';
  return { registry: sessions ? 'own' : registered, discovery: backends ? 'own' : discovery };
}

async function listen(server: Server, port: number, host: string, flag: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new Error(`${flag} ${port} on ${host} cannot be listened on (${cause.code ?? cause.message})`, { cause }));
    });
    server.listen(port, host, resolve);
  });
  return portOf(server.address());
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function closeAtOnce(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    setImmediate(() => server.closeAllConnections());
  });
}
