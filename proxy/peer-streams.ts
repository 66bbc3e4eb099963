/** Attaches a session's listening streams to what may become its home, also those that other proxies hold. */
import { hash as digest } from 'node:crypto';
import type { Backend, JsonObject, Peers, PreparedStreams, Session } from './contract.ts';
import { isObject } from './jsonrpc.ts';
import type { Streams } from './streams.ts';

type Held = Pick<Streams, 'prepare' | 'discard' | 'named' | 'onBegin'>;

const PREPARE = 'prepare-streams';
const DISCARD = 'discard-streams';

/** What another proxy has prepared, and never hears of again, is left after so many milliseconds. */
const FORGET_MS = 30_000;
/** Migrations of sessions to which nobody here listens that are kept for that long at once. */
const MOST_SEATS = 10_000;

export interface PeerStreams {
  prepare(housed: Session, to: Backend): PreparedStreams;
  close(): void;
}

/** `waitMs`: how long other proxies are waited for, in milliseconds. */
export function createPeerStreams(streams: Held, peers: Peers, waitMs: number): PeerStreams {
  const helper = newHelper(streams);
  const undo = [
    peers.on(PREPARE, (message) => helper.prepare(message)),
    peers.on(DISCARD, (message) => helper.discard(message)),
    streams.onBegin((hash) => helper.begin(hash)),
  ];
  return {
    prepare(housed, to) {
      const own = streams.prepare(housed, to);
      const about = { hash: digest('sha256', housed.id), backendSessionId: housed.backendSessionId };
      const theirs = askOthers(peers, waitMs, {
        ...about,
        epoch: housed.epoch,
        home: { id: to.id, origin: to.origin },
      });
      return {
        ready: async () => worst(await Promise.all([own.ready(), theirs])),
        discard() {
          own.discard();
          peers.tell(DISCARD, about);
        },
      };
    },
    close: () => undo.forEach((one) => one()),
  };
}

type Ready = Awaited<ReturnType<PreparedStreams['ready']>>;

function worst(all: readonly Ready[]): Ready {
  if (all.includes('refused')) return 'refused';
  return all.includes('late') ? 'late' : 'attached';
}

async function askOthers(peers: Peers, ms: number, message: JsonObject): Promise<Ready> {
  const { answers, complete } = await peers.ask(PREPARE, message, { ms });
  if (answers.some(({ state }) => state === 'refused')) return 'refused';
  return complete ? 'attached' : 'late';
}

/** What another proxy has said of a migration: where the session, named by the SHA-256 of its id, may be at home soon. */
type Seat = Pick<Session, 'backendSessionId' | 'epoch' | 'home'> & { readonly hash: string };

function readSeat({ hash, backendSessionId, epoch, home }: JsonObject): Seat | undefined {
  if (typeof hash !== 'string' || typeof backendSessionId !== 'string' || typeof epoch !== 'number') return undefined;
  if (!isObject(home) || typeof home['id'] !== 'string' || typeof home['origin'] !== 'string') return undefined;
  return { hash, backendSessionId, epoch, home: { id: home['id'], origin: home['origin'] } };
}

/** Prepares what listens here, and what begins to listen while the migration may run. */
function newHelper(streams: Held) {
  const seats = new Map<string, { readonly seat: Seat; readonly until: number }>();

  function attach({ hash, ...seat }: Seat): PreparedStreams | undefined {
    const session = streams.named(hash);
    if (session === undefined || session.epoch >= seat.epoch) return undefined;
    const to = { ...seat.home, draining: false, suspect: false };
    const prepared = streams.prepare({ ...session, ...seat }, to);
    // Once it has become the home there is nothing to discard.
    setTimeout(() => prepared.discard(), FORGET_MS).unref();
    return prepared;
  }

  return {
    async prepare(message: JsonObject): Promise<JsonObject | undefined> {
      const seat = readSeat(message);
      if (seat === undefined) return undefined;
      const prepared = attach(seat);
      if (prepared !== undefined) return { state: await prepared.ready() };
      seats.delete(seat.hash);
      seats.set(seat.hash, { seat, until: Date.now() + FORGET_MS });
      for (const [hash, { until }] of seats) {
        if (until > Date.now() && seats.size <= MOST_SEATS) break;
        seats.delete(hash);
      }
      return undefined;
    },
    begin(hash: string): void {
      const kept = seats.get(hash);
      seats.delete(hash);
      if (kept !== undefined && kept.until > Date.now()) attach(kept.seat);
    },
    discard({ hash, backendSessionId }: JsonObject): undefined {
      if (typeof hash !== 'string' || typeof backendSessionId !== 'string') return undefined;
      if (seats.get(hash)?.seat.backendSessionId === backendSessionId) seats.delete(hash);
      const session = streams.named(hash);
      if (session !== undefined) streams.discard(session.id, backendSessionId);
      return undefined;
    },
  };
}
