/** Sessions for tests, with as little said as the test needs. */

import { randomUUID } from 'node:crypto';
import type { Session } from '../../proxy/contract.ts';

/** A new session at backend a, with an id of its own. */
export function newSession(different: Partial<Session> = {}): Session {
  const id = different.id ?? `session-${randomUUID()}`;
  return {
    id,
    backendSessionId: id,
    home: at('a'),
    epoch: 0,
    revision: randomUUID(),
    changes: 0,
    createdAt: 1_700_000_000_000,
    protocolVersion: '2025-11-25',
    capabilities: { tools: { listChanged: true }, logging: {} },
    serverInfo: { name: 'sample', version: '1' },
    journal: {
      initialize: { clientInfo: { name: 'é "quoted" \u0000' } },
      initializeText: '{"jsonrpc": "2.0", "id": 1.0, "method": "initialize", "params": {"n": 1e400, "t": "é"}}',
      initialized: true,
      subscriptions: ['file:///x'],
    },
    safeTools: ['ping'],
    ...different,
  };
}

/** The same session at its next home. */
export function migrated(from: Session, to: string): Session {
  const { epoch } = from;
  return { ...changed(from), backendSessionId: randomUUID(), home: at(to), epoch: epoch + 1 };
}

/** The same session at the same home, with something new in its journal. */
export function changed(from: Session, level = 'debug'): Session {
  return { ...from, revision: randomUUID(), changes: from.changes + 1, journal: { ...from.journal, level } };
}

function at(backend: string): Session['home'] {
  return { id: backend, origin: `http://${backend}:3000` };
}
