/** A TCP relay in front of a Redis that can be slow, silent, or gone for one proxy alone. */

import { type Server, type Socket, connect, createServer } from 'node:net';

export type Relay = {
  readonly port: number;
  /** Milliseconds that each piece waits in both directions together; 0 at first. */
  delay(ms: number): void;
  /** Nothing passes, and nobody is told: as where a network is cut. */
  silence(silent: boolean): void;
  /** Connections are broken off and refused. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  close(): Promise<void>;
};

export async function startRelay(to: number): Promise<Relay> {
  const open = new Set<Socket>();
  const state = { delayMs: 0, silent: false };
  const join = (near: Socket): void => {
    const far = connect({ port: to, host: '127.0.0.1', noDelay: true });
    for (const [from, into] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(from);
      from.on('error', () => {});
      from.once('close', () => {
        open.delete(from);
        into.destroy();
      });
      from.on('data', (bytes) => {
        const pass = (): void => {
          if (!state.silent && !into.destroyed) into.write(bytes);
        };
        if (state.delayMs === 0) pass();
        else setTimeout(pass, state.delayMs / 2);
      });
    }
  };
  let server: Server = createServer({ noDelay: true }, join);
  const port = await listen(server, 0);
  const refuse = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of open) socket.destroy();
    await closed;
  };
  return {
    port,
    delay(ms) {
      state.delayMs = ms;
    },
    silence(silent) {
      state.silent = silent;
      // What was swallowed is missing in the middle of these.
      if (!silent) for (const socket of open) socket.destroy();
    },
    refuse,
    async accept() {
      server = createServer({ noDelay: true }, join);
      await listen(server, port);
    },
    close: refuse,
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
}
