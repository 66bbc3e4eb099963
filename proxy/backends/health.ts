/** Active checks laid over any discovery: a dead backend is left out, one that says it is not well gets nothing new. */

import type { Backend, Backends } from '../contract.ts';
import type { RoutingEvent } from '../events.ts';
import { newLimit } from '../limit.ts';
import { newListeners } from '../listeners.ts';
import type { BackendHost } from '../backend-host.ts';
import { type Check, type Finding, checkOf, hasVanished } from './checks.ts';
import { type Diagnosis, type Judged, UNKNOWN, diagnose, judge } from './diagnosis.ts';
import { sameBackends } from './members.ts';
import { type Watch, type Watching, watch } from './watch.ts';

export type CheckOptions = {
  /** Asked with GET, any 2xx is well; undefined: a TCP connect. Never the MCP endpoint. */
  readonly path?: string | undefined;
  /** What it is asked for as: see backend-host.ts. */
  readonly backendHost?: BackendHost;
  /** From the beginning of a check to that of the next, give or take a tenth, in milliseconds; 2,000 by default. */
  readonly everyMs?: number;
  /** For a whole check, in milliseconds; 2,000 by default. */
  readonly timeoutMs?: number;
  /**
   * Told of a dead backend that hangs or has vanished, after it has left the list; and of one whose address another has
   * now. Not of one that refuses: its host is alive and has closed what was to be closed, and a server that shuts down
   * refuses while it ends its answers.
   */
  readonly onHung?: (origin: string) => void;
  /** Told at each check that was answered with it which release the backend runs. */
  readonly onRelease?: (id: string, release: number) => void;
  readonly record?: (event: RoutingEvent) => void;
  /** Instead of `path` and `timeoutMs`. */
  readonly check?: Check;
  /** Random numbers in [0, 1). */
  readonly draw?: () => number;
};

/** Checks that run at once, a socket each; as many again of backends that are known to be silent. */
const AT_ONCE = 64;

/** What the checks make of the list is in `judge`. Closing it closes `inner`. */
export function checkedBackends(inner: Backends, options: CheckOptions = {}): Backends {
  const { record, onHung } = options;
  const ward = openWard(watchingOf(options), learnt);
  const listeners = newListeners<void>();
  let believed = true;
  let severed: ReadonlySet<string> = new Set();
  let current: readonly Backend[] = [];

  function learnt(id: string, finding: Finding, { health, cause }: Diagnosis, changed: boolean): void {
    if (changed) record?.({ type: 'backend', backend: id, state: health, ...(health !== 'alive' && { cause }) });
    update();
    if (finding.kind === 'well' && finding.release !== undefined) options.onRelease?.(id, finding.release);
    if (finding.kind !== 'refused' && finding.kind !== 'silent') return;
    // One that has left discovery is dropped by a suspicion: one check that failed is not enough for that.
    const leaving = inner.list().some((backend) => backend.id === id && backend.draining);
    if (leaving ? health === 'dead' : options.path === undefined) inner.suspect(id, new Error(cause));
  }
  function update(): void {
    const { backends, doubted } = ward.judged(inner.list());
    if (believed !== (doubted === undefined)) {
      believed = !believed;
      record?.({ type: 'checks', state: believed ? 'believed' : 'ignored', ...(doubted && { cause: doubted }) });
    }
    if (!sameBackends(current, backends)) {
      current = backends;
      listeners.tell();
    }
    sever();
  }
  /** After the list has changed: what is broken off there must go elsewhere. */
  function sever(): void {
    const listed = new Set(current.map(({ id }) => id));
    const hung = inner.list().filter(({ id }) => ward.diagnosisOf(id).hung && !listed.has(id));
    const before = severed;
    severed = new Set(hung.map(({ id }) => id));
    for (const { id, origin } of hung) if (!before.has(id)) onHung?.(origin);
  }
  function admit(): void {
    const takenOver = ward.admit(inner.list());
    update();
    for (const origin of takenOver) onHung?.(origin);
  }

  const undo = inner.onChange(admit);
  admit();
  return {
    list: () => current,
    suspect(id, cause) {
      const before = inner.list().find((one) => one.id === id);
      inner.suspect(id, cause);
      // It had left discovery, and its host is gone too: what runs there would wait for ever.
      const dropped = before !== undefined && !inner.list().some((one) => one.id === id);
      if (dropped && hasVanished(cause)) onHung?.(before.origin);
      ward.soon(id);
    },
    answers: ward.answered,
    onChange: listeners.add,
    async close() {
      undo();
      listeners.clear();
      ward.close();
      await inner.close();
    },
  };
}

