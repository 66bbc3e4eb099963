/** Attaches a session's listening streams to what may become its home, also those that other proxies hold. */
import { hash as digest } from 'node:crypto';
import type { Backend, JsonObject, Peers, PreparedStreams, Session } from './contract.ts';
import { isObject } from './jsonrpc.ts';
import type { Streams } from './streams.ts';

type Held = Pick<Streams, 'prepare' | 'discard' | 'named'>;

const PREPARE = 'prepare-streams';
const DISCARD = 'discard-streams';

/** What another proxy has prepared, and never hears of again, is left after so many milliseconds. */
const FORGET_MS = 30_000;

export interface PeerStreams {
  prepare(housed: Session, to: Backend): PreparedStreams;
  close(): void;
}

/** `waitMs`: how long other proxies are waited for, in milliseconds. */
export function createPeerStreams(streams: Held, peers: Peers, waitMs: number): PeerStreams {
  const undo = [
    peers.on(PREPARE, (message) => prepareFor(streams, message)),
    peers.on(DISCARD, (message) => discardFor(streams, message)),
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

async function prepareFor(streams: Held, message: JsonObject): Promise<JsonObject | undefined> {
  const { hash, backendSessionId, epoch, home } = message;
  const session = typeof hash === 'string' ? streams.named(hash) : undefined;
  if (session === undefined || typeof backendSessionId !== 'string' || typeof epoch !== 'number') return undefined;
  if (!isObject(home) || typeof home['id'] !== 'string' || typeof home['origin'] !== 'string') return undefined;
  const to = { id: home['id'], origin: home['origin'] };
  const housed = { ...session, backendSessionId, epoch, home: to };
  const prepared = streams.prepare(housed, { ...to, draining: false, suspect: false });
  // Once it has become the home there is nothing to discard.
  setTimeout(() => prepared.discard(), FORGET_MS).unref();
  return { state: await prepared.ready() };
}

function discardFor(streams: Held, { hash, backendSessionId }: JsonObject): undefined {
  const session = typeof hash === 'string' ? streams.named(hash) : undefined;
  if (session !== undefined && typeof backendSessionId === 'string') streams.discard(session.id, backendSessionId);
  return undefined;
}
