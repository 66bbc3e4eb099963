/** What goes on in sessions, for a proxy that is alone. */

import type { Activity } from '../contract.ts';

export function memoryActivity(): Activity {
  const busy = new Map<string, Set<string>>();
  const claimed = new Set<string>();
  return {
    async enter(session, what) {
      if (claimed.has(session)) return 'moving';
      busy.set(session, (busy.get(session) ?? new Set()).add(what));
      return 'entered';
    },
    async leave(session, what) {
      const going = busy.get(session);
      if (going?.delete(what) === true && going.size === 0) busy.delete(session);
    },
    async claim(session) {
      if (busy.has(session) || claimed.has(session)) return undefined;
      claimed.add(session);
      return async () => void claimed.delete(session);
    },
    close() {},
  };
}
