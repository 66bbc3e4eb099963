/** What findings in a row say of a backend, and what that makes of the list of all. */

import type { Backend, Health } from '../contract.ts';
import type { Finding } from './checks.ts';

export type Diagnosis = {
  readonly health: Health;
  /** It hangs or has vanished: what runs there will not end by itself. */
  readonly hung: boolean;
  /** Of the last check that failed. */
  readonly cause: string;
  /** Failed checks in a row, of them those without an answer, and of them those that did not even refuse. */
  readonly failed: number;
  readonly unreachable: number;
  readonly silent: number;
};

export const UNKNOWN: Diagnosis = { health: 'alive', hung: false, cause: '', failed: 0, unreachable: 0, silent: 0 };

const IN_A_ROW = 2;

/** It is not dead, though no check says yet that it is well. */
function vouchedFor(before: Diagnosis): Diagnosis {
  return before.health === 'dead' ? { ...UNKNOWN, cause: before.cause, failed: 1 } : before;
}

/** Two in a row without an answer: dead. Two that failed otherwise: draining. One that is well: alive. */
export function diagnose(before: Diagnosis, finding: Finding): Diagnosis {
  if (finding.kind === 'unknown') return before;
  if (finding.kind === 'well') return UNKNOWN;
  if (finding.kind === 'answered') return vouchedFor(before);
  const failed = before.failed + 1;
  const unreachable = finding.kind === 'unwell' ? 0 : before.unreachable + 1;
  const silent = finding.kind === 'silent' ? before.silent + 1 : 0;
  const bad = unreachable >= IN_A_ROW ? 'dead' : 'draining';
  const health = failed < IN_A_ROW ? 'alive' : bad;
  return { health, hung: silent >= IN_A_ROW, cause: finding.cause, failed, unreachable, silent };
}

export type Judged = {
  readonly backends: readonly Backend[];
  /** No backend is well, the reason being this one of the first. */
  readonly doubted?: string;
};

/**
 * Leaves the dead out, and lists as draining who is not well. Where nobody is well the checks are doubted first, as a
 * wrong path must not take the service down: those that answer are suspects; where none does, all are.
 */
export function judge(listed: readonly Backend[], diagnosisOf: (id: string) => Diagnosis): Judged {
  const [first] = listed;
  const answering = listed.filter(({ id }) => diagnosisOf(id).health !== 'dead');
  // Whose last check failed is no witness: with a wrong path all fail, one after the other.
  const wellKnown = answering.some(({ id }) => diagnosisOf(id).failed === 0);
  const allAlive = listed.every(({ id }) => diagnosisOf(id).health === 'alive');
  if (first === undefined || wellKnown || allAlive) {
    return { backends: answering.map((one) => (diagnosisOf(one.id).health === 'alive' ? one : draining(one))) };
  }
  const left = answering.length > 0 ? answering : listed;
  return { backends: left.map(suspected), doubted: diagnosisOf(first.id).cause };
}

function draining(backend: Backend): Backend {
  return { ...backend, draining: true };
}

function suspected(backend: Backend): Backend {
  return { ...backend, suspect: true };
}
