/** One I/O call that fails: relays of TCP that count what passes, and break the connection at the one that is to fail. */

import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net';

/** How a call fails: it never arrives, arrives in part, or is carried out and its answer is lost, or lost in part. */
export type How = 'before' | 'half' | 'unanswered' | 'in the head' | 'after the head';

/** The Nth call over all relays that share this fault; 0 lets every call pass. */
export class Fault {
  readonly at: number;
  readonly how: How;
  /** The calls in the order they came, in few words. */
  readonly calls: string[] = [];
  /** The call that failed. */
  hit: string | undefined;

  constructor(at = 0, how: How = 'before') {
    this.at = at;
    this.how = how;
  }

  /** Whether this call is the one. */
  next(call: string): boolean {
    this.calls.push(call);
    if (this.calls.length !== this.at) return false;
    this.hit = call;
    return true;
  }
}

export type Relay = {
  readonly port: number;
  close(): Promise<void>;
};

/** A backend behind a relay. */
export type RelayedBackend = Relay & {
  readonly origin: string;
  /** `host:port`: the id that the proxy knows it by. */
  readonly id: string;
  /** The sessions that the backend has issued. */
  readonly issued: ReadonlySet<string>;
  /** Those that nobody can ask it to forget: the fault hit the answer that issued them. */
  readonly excused: ReadonlySet<string>;
};

/** Counts the whole HTTP requests to one backend. */
export async function relayBackend(port: number, fault: Fault): Promise<RelayedBackend> {
  const issued = new Set<string>();
  const excused = new Set<string>();
  const relay = await startRelay(port, (near, far) => {
    let broken: string | undefined;
    onWhole(near, requestEnd, (request) => {
      const text = request.toString('latin1');
      const line = inFewWords(text);
      if (!fault.next(line)) return void far.write(request);
      broken = line;
      if (fault.how === 'before') return reset(near, far);
      if (fault.how === 'half') return far.write(request.subarray(0, request.length / 2), () => reset(near, far));
      return void far.write(request);
    });
    far.on('data', (bytes) => {
      const id = sessionIn(bytes.toString('latin1'));
      if (id !== undefined && !issued.has(id) && broken !== undefined) excused.add(id);
      if (id !== undefined) issued.add(id);
      if (broken === undefined) return void near.write(bytes);
      return near.write(bytes.subarray(0, shown(bytes, fault.how)), () => reset(near, far));
    });
  });
  return { ...relay, origin: `http://127.0.0.1:${relay.port}`, id: `127.0.0.1:${relay.port}`, issued, excused };
}

/** What belongs to a story; a proxy says much more, again and again: it looks for marks, counts, probes, and lives. */
const TELLING = /^(?:eval|evalsha|zadd|zrem) (?!peers)/;

/** Counts the commands to Redis that belong to a story. Of an answer, all or nothing is lost. */
export function relayRedis(port: number, fault: Fault): Promise<Relay> {
  return startRelay(port, (near, far) => {
    let broken = false;
    onWhole(near, commandEnd, (command) => {
      const words = commandIn(command);
      if (!TELLING.test(words) || !fault.next(words)) return void far.write(command);
      if (fault.how === 'before') return reset(near, far);
      broken = true;
      return void far.write(command);
    });
    far.on('data', (bytes) => (broken ? reset(near, far) : void near.write(bytes)));
  });
}

async function startRelay(port: number, join: (near: Socket, far: Socket) => void): Promise<Relay> {
  const open = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', noDelay: true });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on('error', () => other.destroy());
      one.once('end', () => other.end());
      one.once('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
    join(near, far);
  });
  return {
    port: await listen(server),
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on a port
      resolve((server.address() as AddressInfo).port);
    });
  });
}

function reset(near: Socket, far: Socket): void {
  near.resetAndDestroy();
  far.destroy();
}

/** Calls `found` with each whole call; `endOf` says where the first one ends, once it is there. */
function onWhole(socket: Socket, endOf: (held: Buffer) => number | undefined, found: (call: Buffer) => void): void {
  let held: Buffer = Buffer.alloc(0);
  socket.on('data', (bytes) => {
    held = Buffer.concat([held, bytes]);
    for (let end = endOf(held); end !== undefined; end = endOf(held)) {
      const call = held.subarray(0, end);
      held = held.subarray(end);
      found(call);
    }
  });
}

function requestEnd(held: Buffer): number | undefined {
  const blank = held.indexOf('\r\n\r\n');
  if (blank === -1) return undefined;
  const length = /\r\ncontent-length: *(\d+)/i.exec(held.subarray(0, blank).toString('latin1'))?.[1] ?? '0';
  const end = blank + 4 + Number(length);
  return held.length < end ? undefined : end;
}

/** An array of bulk strings (RESP). */
function commandEnd(held: Buffer): number | undefined {
  return readCommand(held)?.end;
}

function commandIn(command: Buffer): string {
  const words = readCommand(command)?.words ?? [];
  const key = words.find((word) => word.startsWith('mcp-affinity:'));
  return `${words[0]?.toLowerCase()} ${key?.split(':')[1]}`;
}

function readCommand(held: Buffer): { readonly end: number; readonly words: readonly string[] } | undefined {
  const lineAt = (at: number) => {
    const end = held.indexOf('\r\n', at);
    return end === -1 ? undefined : { number: Number(held.subarray(at + 1, end).toString('latin1')), next: end + 2 };
  };
  const words: string[] = [];
  let at = lineAt(0);
  if (at === undefined) return undefined;
  const count = at.number;
  for (let word = 0; word < count; word += 1) {
    const length = lineAt(at.next);
    if (length === undefined || held.length < length.next + length.number + 2) return undefined;
    words.push(held.subarray(length.next, length.next + length.number).toString('latin1'));
    at = { number: 0, next: length.next + length.number + 2 };
  }
  return { end: at.next, words };
}

function inFewWords(request: string): string {
  const [verb = ''] = request.split(' ', 1);
  const method = /"method":"([^"]+)"/.exec(request)?.[1];
  return method === undefined ? verb : `${verb} ${method}`;
}

function sessionIn(text: string): string | undefined {
  return /\r\nmcp-session-id: *(\S+)/i.exec(text)?.[1];
}

/** How many bytes of an answer's beginning still pass. */
function shown(bytes: Buffer, how: How): number {
  const blank = bytes.indexOf('\r\n\r\n');
  if (how === 'in the head') return blank / 2;
  return how === 'after the head' ? blank + 4 : 0;
}
