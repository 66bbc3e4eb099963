/** Which of several backends gets a session. Pure. */
import type { Backend } from './contract.ts';

/**
 * The power of two choices: of two backends drawn at random, the one that holds fewer sessions. Spreads evenly without
 * every proxy running to the same emptiest backend. `draw` returns numbers in [0, 1). Undefined for no candidates.
 */
export function balance(
  candidates: readonly Backend[],
  held: ReadonlyMap<string, number>,
  draw: () => number,
): Backend | undefined {
  const first = Math.floor(draw() * candidates.length);
  const one = candidates[first];
  if (one === undefined || candidates.length === 1) return one;
  const other = candidates[(first + 1 + Math.floor(draw() * (candidates.length - 1))) % candidates.length];
  if (other === undefined) return one;
  return (held.get(other.id) ?? 0) < (held.get(one.id) ?? 0) ? other : one;
}
