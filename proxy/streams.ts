/** The client's listening streams: each stays with its session's home, wherever that is. */
import { SessionsUnavailable } from './contract.ts';
import type { Session, Sessions, Sink } from './contract.ts';

export interface Streams {
  /** Calls `leave` when the session has another home, or none. Returns an idempotent undo. */
  attach(session: Session, leave: () => void): () => void;
  /** The session may have changed: looks, and tells its streams. */
  changed(id: string): Promise<void>;
  close(): void;
}

/** An open stream keeps its session from idling out, and known: looked up this often, in milliseconds. */
const RENEW_MS = 30_000;

export function createStreams(sessions: Sessions): Streams {
  const attached = new Map<string, Set<{ readonly session: Session; readonly leave: () => void }>>();

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
    attach(session, leave) {
      const stream = { session, leave };
      const streams = attached.get(session.id) ?? new Set();
      attached.set(session.id, streams.add(stream));
      // It may have changed since the caller looked.
      void changed(session.id);
      return () => {
        streams.delete(stream);
        if (streams.size === 0 && attached.get(session.id) === streams) attached.delete(session.id);
      };
    },
    changed,
    close() {
      forget();
      clearInterval(renewing);
    },
  };
}

/** Where a stream had got to: the home's own cursor, good for that home alone. */
export type Cursor = { readonly epoch: number; readonly id: string };

/** The same sink, but the corridor decides when it ends, and learns where the stream has got to. */
export function heldOpen(sink: Sink, heard: { attached(): void; mark(id: string): void }): Sink {
  return {
    head(status, headers) {
      if (status < 300) heard.attached();
      sink.head(status, headers);
    },
    event(event) {
      if (event.id !== undefined) heard.mark(event.id);
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
