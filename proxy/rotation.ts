/** A home that answers under another session id than it was asked with: it knows the session by that one from now on. */
import { SessionsUnavailable } from './contract.ts';
import type { Session, Sessions } from './contract.ts';

/** `asked`: the session as its home was asked. Resolves when the registry has the new id, or will not have it. */
export type Rotate = (asked: Session, issued: string) => Promise<void>;

/** The client goes on under the id that it holds. `token` is random, never the same twice. */
export function createRotate(sessions: Sessions, token: () => string): Rotate {
  async function rotate(asked: Session, issued: string): Promise<void> {
    const current = await sessions.find(asked.id);
    if (current?.epoch !== asked.epoch || current.backendSessionId !== asked.backendSessionId) return;
    const to = { ...current, backendSessionId: issued, revision: token(), changes: current.changes + 1 };
    const now = await sessions.replace(current, to);
    // Another exchange has written to its journal meanwhile.
    if (now !== undefined && now.revision !== to.revision) await rotate(asked, issued);
  }
  return async (asked, issued) => {
    try {
      await rotate(asked, issued);
    } catch (error) {
      // The home is doubted at the next exchange then, and what it says decides.
      if (!(error instanceof SessionsUnavailable)) throw error;
    }
  };
}
