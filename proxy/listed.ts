/** How a listed backend stands, in a word. Pure. */

import type { Backend } from './contract.ts';

/** `suspect`: it failed a moment ago. One that drains may be both. */
export function listedState({ draining, suspect }: Backend): 'ready' | 'suspect' | 'draining' {
  if (draining) return 'draining';
  return suspect ? 'suspect' : 'ready';
}
