/** Which sessions the proxies know to live, whatever the registry has of them, and in which of them calls run. */

import type { AskUse, Use } from '../backend-sessions.ts';
import type { JsonObject, Peers } from '../contract.ts';
import { hashOf } from './changes.ts';

/** What this proxy serves right now. */
export type Serving = {
  readonly has: (id: string) => boolean;
  readonly calls: (id: string) => boolean;
};

export type UseOptions = {
  /** Undefined: there is nobody else. */
  readonly peers: Peers | undefined;
  readonly serving: Serving;
  readonly idOf: (hash: string) => string | undefined;
  /** Whether this proxy knows that the session lives. */
  readonly knows: (id: string) => boolean;
  /** Sees that what this proxy knows is in the registry. Never rejects. */
  readonly secure: (id: string) => Promise<void>;
};

export type Asking = {
  readonly of: AskUse;
  readonly close: () => void;
};

const TOPIC = 'session/in-use';
/** Milliseconds until others are not waited for any longer. */
const OTHERS_TAKE = 1_000;
/** Hashes in one question: it has 64 KiB. */
const AT_ONCE = 500;

export function newAskUse({ peers, serving, idOf, knows, secure }: UseOptions): Asking {
  async function here(ids: readonly string[]): Promise<{ lives: readonly string[]; calls: readonly string[] }> {
    const lives = ids.filter((id) => knows(id) || serving.has(id));
    await Promise.all(lives.map(secure));
    return { lives, calls: ids.filter((id) => serving.calls(id)) };
  }
  const undo = peers?.on(TOPIC, async ({ hashes }: JsonObject) => {
    const known = stringsOf(hashes).flatMap((hash) => idOf(hash) ?? []);
    const { lives, calls } = await here(known);
    return { lives: lives.map(hashOf), calls: calls.map(hashOf) };
  });
  async function ask(ids: readonly string[]): Promise<Use | undefined> {
    const own = await here(ids);
    const byHash = new Map(ids.map((id) => [hashOf(id), id]));
    const asked = await peers?.ask(TOPIC, { hashes: [...byHash.keys()] }, { ms: OTHERS_TAKE });
    if (asked?.complete === false) return undefined;
    const said = (what: 'lives' | 'calls'): readonly string[] =>
      (asked?.answers ?? []).flatMap((answer) => stringsOf(answer[what]).flatMap((hash) => byHash.get(hash) ?? []));
    return { lives: new Set([...own.lives, ...said('lives')]), calls: new Set([...own.calls, ...said('calls')]) };
  }
  return {
    async of(ids) {
      const parts = Array.from({ length: Math.ceil(ids.length / AT_ONCE) }, (_, at) =>
        ids.slice(at * AT_ONCE, (at + 1) * AT_ONCE),
      );
      const uses = await Promise.all(parts.map(ask));
      const all = uses.flatMap((use) => use ?? []);
      if (all.length < uses.length) return undefined;
      return {
        lives: new Set(all.flatMap(({ lives }) => Array.from(lives))),
        calls: new Set(all.flatMap(({ calls }) => Array.from(calls))),
      };
    },
    close: () => undo?.(),
  };
}

function stringsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : [];
}
