/** Servers that are not ours, three of a kind as child processes with names, to be killed and started again. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { CHILD_ENV } from '../child-env.ts';
import { soon, until } from '../until.ts';

/** How one server of a kind is started. */
export type Start = {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

export type ForeignServer = {
  readonly id: string;
  readonly origin: string;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** Starts it anew on its port, with an empty memory; resolves when it listens. */
  restart(): Promise<void>;
};

export type ForeignServers = {
  readonly all: readonly ForeignServer[];
  readonly origins: readonly string[];
  /** The one that listens at `host:port`; throws where none does. */
  at(address: string): ForeignServer;
  /** Kills all of them. Idempotent. */
  close(): Promise<void>;
};

/** A test run that ends early leaves none behind. */
const running = new Set<ChildProcess>();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));
/** A Python server on a busy machine takes its time. Milliseconds. */
const DEADLINE = 60_000;

/** Starts one for each of `ids`. Rejects, with what it wrote to stderr, when one does not listen in time. */
export async function startForeign(
  start: (port: number) => Start,
  ids: readonly string[] = ['a', 'b', 'c'],
): Promise<ForeignServers> {
  const made: ForeignServer[] = [];
  const close = async () => void (await Promise.all(made.map((server) => server.kill())));
  try {
    const ports = await freePorts(ids.length);
    made.push(...ids.map((id, at) => newServer(id, ports[at] ?? 0, start)));
    await Promise.all(made.map((server) => server.restart()));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    all: made,
    origins: made.map(({ origin }) => origin),
    at(address) {
      const server = made.find(({ origin }) => origin === `http://${address}`);
      if (!server) throw new Error(`No server listens at ${address}`);
      return server;
    },
    close,
  };
}

function newServer(id: string, port: number, start: (port: number) => Start): ForeignServer {
  let child: ChildProcess | undefined;
  const kill = async () => {
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  return {
    id,
    origin: `http://127.0.0.1:${port}`,
    kill,
    async restart() {
      await kill();
      const { command, args, env } = start(port);
      const stdio: ['ignore', 'ignore', 'pipe'] = ['ignore', 'ignore', 'pipe'];
      const begun = spawn(command, args, { env: { ...CHILD_ENV, ...env }, stdio });
      child = begun;
      running.add(begun);
      begun.once('exit', () => running.delete(begun));
      let stderr = '';
      begun.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr = (stderr + text).slice(-2000);
      });
      const failed = once(begun, 'exit').then(() => {
        throw new Error(`${command} ${args.join(' ')} ended before it listened: ${stderr}`);
      });
      failed.catch(() => {});
      await Promise.race([until(`${id} listens`, () => accepts(port), DEADLINE), failed]);
    },
  };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const say = (yes: boolean) => {
      socket.destroy();
      resolve(yes);
    };
    socket.once('connect', () => say(true));
    socket.once('error', () => say(false));
  });
}

/** All at once, so that they differ. */
async function freePorts(count: number): Promise<readonly number[]> {
  const holders = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await soon('free ports', Promise.all(holders.map((holder) => once(holder, 'listening'))));
  const ports = holders.map((holder) => {
    const address = holder.address();
    return typeof address === 'object' && address ? address.port : 0;
  });
  await Promise.all(holders.map((holder) => new Promise((resolve) => holder.close(resolve))));
  return ports;
}
