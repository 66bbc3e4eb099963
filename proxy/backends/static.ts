/** Backends from a fixed list: all of them are always members, a failed one is avoided for a moment. */

import type { Backends } from '../contract.ts';
import { type MembersOptions, createMembers } from './members.ts';

/** `origins` as `Config` gives them; a backend's id is its `host:port`. */
export function staticBackends(origins: readonly string[], options: Pick<MembersOptions, 'suspectMs'> = {}): Backends {
  const { set, ...backends } = createMembers(options);
  set(origins.map((origin) => ({ id: hostAndPort(origin), origin })));
  return backends;
}

function hostAndPort(origin: string): string {
  const { hostname, port, protocol } = new URL(origin);
  return `${hostname}:${port || (protocol === 'https:' ? '443' : '80')}`;
}
