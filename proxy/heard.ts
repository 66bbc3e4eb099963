/** Which backends discovery has ever named to this proxy. */
import { BoundedSet } from './bounded.ts';
import type { Backends } from './contract.ts';

/** Ids are new with each task where discovery knows tasks. */
const MOST = 10_000;

/** True for one that is, or was, listed. Until `backends` is closed. */
export function hearOf(backends: Pick<Backends, 'list' | 'onChange'>): (id: string) => boolean {
  const heard = new BoundedSet(MOST);
  function listen(): void {
    for (const { id } of backends.list()) heard.add(id);
  }
  backends.onChange(listen);
  listen();
  return (id) => heard.has(id);
}
