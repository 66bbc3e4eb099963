/** The client's listening streams: each stays with its session's home, wherever that is. */
import { HAND_OVER, SessionsUnavailable } from './contract.ts';
import type { Exchange, JsonRpcId, Session, Sessions, Sink } from './contract.ts';
import { isRequest } from './jsonrpc.ts';

export interface Streams {
  /** Calls `leave` when the session has another home, or none. Returns an idempotent undo. */
  attach(session: Session, exchange: Exchange, leave: () => void): () => void;
  /** The sessions that listen, each once, with the exchange by which they do. */
  listening(): readonly { readonly session: Session; readonly exchange: Exchange }[];
  /** How many streams there are, by the id of the home that each is attached to. */
  byBackend(): ReadonlyMap<string, number>;
  /** Resolves when a stream may be attached again, with what to call when it is: all at once would drown a home. */
  reattach(): Promise<() => void>;
  /** The session may have changed: looks, and tells its streams. */
  changed(id: string): Promise<void>;
  close(): void;
}

/** An open stream keeps its session from idling out, and known: looked up this often, in milliseconds. */
const RENEW_MS = 30_000;

/** Streams that are being attached again at once. */
const AT_ONCE = 32;
/** Milliseconds: a home that takes longer must not keep the streams of others waiting. */
const ATTACHING_MS = 2_000;

type Listening = { readonly session: Session; readonly exchange: Exchange; readonly leave: () => void };

export function createStreams(sessions: Sessions): Streams {
  const attached = new Map<string, Set<Listening>>();
  const waiting: (() => void)[] = [];
  let attaching = 0;

  async function changed(id: string): Promise<void> {
    if (!attached.has(id)) return;
    const now = await lookUp(id);
    if (now === 'unknown') return;
    for (const { session, leave } of attached.get(id) ?? []) {
      if (now?.epoch !== session.epoch || now.home.id !== session.home.id) leave();
    }
  }

  async function lookUp(id: string): Promise<Session | undefined | 'unknown'> {
    try {
      return await sessions.find(id);
    } catch (error) {
      if (error instanceof SessionsUnavailable) return 'unknown';
      throw error;
    }
  }

  const forget = sessions.onChange((id) => void changed(id));
  const renewing = setInterval(() => {
    for (const id of attached.keys()) void changed(id);
  }, RENEW_MS).unref();

  return {
    attach(session, exchange, leave) {
      const stream = { session, exchange, leave };
      const streams = attached.get(session.id) ?? new Set();
      attached.set(session.id, streams.add(stream));
      // It may have changed since the caller looked.
      void changed(session.id);
      return () => {
        streams.delete(stream);
        if (streams.size === 0 && attached.get(session.id) === streams) attached.delete(session.id);
      };
    },
    listening: () => [...attached.values()].flatMap((streams) => [...streams].slice(0, 1)),
    byBackend: () => countByHome(attached.values()),
    async reattach() {
      if (attaching >= AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
      attaching += 1;
      let over = false;
      const done = (): void => {
        if (over) return;
        over = true;
        clearTimeout(late);
        attaching -= 1;
        waiting.shift()?.();
      };
      const late = setTimeout(done, ATTACHING_MS).unref();
      return done;
    },
    changed,
    close() {
      forget();
      clearInterval(renewing);
    },
  };
}

function countByHome(attached: Iterable<ReadonlySet<Listening>>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const streams of attached) {
    for (const { session } of streams) counts.set(session.home.id, (counts.get(session.home.id) ?? 0) + 1);
  }
  return counts;
}

const MARK = `: ${HAND_OVER}`;

/** Where a stream had got to: the home's own cursor, good for that home alone. */
export type Cursor = { readonly epoch: number; readonly id: string };

export type Heard = {
  /** The home has begun its stream, and the client sees it. */
  attached(): void;
  mark(id: string): void;
  /** The server asks the client something. */
  asked(id: JsonRpcId): void;
  /** The home hands the session over: its stream ends now. */
  handedOver(): void;
};

/** The same sink, but the corridor decides when it ends, and learns where the stream has got to. */
export function heldOpen(sink: Sink, heard: Heard): Sink {
  return {
    head(status, headers) {
      sink.head(status, headers);
      if (status < 300) heard.attached();
    },
    event(event) {
      if (event.id !== undefined) heard.mark(event.id);
      for (const message of event.messages) if (isRequest(message)) heard.asked(message.id);
      // Between the home and us; nobody else need hear of it.
      if (event.raw.length <= MARK.length + 4 && event.raw.includes(MARK)) {
        heard.handedOver();
        return true;
      }
      return sink.event(event);
    },
    chunk: (bytes) => sink.chunk(bytes),
    drained: () => sink.drained(),
    end() {},
    cut: () => sink.cut(),
    get shown() {
      return sink.shown;
    },
  };
}