type Ward = {
  /** Watches these from now on, and nobody else. Returns the origins of those that left because another has them now. */
  readonly admit: (backends: readonly Backend[]) => readonly string[];
  readonly diagnosisOf: (id: string) => Diagnosis;
  /** Of these, what `judge` makes, and since when one that was dead is there again. */
  readonly judged: (listed: readonly Backend[]) => Judged;
  readonly soon: (id: string) => void;
  /** It has answered an exchange. */
  readonly answered: (id: string) => void;
  readonly close: () => void;
};
type Patient = { readonly origin: string; readonly watched: Watch; diagnosis: Diagnosis; revived?: number };

/** `changed`: it is in another state of health than before. */
function openWard(
  watching: Watching,
  learnt: (id: string, finding: Finding, diagnosis: Diagnosis, changed: boolean) => void,
): Ward {
  const patients = new Map<string, Patient>();
  function learn(id: string, finding: Finding): void {
    const patient = patients.get(id);
    if (!patient) return;
    const before = patient.diagnosis;
    patient.diagnosis = diagnose(before, finding);
    // As cold as one that was never there.
    if (before.health === 'dead' && patient.diagnosis.health !== 'dead') patient.revived = Date.now();
    learnt(id, finding, patient.diagnosis, patient.diagnosis.health !== before.health);
  }
  function diagnosisOf(id: string): Diagnosis {
    return patients.get(id)?.diagnosis ?? UNKNOWN;
  }
  function asRevived(backend: Backend): Backend {
    const since = patients.get(backend.id)?.revived;
    return since === undefined ? backend : { ...backend, since };
  }
  function admit(backends: readonly Backend[]): readonly string[] {
    const origins = new Map(backends.map(({ id, origin }) => [id, origin]));
    const taken = new Set(origins.values());
    const takenOver: string[] = [];
    for (const [id, { origin, watched }] of patients) {
      if (origins.get(id) === origin) continue;
      watched.stop();
      patients.delete(id);
      if (!origins.has(id) && taken.has(origin)) takenOver.push(origin);
    }
    for (const [id, origin] of origins) {
      if (patients.has(id)) continue;
      const watched = watch(origin, watching, (finding) => learn(id, finding));
      patients.set(id, { origin, watched, diagnosis: UNKNOWN });
    }
    return takenOver;
  }
  return {
    admit,
    diagnosisOf,
    judged(listed) {
      const found = judge(listed, diagnosisOf);
      return { ...found, backends: found.backends.map(asRevived) };
    },
    soon: (id) => patients.get(id)?.watched.soon(),
    answered(id) {
      if (patients.get(id)?.diagnosis.health === 'dead') patients.get(id)?.watched.soon();
      learn(id, { kind: 'answered' });
    },
    close: () => void admit([]),
  };
}

function watchingOf({
  path,
  backendHost,
  check,
  everyMs = 2_000,
  timeoutMs = 2_000,
  draw = Math.random,
}: CheckOptions): Watching {
  // Apart, so that many that hang, each for as long as a check may take, do not hold up the checks of all others.
  const limits = { usual: newLimit(AT_ONCE), silent: newLimit(AT_ONCE) };
  return { check: check ?? checkOf(path, timeoutMs, backendHost), limits, everyMs, draw };
}
