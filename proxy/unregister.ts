/** Takes out of the registry what nobody will ever use, even where the registry is away for a while. */
import type { Session, Sessions } from './contract.ts';

/**
 * Resolves after the first try; later ones go on without the caller. `over` is told what the session was at its end,
 * where it was there. Never rejects.
 */
export type Unregister = (id: string, over?: (ended: Session) => void) => Promise<void>;

/** How often, and so many milliseconds apart; after that its idle life ends it. */
const TIMES = 120;
const EVERY_MS = 500;
/** Ids that are tried again at once. */
const MOST = 1_000;

export function createUnregister(sessions: Pick<Sessions, 'end'>): Unregister {
  const waiting = new Set<string>();

  async function isDone(id: string, over?: (ended: Session) => void): Promise<boolean> {
    try {
      const ended = await sessions.end(id);
      if (ended !== undefined) over?.(ended);
      return true;
    } catch {
      return false;
    }
  }

  async function insist(id: string, over?: (ended: Session) => void): Promise<void> {
    for (let at = 0; at < TIMES; at += 1) {
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS).unref());
      if (await isDone(id, over)) break;
    }
    waiting.delete(id);
  }

  return async (id, over) => {
    if ((await isDone(id, over)) || waiting.has(id) || waiting.size >= MOST) return;
    waiting.add(id);
    void insist(id, over);
  };
}
