/** Connections to backends for what is passed through: kept open, without a cap, and not waited for without end. */
import { Agent as HttpAgent } from 'node:http';
import type { ClientRequestArgs } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { RequestOptions } from 'node:https';
import { connect, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { endpointOf } from './endpoint.ts';

const CONNECT_MS = 3000;
/** Shorter than the 5 s of Node's servers, as in upstream.ts. Limits idle sockets only: nobody listens for the others. */
const OPTIONS = { keepAlive: true, maxSockets: Infinity, timeout: 4000 } as const;

class PlainAgent extends HttpAgent {
  override createConnection(...given: [ClientRequestArgs, ((error: Error | null, stream: Duplex) => void)?]) {
    return inTime(super.createConnection(...given), 'connect');
  }
}

class SecureAgent extends HttpsAgent {
  /** The certificate must be of the backend's name, not of the Host's, which Node takes by default. */
  override createConnection(...given: [RequestOptions, ((error: Error | null, stream: Duplex) => void)?]) {
    const [options, done] = given;
    const { host } = options;
    const servername = typeof host === 'string' && isIP(host) === 0 ? host : '';
    return inTime(super.createConnection({ ...options, servername }, done), 'secureConnect');
  }
}

/** The agents by the scheme of a backend's origin. `close` breaks off what still runs. */
export function createAgents(): { readonly http: HttpAgent; readonly https: HttpsAgent; close(): void } {
  const http = new PlainAgent(OPTIONS);
  const https = new SecureAgent(OPTIONS);
  return {
    http,
    https,
    close() {
      http.destroy();
      https.destroy();
    },
  };
}

/** Why no connection can be made there; undefined where one can. */
export function connectFault(origin: string): Promise<Error | undefined> {
  const socket = connect(endpointOf(origin));
  return new Promise((resolve) => {
    inTime(socket, 'connect')
      .once('error', resolve)
      .once('connect', () => {
        socket.destroy();
        resolve(undefined);
      });
  });
}

/** An address that nobody answers at fails like one that refuses. */
function inTime<T extends Duplex | null | undefined>(socket: T, ready: 'connect' | 'secureConnect'): T {
  const late = setTimeout(
    () => socket?.destroy(Object.assign(new Error('the connection was not made in time'), { code: 'ETIMEDOUT' })),
    CONNECT_MS,
  );
  socket?.once(ready, () => clearTimeout(late)).once('close', () => clearTimeout(late));
  return socket;
}
