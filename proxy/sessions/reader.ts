/** Reads sessions through what is known of them: from the registry where that must be, once for all who ask. */

import { type Session, SessionsUnavailable } from '../contract.ts';
import type { LinkedSessions } from './cached.ts';
import type { Confirming } from './confirming.ts';
import type { Entries, Flight } from './entries.ts';
import type { LostSessions } from './lost.ts';

export function newReader(
  store: LinkedSessions,
  entries: Entries,
  lost: LostSessions,
  { checkMemory }: Confirming,
  tell: (id: string) => void,
) {
  const reads = new Map<string, { readonly flight: Flight; readonly session: Promise<Session | undefined> }>();

  /** A registry that has lost something is told before it is believed. */
  async function believed(flight: Flight, found: Session | undefined): Promise<Session | undefined> {
    if (found && lost.hasEnded(found)) return void (await store.end(flight.id));
    if (!found && entries.isUnsure(flight.id)) await checkMemory();
    const missed = entries.missed(flight, found);
    if (!missed) return found;
    if (missed.superseded) await lost.putBack(flight.id);
    return store.restore(missed.known);
  }
  async function land(flight: Flight): Promise<Session | undefined> {
    try {
      const session = await believed(flight, await store.find(flight.id));
      if (entries.landRead(flight, session)) tell(flight.id);
      return session && entries.shared(session);
    } catch (error) {
      entries.landFailed(flight, 'read');
      throw error;
    } finally {
      if (reads.get(flight.id)?.flight === flight) reads.delete(flight.id);
    }
  }
  function read(id: string): Promise<Session | undefined> {
    const flight = entries.depart(id);
    const session = land(flight);
    reads.set(id, { flight, session });
    return session;
  }
  /** One read serves all who ask while it is on its way, unless they ask after a change. */
  function shared(id: string): Promise<Session | undefined> {
    const running = reads.get(id);
    return running && !running.flight.overtaken ? running.session : read(id);
  }
  async function use(id: string): Promise<Session | undefined> {
    const state = entries.state(id);
    if (state === 'good, to be renewed') read(id).catch(() => {});
    if (state !== 'unusable') return entries.known(id);
    try {
      return await shared(id);
    } catch (error) {
      const known = entries.known(id);
      if (!known || !(error instanceof SessionsUnavailable)) throw error;
      return known;
    }
  }
  return { read, use };
}
