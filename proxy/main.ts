/** Listens on both ports, and shuts down gracefully. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { DEADLINES, createDoorServer } from './app.ts';
import type { Deadlines } from './app.ts';
import { asError } from './as-error.ts';
import type { Config } from './config.ts';
import { createDoor } from './door.ts';
import { createOperations } from './operations.ts';
import { buildHouse } from './rooms.ts';
import type { Given } from './rooms.ts';
import type { BoardOptions } from './status/board.ts';
import { createStatus } from './status/status.ts';
import { createTelemetry } from './telemetry/telemetry.ts';
import type { TelemetryWithMetrics } from './telemetry/telemetry.ts';
import { version } from './version.ts';

export interface Running {
  readonly port: number;
  readonly opsPort: number;
  /** Takes nothing new, finishes what runs, cuts what is left after `drainSeconds`. Idempotent. */
  stop(): Promise<void>;
}

/** Resolves with the process's exit code, after SIGTERM or SIGINT; a second signal exits at once, with 1. */
export async function run(config: Config): Promise<number> {
  const telemetry = createTelemetry({ level: config.logLevel, emf: config.emf });
  endOnFault(telemetry);
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
  let running: Running;
  try {
    running = await start(config, telemetry);
  } catch (error) {
    process.stderr.write(`mcp-affinity: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
  telemetry.record({ type: 'stopping', signal: await told });
  await running.stop();
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
  const door = createDoor(house.router, config, telemetry);
  const { elsewhere, self } = house;
  const server = createDoorServer({ rules: { ...config, self }, door, elsewhere, telemetry }, deadlines);
  const leaveUnused = closeUnused(server);
  const ops = createServer(createOperations(config, house, telemetry, [status.router], ready));

  async function closeRooms(): Promise<void> {
    status.close();
    await Promise.all([house.close(), closed(ops, 0)]);
  }
  function cut(): void {
    door.cut();
    elsewhere?.cut();
  }
  async function stop(): Promise<void> {
    listening = false;
    const finished = closed(server, config.drainSeconds * 1000, cut);
    leaveUnused();
    door.close();
    elsewhere?.close();
    await finished;
    elsewhere?.cut();
    await closeRooms();
  }

  let stopping: Promise<void> | undefined;
  try {
    const port = await listen(server, config.port, config.host, '--port');
    const opsPort = await listen(ops, config.opsPort, config.opsHost, '--ops-port');
    listening = true;
    const origins = house.backends.list().map(({ origin }) => origin);
    telemetry.record({ type: 'listening', port, opsPort, path: config.path, backends: origins });
    return { port, opsPort, stop: () => (stopping ??= stop()) };
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

/** Takes no new connections; resolves when the last one is closed. After `graceMs` the rest is cut. */
function closed(server: Server, graceMs: number, cut: () => void = () => {}): Promise<void> {
  return new Promise((resolve) => {
    const idle = setInterval(() => server.closeIdleConnections(), 50);
    const deadline = setTimeout(() => {
      cut();
      setImmediate(() => server.closeAllConnections());
    }, graceMs);
    server.close(() => {
      clearInterval(idle);
      clearTimeout(deadline);
      resolve();
    });
  });
}

/** For a shutdown: closes the connections that have sent nothing yet, which `closeIdleConnections` passes over. */
function closeUnused(server: Server): () => void {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return () => {
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
  };
}
