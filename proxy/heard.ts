/** Which backends discovery has ever named to this proxy. */
import type { Backends } from './contract.ts';

/** Ids are new with each task where discovery knows tasks. */
const MOST = 10_000;

/** True for one that is, or was, listed. Until `backends` is closed. */
export function hearOf(backends: Pick<Backends, 'list' | 'onChange'>): (id: string) => boolean {
  const heard = new Set<string>();
  function listen(): void {
    for (const { id } of backends.list()) {
      heard.delete(id);
      heard.add(id);
    }
    for (const id of heard) if (heard.size > MOST) heard.delete(id);
  }
  backends.onChange(listen);
  listen();
  return (id) => heard.has(id);
}
