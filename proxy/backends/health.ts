/** Active checks laid over any discovery: a dead backend is left out, one that says it is not well gets nothing new. */

import type { Backend, Backends, RoutingEvent } from '../contract.ts';
import { newListeners } from '../listeners.ts';
import { type Check, type Finding, connectCheck, pathCheck } from './checks.ts';
import { type Diagnosis, UNKNOWN, diagnose, judge } from './diagnosis.ts';
import { sameBackends } from './members.ts';
import { type Watch, type Watching, newLimit, watch } from './watch.ts';

export type CheckOptions = {
  /** Asked with GET, any 2xx is well; undefined: a TCP connect. Never the MCP endpoint. */
  readonly path?: string | undefined;
  /** From the beginning of a check to that of the next, give or take a tenth, in milliseconds; 2,000 by default. */
  readonly everyMs?: number;
  /** For a whole check, in milliseconds; 2,000 by default. */
  readonly timeoutMs?: number;
  /**
   * Told of a dead backend that hangs or has vanished, after it has left the list. Not of one that refuses: its host is
   * alive and has closed what was to be closed, and a server that shuts down refuses while it ends its answers.
   */
  readonly onHung?: (origin: string) => void;
  readonly record?: (event: RoutingEvent) => void;
  /** Instead of `path` and `timeoutMs`. */
  readonly check?: Check;
  /** Random numbers in [0, 1). */
  readonly draw?: () => number;
};

/** A backend under watch. */
type Patient = {
  readonly origin: string;
  readonly watched: Watch;
  diagnosis: Diagnosis;
  /** `onHung` has been told, and it was not listed since. */
  told: boolean;
};

/** Checks that run at once. */
const AT_ONCE = 16;

/** What the checks make of the list is in `judge`. Closing it closes `inner`. */
export function checkedBackends(inner: Backends, options: CheckOptions = {}): Backends {
  const { record } = options;
  const watching = watchingOf(options);
  const patients = new Map<string, Patient>();
  const listeners = newListeners<void>();
  let believed = true;
  let current: readonly Backend[] = [];

  function admit(): void {
    const listed = new Map(inner.list().map((backend) => [backend.id, backend.origin]));
    for (const [id, { origin, watched }] of patients) {
      if (listed.get(id) === origin) continue;
      watched.stop();
      patients.delete(id);
    }
    for (const [id, origin] of listed) {
      if (patients.has(id)) continue;
      const watched = watch(origin, watching, (finding) => learn(id, finding));
      patients.set(id, { origin, watched, diagnosis: UNKNOWN, told: false });
    }
    update();
  }

  function learn(id: string, finding: Finding): void {
    const patient = patients.get(id);
    if (!patient) return;
    const before = patient.diagnosis.health;
    patient.diagnosis = diagnose(patient.diagnosis, finding);
    const { health, cause } = patient.diagnosis;
    if (health !== before) {
      record?.({ type: 'backend', backend: id, state: health, ...(health !== 'alive' && { cause }) });
    }
    update();
    if (finding.kind !== 'refused' && finding.kind !== 'silent') return;
    // One that has left discovery is dropped by a suspicion: one check that failed is not enough for that.
    const leaving = inner.list().some((backend) => backend.id === id && backend.draining);
    if (leaving ? health === 'dead' : options.path === undefined) inner.suspect(id, new Error(cause));
  }

  function update(): void {
    const { backends, doubted } = judge(inner.list(), (id) => patients.get(id)?.diagnosis ?? UNKNOWN);
    if (believed !== (doubted === undefined)) {
      believed = !believed;
      record?.({ type: 'checks', state: believed ? 'believed' : 'ignored', ...(doubted && { cause: doubted }) });
    }
    if (!sameBackends(current, backends)) {
      current = backends;
      listeners.tell();
    }
    tellOfHung();
  }

  function tellOfHung(): void {
    const listed = new Set(current.map(({ id }) => id));
    for (const [id, patient] of patients) {
      const tell = patient.diagnosis.hung && !listed.has(id);
      if (tell && !patient.told) options.onHung?.(patient.origin);
      patient.told = tell;
    }
  }

  const undo = inner.onChange(admit);
  admit();
  return {
    list: () => current,
    suspect(id, cause) {
      inner.suspect(id, cause);
      patients.get(id)?.watched.soon();
    },
    onChange: listeners.add,
    async close() {
      undo();
      listeners.clear();
      for (const { watched } of patients.values()) watched.stop();
      patients.clear();
      await inner.close();
    },
  };
}

function watchingOf({ path, check, everyMs = 2_000, timeoutMs = 2_000, draw = Math.random }: CheckOptions): Watching {
  const chosen = check ?? (path === undefined ? connectCheck(timeoutMs) : pathCheck(path, timeoutMs));
  return { check: chosen, limit: newLimit(AT_ONCE), everyMs, draw };
}
