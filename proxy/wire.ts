/** What is read of a backend: without interim answers (1xx), which nobody here has asked for, and not while it is held. */

type Done = (error?: Error | null) => void;

/** What is used of a socket. */
export interface Wire {
  push(bytes: unknown, encoding?: BufferEncoding): boolean;
  write(bytes: string | Uint8Array, done?: Done): boolean;
  write(bytes: string | Uint8Array, encoding?: BufferEncoding, done?: Done): boolean;
  destroy(error: Error): unknown;
}

/** Holds back what comes next, its end included, so that the other side waits. What has come before is not held. */
export type Valve = { hold(): void; release(): void };

/** A backend that sends more of them before its answer sends nothing else. */
const MOST = 100;
const MOST_BYTES = 64 * 1024;

/**
 * Takes the interim answers out of what is read from now on, where each request is written after the answer before has
 * ended: undici breaks a connection off at a 100, and has no bound for the others (RFC 9110, section 15.2). Where there
 * are too many, the connection is destroyed. `onWrite` is told of each write, before anything is sent.
 *
 * The valve is for an answer that is read slowly: undici's own pause ends the process when the connection ends meanwhile.
 */
export function tameWire(wire: Wire, onWrite: () => void): Valve {
  const interim = newInterimFilter();
  const push = wire.push.bind(wire);
  const write = wire.write.bind(wire);
  let held: (readonly [bytes: unknown, encoding: BufferEncoding | undefined])[] | undefined;

  function read(bytes: unknown, encoding?: BufferEncoding): boolean {
    if (!Buffer.isBuffer(bytes)) {
      // The end: what was held is no interim answer.
      const rest = interim.end();
      if (rest.length > 0) push(rest);
      return push(bytes, encoding);
    }
    const left = interim.pass(bytes);
    if (left === 'too much') {
      wire.destroy(new Error('the backend sends interim answers without end'));
      return false;
    }
    return left.length === 0 || push(left);
  }

  wire.write = (bytes: string | Uint8Array, how?: BufferEncoding | Done, done?: Done): boolean => {
    onWrite();
    interim.begin();
    return typeof how === 'string' ? write(bytes, how, done) : write(bytes, how ?? done);
  };
  wire.push = (bytes, encoding) => {
    if (held === undefined) return read(bytes, encoding);
    held.push([bytes, encoding]);
    return false;
  };
  return {
    hold() {
      held ??= [];
    },
    release() {
      const all = held ?? [];
      held = undefined;
      for (const [bytes, encoding] of all) read(bytes, encoding);
    },
  };
}

const NOTHING = Buffer.alloc(0);
const END = '\r\n\r\n';
/** As long as `HTTP/1.1 100`. */
const STATUS_LENGTH = 12;

/** Reads what comes before a final answer alone, and lets all that follows pass as it comes. */
export function newInterimFilter() {
  let reading = false;
  let held: Buffer = NOTHING;
  let count = 0;
  let bytes = 0;
  /** Up to here there is no end of the interim answer that is held. */
  let searched = 0;

  function release(): Buffer {
    const all = held;
    reading = false;
    held = NOTHING;
    return all;
  }

  return {
    /** A request is sent: what comes next begins its answer. */
    begin(): void {
      if (reading) return;
      reading = true;
      count = bytes = searched = 0;
    },
    /** What is left of the next bytes. */
    pass(next: Buffer): Buffer | 'too much' {
      if (!reading) return next;
      held = held.length === 0 ? next : Buffer.concat([held, next]);
      for (;;) {
        const kind = kindOf(held);
        if (kind === 'final') return release();
        if (kind === 'unknown') return NOTHING;
        const end = held.indexOf(END, searched);
        if (end === -1) {
          searched = Math.max(0, held.length - END.length + 1);
          return bytes + held.length > MOST_BYTES ? 'too much' : NOTHING;
        }
        count += 1;
        bytes += end + END.length;
        if (count > MOST || bytes > MOST_BYTES) return 'too much';
        held = held.subarray(end + END.length);
        searched = 0;
      }
    },
    end: release,
  };
}

/** Of the answer that begins here; a 101 is final, for it ends HTTP on the connection. */
function kindOf(held: Buffer): 'interim' | 'final' | 'unknown' {
  const start = held.subarray(0, STATUS_LENGTH).toString('latin1');
  if (start.length === STATUS_LENGTH) return /^HTTP\/1\.\d 1(?!01)\d\d$/.test(start) ? 'interim' : 'final';
  return 'HTTP/1.1 1'.startsWith(start.slice(0, 10).replace('HTTP/1.0', 'HTTP/1.1')) ? 'unknown' : 'final';
}
