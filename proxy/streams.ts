/** The client's listening streams: each stays with its session's home, wherever that is. */
import { hash as digest } from 'node:crypto';
import type { ClientStream } from './client-stream.ts';
import { HAND_OVER, SessionsUnavailable } from './contract.ts';
import type { Backend, JsonRpcId, JsonRpcRequest, PreparedStreams, Session, Sessions, Sink } from './contract.ts';
import { isRequest, withdrawnBy } from './jsonrpc.ts';
import { newListeners } from './listeners.ts';
import { newPreparations } from './prepared-streams.ts';

export interface Streams {
  /** Returns an idempotent undo. */
  add(stream: ClientStream): () => void;
  /** One of each session that listens. */
  listening(): readonly ClientStream[];
  /** The session's home has begun a stream of it, and that has not ended. */
  reaches(session: Session): boolean;
  /** How many streams of the session there are. */
  count(id: string): number;
  /** How many streams there are, by the id of the home that each is attached to. */
  byBackend(): ReadonlyMap<string, number>;
  /** Resolves when a stream may be attached again, with what to call when it is: all at once would drown a home. */
  reattach(): Promise<() => void>;
  /** Attaches the session's streams to what may become its home. */
  prepare(housed: Session, to: Backend): PreparedStreams;
  /** It does not become the home. */
  discard(id: string, backendSessionId: string): void;
  /** Calls `f` with the SHA-256 of its session's id when a stream begins. Returns an idempotent undo. */
  onBegin(f: (hash: string) => void): () => void;
  /** A session to which somebody here listens, by the SHA-256 of its id. */
  named(hash: string): Session | undefined;
  /** The session has this home now, or has ended. */
  moved(id: string, now: Session | undefined): void;
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

export function createStreams(sessions: Sessions): Streams {
  const streams = new Map<string, Set<ClientStream>>();
  const hashes = new Map<string, string>();
  const of = (id: string): readonly ClientStream[] => [...(streams.get(id) ?? [])];

  const preparations = newPreparations(of);
  const begins = newListeners<string>();

  function moved(id: string, now: Session | undefined): void {
    for (const stream of of(id)) stream.moved(now);
    preparations.moved(id, now);
  }
  async function changed(id: string): Promise<void> {
    if (!streams.has(id)) return;
    const now = await lookUp(sessions, id);
    if (now !== 'unknown') moved(id, now);
  }
  const forget = sessions.onChange((id) => void changed(id));
  const renewing = setInterval(() => {
    for (const id of streams.keys()) void changed(id);
  }, RENEW_MS).unref();

  return {
    add(stream) {
      const { id } = stream.session;
      const hash = digest('sha256', id);
      const there = streams.get(id) ?? new Set();
      streams.set(id, there.add(stream));
      hashes.set(hash, id);
      preparations.joined(stream);
      begins.tell(hash);
      // It may have changed since the caller looked.
      void changed(id);
      return () => {
        there.delete(stream);
        if (there.size > 0 || streams.get(id) !== there) return;
        streams.delete(id);
        hashes.delete(hash);
      };
    },
    listening: () => [...streams.values()].flatMap((there) => [...there].slice(0, 1)),
    reaches: (session) => of(session.id).some((stream) => stream.reaches(session)),
    count: (id) => streams.get(id)?.size ?? 0,
    byBackend: () => countByHome(streams.values()),
    reattach: newTurns(),
    prepare: (housed, to) => preparations.prepare(housed, to),
    discard: (id, backendSessionId) => preparations.discard(id, backendSessionId),
    onBegin: begins.add,
    named: (hash) => of(hashes.get(hash) ?? '')[0]?.session,
    moved,
    changed,
    close() {
      forget();
      clearInterval(renewing);
    },
  };
}

async function lookUp(sessions: Sessions, id: string): Promise<Session | undefined | 'unknown'> {
  try {
    return await sessions.find(id);
  } catch (error) {
    if (error instanceof SessionsUnavailable) return 'unknown';
    throw error;
  }
}

/** So many at once, the others in the order in which they came. */
function newTurns(): Streams['reattach'] {
  const waiting: (() => void)[] = [];
  let attaching = 0;
  return async () => {
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
  };
}

function countByHome(all: Iterable<ReadonlySet<ClientStream>>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const streams of all) {
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
  asked(request: JsonRpcRequest): void;
  /** The server waits for the answer no longer. */
  withdrew(question: JsonRpcId): void;
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
      for (const message of event.messages) {
        const withdrawn = withdrawnBy(message);
        if (withdrawn !== undefined) heard.withdrew(withdrawn);
        if (isRequest(message)) heard.asked(message);
      }
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
