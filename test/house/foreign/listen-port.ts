/** Preloaded into somebody's server whose port is written into it: it listens on `LISTEN_PORT`, on loopback. */

import { Server } from 'node:net';

const port = Number(process.env['LISTEN_PORT']);
if (!Number.isInteger(port) || port < 1) throw new Error('LISTEN_PORT: expected a port');

const listen: unknown = Object.getOwnPropertyDescriptor(Server.prototype, 'listen')?.value;
if (typeof listen !== 'function') throw new Error('node:net has no Server.listen');
Object.defineProperty(Server.prototype, 'listen', {
  value(this: Server, ...[given, ...rest]: readonly unknown[]): unknown {
    const named = typeof given === 'number' ? { port, host: '127.0.0.1' } : given;
    return Reflect.apply(listen, this, [named, ...rest]);
  },
});
