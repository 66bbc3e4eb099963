/** The backends on the ops port: who they are and how they fare, and the order to drain one. */

import express, { type Response, type Router } from 'express';
import type { DrainableBackends } from '../backends/drains.ts';
import { type Backend, SessionsUnavailable } from '../contract.ts';
import type { Telemetry } from '../events.ts';
import { listedState } from '../listed.ts';

export type BackendRooms = {
  readonly backends: Pick<DrainableBackends, 'drain' | 'list' | 'undrain'>;
  /** Sessions per backend id, at all proxies. Throws SessionsUnavailable. */
  readonly countByBackend: () => Promise<ReadonlyMap<string, number>>;
  /** Exchanges that run through this proxy, listening ones apart, by backend id. */
  readonly running: ReadonlyMap<string, number>;
  readonly telemetry: Telemetry;
};

type Counts = ReadonlyMap<string, number>;

/**
 * - `GET /backends` → 200 `{"backends":[…],"gone":[…]}`, as this proxy sees them; `gone` are homes of sessions that are
 *   not listed any more. Its `sessions` are null while the registry cannot be reached.
 * - `GET /backends/:id` → 200, with the address; 404 for an unknown id.
 * - `POST /backends/:id/drain` → 202 `{"backend":id,"draining":true}`, `DELETE` → `…false`; 404 for an unknown id.
 */
export function createBackendsApi({ backends, countByBackend, running, telemetry }: BackendRooms): Router {
  const router = express.Router();
  const shown = (backend: Backend, counts: Counts | undefined) => ({
    id: backend.id,
    state: listedState(backend),
    draining: backend.draining,
    suspect: backend.suspect,
    ...(backend.zone !== undefined && { zone: backend.zone }),
    ...(backend.since !== undefined && { since: new Date(backend.since).toISOString() }),
    sessions: counts === undefined ? null : (counts.get(backend.id) ?? 0),
    running: running.get(backend.id) ?? 0,
  });

  /** Without the registry, who the backends are is worth knowing all the same. */
  async function count(): Promise<Counts | undefined> {
    try {
      return await countByBackend();
    } catch (error) {
      if (error instanceof SessionsUnavailable) return undefined;
      throw error;
    }
  }

  router.get('/backends', async (_request, response) => {
    const counts = await count();
    const list = backends.list();
    const listed = new Set(list.map(({ id }) => id));
    const gone = [...(counts ?? [])].filter(([id]) => !listed.has(id)).map(([id, sessions]) => ({ id, sessions }));
    response.json({ backends: list.map((one) => shown(one, counts)), gone });
  });
  router.get('/backends/:id', async ({ params: { id } }, response) => {
    const backend = backends.list().find((one) => one.id === id);
    if (backend === undefined) return unknown(response);
    response.json({ ...shown(backend, await count()), origin: backend.origin });
    return undefined;
  });
  router.post('/backends/:id/drain', async ({ params: { id } }, response) => {
    if ((await backends.drain(id)) === 'unknown') return unknown(response);
    telemetry.record({ type: 'order', order: 'drain', backend: id });
    response.status(202).json({ backend: id, draining: true });
    return undefined;
  });
  router.delete('/backends/:id/drain', async ({ params: { id } }, response) => {
    if ((await backends.undrain(id)) === 'unknown') return unknown(response);
    telemetry.record({ type: 'order', order: 'undrain', backend: id });
    response.status(202).json({ backend: id, draining: false });
    return undefined;
  });
  return router;
}

function unknown(response: Response): void {
  response.status(404).json({ error: 'no backend has this id' });
}
