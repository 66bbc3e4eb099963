/** Attaches the listening streams of a session to what may become its home, those included that begin meanwhile. */
import type { ClientStream } from './client-stream.ts';
import type { Backend, PreparedStreams, Session } from './contract.ts';
import { standingOf } from './owner.ts';

type State = 'attached' | 'refused';
type Preparation = { readonly housed: Session; readonly to: Backend; readonly begun: Promise<State>[] };

export interface Preparations {
  /** For one backend session at a time; streams that are attached there already stay so. */
  prepare(housed: Session, to: Backend): PreparedStreams;
  /** The stream is one of its session's from now on. */
  joined(stream: ClientStream): void;
  /** It does not become the home. */
  discard(id: string, backendSessionId: string): void;
  /** The session has this home now, or has ended. */
  moved(id: string, now: Session | undefined): void;
}

/** A home that has no such stream: the client's ends there as it would directly. */
const NO_STREAM = new Set([404, 405]);

/** `streamsOf`: those that the session has now. */
export function newPreparations(streamsOf: (id: string) => readonly ClientStream[]): Preparations {
  /** By session id, then by backend session id. */
  const running = new Map<string, Map<string, Preparation>>();

  function end(id: string, backendSessionId: string): void {
    const there = running.get(id);
    if (there?.delete(backendSessionId) === true && there.size === 0) running.delete(id);
  }
  function discard(id: string, backendSessionId: string): void {
    end(id, backendSessionId);
    for (const stream of streamsOf(id)) stream.discard(backendSessionId);
  }

  return {
    prepare(housed, to) {
      const { id, backendSessionId } = housed;
      // One that was opened before the session had another owner stays behind.
      const own = streamsOf(id).filter(({ exchange }) => standingOf(housed, exchange) !== 'stranger');
      const preparation = { housed, to, begun: own.map((stream) => begin(stream, housed, to)) };
      const there = running.get(id) ?? new Map<string, Preparation>();
      running.set(id, there.set(backendSessionId, preparation));
      return { ready: () => ready(preparation), discard: () => discard(id, backendSessionId) };
    },
    joined(stream) {
      for (const { housed, to, begun } of running.get(stream.session.id)?.values() ?? []) {
        begun.push(begin(stream, housed, to));
      }
    },
    discard,
    moved(id, now) {
      for (const { housed } of running.get(id)?.values() ?? []) {
        if (now === undefined || housed.epoch <= now.epoch) end(id, housed.backendSessionId);
      }
    },
  };
}

async function begin(stream: ClientStream, housed: Session, to: Backend): Promise<State> {
  const status = await stream.prepare(housed, to);
  if (status >= 200 && status < 300) return 'attached';
  stream.discard(housed.backendSessionId);
  return NO_STREAM.has(status) ? 'attached' : 'refused';
}

/** Of the streams that have begun when it is asked, and of those that begin while it waits. */
async function ready({ begun }: Preparation): Promise<State> {
  for (;;) {
    const known = begun.length;
    const states = await Promise.all(begun);
    if (begun.length === known) return states.includes('refused') ? 'refused' : 'attached';
  }
}
