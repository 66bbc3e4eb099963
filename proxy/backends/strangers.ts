/** Backends that discovery has not named here: nobody watches them, so they are looked at when they are needed. */

import type { Check } from './checks.ts';

/** How long a look holds, in milliseconds. */
const HOLDS_MS = 1_000;

/** Whether it answers a check at all; true where that cannot be learnt. Asked at most once a second of each origin. */
export function lookAtStrangers(check: Check): (origin: string) => Promise<boolean> {
  const looks = new Map<string, Promise<boolean>>();
  async function look(origin: string): Promise<boolean> {
    const { kind } = await check(origin, new AbortController().signal);
    return kind !== 'refused' && kind !== 'silent';
  }
  return (origin) => {
    const known = looks.get(origin);
    if (known !== undefined) return known;
    const answers = look(origin);
    looks.set(origin, answers);
    setTimeout(() => looks.delete(origin), HOLDS_MS).unref();
    return answers;
  };
}
