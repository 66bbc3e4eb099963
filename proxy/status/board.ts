/** What the status page shows, folded from what happens in the proxy: bounded in memory, next to nothing per event. Pure. */

import { createHash } from 'node:crypto';
import type { RoutingEvent } from '../events.ts';
import { type Kinds, newDependencies } from './dependencies.ts';
import { newRecent } from './recent.ts';
import { newSeries } from './series.ts';
import type { MigrationStatus, Notice, Status } from './snapshot.ts';
import { type Look, type Stand, newStanding } from './standing.ts';
import { HISTORY, type Traffic, newTraffic } from './traffic.ts';

const MIGRATIONS_KEPT = 50;
const NOTICES_KEPT = 30;

/** `now`: milliseconds since 1970. */
export type BoardOptions = Kinds & { readonly version: string; readonly now: () => number };

/** What the board is shown of the house at a look. */
export type Shown = Omit<Look, 'at'>;

export interface Board {
  record(event: RoutingEvent): void;
  /** The house as it is now: called when the list of backends changes, and before each `status`. */
  look(shown: Shown): void;
  /** The same, for the history: at least once in each of its steps. */
  sample(shown: Shown): void;
  /** As of the last look. `streams`: by backend id. */
  status(ready: boolean, streams: ReadonlyMap<string, number>): Status;
}

export function newBoard({ now, version, ...kinds }: BoardOptions): Board {
  const startedAt = now();
  const traffic = newTraffic(startedAt);
  const standing = newStanding(kinds.discovery === 'static');
  const dependencies = newDependencies(startedAt, kinds);
  const migrations = newMigrations(startedAt);
  const notices = newRecent<Notice>(NOTICES_KEPT);
  const held = newSeries({ ...HISTORY, silent: undefined });
  let streams = 0;
  const sessions = (): number => standing.list().reduce((sum, one) => sum + one.sessions, 0);

  function look({ backends, counts }: Shown): number {
    const at = now();
    for (const text of standing.look({ backends, counts, at })) notices.add({ at, text });
    return at;
  }
  function depends(event: Parameters<typeof dependencies.record>[0]): void {
    const at = now();
    const text = dependencies.record(event, at);
    if (text !== undefined) notices.add({ at, text });
  }

  return {
    record(event) {
      if (event.type === 'exchange') traffic.count(event, now());
      else if (event.type === 'migration') migrations.add(event, now());
      else if (event.type === 'registry' || event.type === 'discovery' || event.type === 'checks') depends(event);
      else if (event.type === 'stream' && event.change !== 'reattached') streams += event.change === 'opened' ? 1 : -1;
      else if (event.type === 'drain') standing.drains(event.backend, event.by);
      else if (event.type === 'backend') standing.checked(event.backend, event.state);
    },
    look: (shown) => void look(shown),
    sample(shown) {
      const at = look(shown);
      held.set(at, sessions());
      traffic.know(new Set(standing.list().map(({ id }) => id)), at);
    },
    status(ready, byBackend) {
      const at = now();
      const all = traffic.all(at);
      return {
        at,
        startedAt,
        version,
        ready,
        sessions: sessions(),
        streams,
        ...all.now,
        ...dependencies.all(),
        backends: standing.list().map((stand) => backendOf(stand, byBackend, traffic, at)),
        migrations: migrations.list(),
        notices: notices.list(),
        history: {
          stepSeconds: HISTORY.stepMs / 1000,
          ...all.history,
          sessions: orNull(held.read(at)),
          migrations: orNull(migrations.history(at)),
        },
      };
    },
  };
}

function backendOf(
  stand: Stand,
  streams: ReadonlyMap<string, number>,
  traffic: Traffic,
  at: number,
): Status['backends'][number] {
  return { ...stand, streams: streams.get(stand.id) ?? 0, ...traffic.of(stand.id, at) };
}

const orNull = (values: readonly (number | undefined)[]): readonly (number | null)[] =>
  values.map((value) => value ?? null);

type Migration = Extract<RoutingEvent, { type: 'migration' }>;

/** The last ones, and how many succeeded in each step of the history. */
function newMigrations(startedAt: number) {
  const last = newRecent<MigrationStatus>(MIGRATIONS_KEPT);
  const migrated = newSeries(HISTORY);
  migrated.add(startedAt, 0);
  return {
    add({ session, from, to, reason, outcome, seconds, cause }: Migration, at: number): void {
      if (outcome === 'migrated') migrated.add(at, 1);
      const short = createHash('sha256').update(session).digest('hex').slice(0, 8);
      const ms = Math.round(seconds * 1000);
      last.add({ at, session: short, from, to, reason, outcome, ms, ...(cause !== undefined && { cause }) });
    },
    list: () => last.list(),
    history: (at: number) => migrated.read(at),
  };
}
