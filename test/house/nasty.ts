/** A backend of raw TCP, as nasty as production: the test says what becomes of each request, byte by byte. */

import { type Server, type Socket, createServer } from 'node:net';
import { soon, until } from './until.ts';

export type Field = readonly [name: string, value: string];

/** One request as it came, and what the backend does to it. */
export class NastyRequest {
  /** Head and body, byte for byte. */
  readonly raw: Buffer;
  readonly line: string;
  /** In order, as they were sent. */
  readonly fields: readonly Field[];
  readonly body: string;
  /** Resolves when the connection is closed, by either side. */
  readonly left: Promise<void>;
  readonly #socket: Socket;

  constructor(raw: Buffer, bodyAt: number, socket: Socket) {
    this.raw = raw;
    const [line = '', ...fields] = raw
      .subarray(0, bodyAt - 4)
      .toString('latin1')
      .split('\r\n');
    this.line = line;
    this.fields = fields.map((field) => {
      const colon = field.indexOf(':');
      return [field.slice(0, colon), field.slice(colon + 1).trim()];
    });
    this.body = raw.subarray(bodyAt).toString('utf8');
    this.left = new Promise((resolve) => socket.once('close', () => resolve()));
    this.#socket = socket;
  }

  /** All values of a field, in order. */
  all(name: string): readonly string[] {
    return this.fields.flatMap(([key, value]) => (key.toLowerCase() === name.toLowerCase() ? [value] : []));
  }

  /** Any bytes, garbage included. */
  write(bytes: string | Buffer): this {
    this.#socket.write(bytes);
    return this;
  }

  /** A head without framing of its own. */
  head(status: number, fields: readonly Field[] = []): this {
    const text = fields.map((field) => `${field.join(': ')}\r\n`).join('');
    return this.write(Buffer.from(`HTTP/1.1 ${status} Said\r\n${text}\r\n`, 'latin1'));
  }

  /** A whole answer; JSON where nothing else is said. */
  answer(status: number, body: unknown = '', fields: readonly Field[] = [['content-type', 'application/json']]): void {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    this.head(status, [...fields, ['content-length', String(Buffer.byteLength(text))]]).write(text);
  }

  /** The head of an event stream. */
  stream(fields: readonly Field[] = []): this {
    return this.head(200, [['content-type', 'text/event-stream'], ['transfer-encoding', 'chunked'], ...fields]);
  }

  /** A piece of a stream. */
  chunk(text: string): this {
    return this.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
  }

  event(message: unknown, id?: string): this {
    const name = id === undefined ? '' : `id: ${id}\n`;
    return this.chunk(`event: message\n${name}data: ${JSON.stringify(message)}\n\n`);
  }

  /** The stream ends as it should. */
  end(): void {
    this.write('0\r\n\r\n');
  }

  /** The process ends: what was written still arrives. */
  die(): void {
    this.#socket.end();
  }

  /** The connection is reset. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Writes `piece` as a chunk again and again, as fast as the other side takes it. */
  flood(piece: string, times: number): Flood {
    const socket = this.#socket;
    const bytes = Buffer.from(`${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n`);
    let sent = 0;
    const done = new Promise<void>((resolve, reject) => {
      const next = (error?: Error | null): void => {
        if (error) return reject(error);
        sent += bytes.length;
        return sent < times * bytes.length ? void socket.write(bytes, next) : resolve();
      };
      socket.write(bytes, next);
    });
    done.catch(() => {});
    return { stopped: () => standstill(() => sent), done };
  }
}

const OWN_PING = /"id":"(mcp-affinity-ping-[^"]+)"/;

export type Flood = {
  /** Resolves with the bytes that have left, once no more do. */
  stopped(): Promise<number>;
  /** Resolves when all have left. */
  readonly done: Promise<void>;
};

/** Looks until the number is the same so many times in a row. */
export async function standstill(look: () => number, times = 25): Promise<number> {
  let last = look();
  let same = 0;
  return until('nothing moves any more', () => {
    const now = look();
    same = now === last ? same + 1 : 0;
    last = now;
    return same >= times ? { now } : undefined;
  }).then(({ now }) => now);
}

export type Nasty = {
  /** `host:port`, as the proxy knows it. */
  readonly id: string;
  readonly port: number;
  readonly origin: string;
  /** Where it is alive: whether it knows the session that a ping names. */
  knows: boolean;
  /** Every request so far, in order. */
  readonly requests: readonly NastyRequest[];
  /** Connections that are open now. */
  readonly connections: number;
  /** The next request that nobody has taken yet. */
  next(): Promise<NastyRequest>;
  close(): Promise<void>;
};

/**
 * `deaf` accepts connections and never reads. Where it is `alive`, it answers the proxy's own pings by itself, as a server
 * does that knows the session.
 */
export async function startNasty({ deaf = false, alive = false } = {}): Promise<Nasty> {
  const requests: NastyRequest[] = [];
  const sockets = new Set<Socket>();
  let taken = 0;
  const server = createServer({ pauseOnConnect: deaf, noDelay: true }, (socket) => {
    sockets.add(socket);
    // Each request on it listens for its end.
    socket.setMaxListeners(0);
    socket.once('close', () => sockets.delete(socket));
    // The other side may reset: that is what it is here for.
    socket.on('error', () => {});
    readRequests(socket, (request) => {
      const ping = alive ? OWN_PING.exec(request.body) : null;
      if (ping === null) requests.push(request);
      else if (nasty.knows) request.answer(200, `{"jsonrpc":"2.0","id":"${ping[1]}","result":{}}`);
      else request.answer(404);
    });
  });
  const port = await listen(server);
  const nasty: Nasty = {
    knows: true,
    id: `127.0.0.1:${port}`,
    port,
    origin: `http://127.0.0.1:${port}`,
    requests,
    get connections() {
      return sockets.size;
    },
    async next() {
      const at = taken;
      taken += 1;
      return until(`request ${at + 1} has come`, () => requests[at]);
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await soon('the end of a backend', new Promise((resolve) => server.close(resolve)));
    },
  };
  return nasty;
}

/** An origin where nobody listens. */
export async function refusing(): Promise<string> {
  const nasty = await startNasty();
  await nasty.close();
  return nasty.origin;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function readRequests(socket: Socket, found: (request: NastyRequest) => void): void {
  let held: Buffer = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    held = Buffer.concat([held, bytes]);
    for (;;) {
      const blank = held.indexOf('\r\n\r\n');
      if (blank === -1) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(held.subarray(0, blank).toString('latin1'))?.[1] ?? '0';
      const end = blank + 4 + Number(length);
      if (held.length < end) return;
      found(new NastyRequest(held.subarray(0, end), blank + 4, socket));
      held = held.subarray(end);
    }
  });
}
