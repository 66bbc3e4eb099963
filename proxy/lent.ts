/** Parts of somebody's own, held at arm's length: whatever they throw or leave out ends no process, and nothing is lost. */
import { asError } from './as-error.ts';
import { BoundedSet } from './bounded.ts';
import { SessionsUnavailable } from './contract.ts';
import type { Backend, Backends, Sessions } from './contract.ts';
import type { Telemetry } from './events.ts';
import { newListeners } from './listeners.ts';
import type { LogDestination } from './telemetry/log.ts';

/** Faults of backends that are said once. */
const MOST_SAID = 1_000;

/** What each part must be able to do. */
const ABILITIES = {
  sessions: ['find', 'create', 'replace', 'end', 'onChange', 'countByBackend'],
  backends: ['list', 'suspect', 'onChange'],
  logger: ['write'],
  registry: ['registerMetric', 'removeSingleMetric', 'getSingleMetric', 'metrics'],
} as const;

/** A sentence for each part that cannot do what it must; what is undefined was not lent. */
export function partFaults(parts: Readonly<Record<keyof typeof ABILITIES, unknown>>): readonly string[] {
  return Object.entries(ABILITIES).flatMap(([name, abilities]) => {
    const part = Object.entries(parts).find(([one]) => one === name)?.[1];
    const lacking = part === undefined ? [] : abilities.filter((ability) => !can(part, ability));
    return lacking.length === 0 ? [] : [`${name}: expected an object that has ${lacking.join(', ')}`];
  });
}

function can(part: unknown, ability: string): boolean {
  if (part === null || (typeof part !== 'object' && typeof part !== 'function')) return false;
  return typeof Reflect.get(part, ability) === 'function';
}

type Recorder = Telemetry['record'];

/** Closing it closes nothing. A backend at no origin is left out, and said once; of changes it is asked to tell one alone. */
export function lentBackends(own: Backends, record: Recorder): Backends {
  const said = new BoundedSet(MOST_SAID);
  let last: readonly Backend[] = [];
  function attempt<T>(call: () => T, otherwise: T): T {
    try {
      return call();
    } catch (error) {
      record({ type: 'fault', error: asError(error) });
      return otherwise;
    }
  }
  function sound(backend: Backend): readonly Backend[] {
    const origin = originOf(backend.origin);
    if (origin !== undefined && typeof backend.id === 'string' && backend.id !== '') return [copyOf(backend, origin)];
    const got = JSON.stringify({ id: backend.id, origin: backend.origin });
    const message = `backends: expected an id, and an origin as in http://10.0.0.7:3000, got ${got}`;
    if (!said.has(message)) record({ type: 'fault', error: new Error(message) });
    said.add(message);
    return [];
  }
  const listeners = newListeners<void>();
  const undo = own.onChange(() => listeners.tell());
  return {
    list: () => (last = attempt(() => own.list().flatMap(sound), last)),
    suspect: (id, cause) => attempt(() => own.suspect(id, cause), undefined),
    drains: (id) => attempt(() => own.drains?.(id), undefined),
    answers: (id) => attempt(() => own.answers?.(id), undefined),
    onChange: listeners.add,
    close: async () => leave(undo),
  };
}

/** By name: what a class has getters for is not copied otherwise. */
function copyOf({ id, zone, since, release, draining, suspect }: Backend, origin: string): Backend {
  return {
    id,
    origin,
    draining,
    suspect,
    ...(zone !== undefined && { zone }),
    ...(since !== undefined && { since }),
    ...(release !== undefined && { release }),
  };
}

function originOf(origin: unknown): string | undefined {
  const url = typeof origin === 'string' && URL.canParse(origin) ? new URL(origin) : undefined;
  return url !== undefined && /^https?:$/.test(url.protocol) ? url.origin : undefined;
}

/** Whatever it throws means that it cannot be reached. Closing it closes nothing. */
export function lentSessions(own: Sessions, record: Recorder): Sessions {
  let counted: ReadonlyMap<string, number> = new Map();
  async function reach<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (error instanceof SessionsUnavailable) throw error;
      record({ type: 'fault', error: asError(error) });
      throw new SessionsUnavailable('the registry threw', { cause: error });
    }
  }
  const listeners = newListeners<string>();
  const undo = own.onChange((id) => listeners.tell(id));
  return {
    // Stores say null of what they have not.
    find: (id, options) => reach(async () => (await own.find(id, options)) ?? undefined),
    create: (session) => reach(() => own.create(session)),
    replace: (from, to) => reach(async () => (await own.replace(from, to)) ?? undefined),
    end: (id) => reach(async () => (await own.end(id)) ?? undefined),
    onChange: listeners.add,
    async countByBackend() {
      try {
        counted = await reach(() => own.countByBackend());
      } catch {
        // Advisory: what was true a moment ago will do.
      }
      return counted;
    },
    room() {
      try {
        return own.room?.() ?? Infinity;
      } catch (error) {
        record({ type: 'fault', error: asError(error) });
        return Infinity;
      }
    },
    close: async () => leave(undo),
  };
}

/** One that writes later may fail later. */
export function lentLogger(own: LogDestination): LogDestination {
  return {
    write(line) {
      const written: unknown = own.write(line);
      if (written instanceof Promise) written.catch(() => {});
    },
  };
}

function leave(undo: () => void): void {
  try {
    undo();
  } catch {
    // It gave us nothing to undo it with.
  }
}
