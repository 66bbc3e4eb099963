/** What a person may order on the ops port: to drain a backend, to undo it, to migrate a session. */

import express, { type NextFunction, type Request, type Response, type Router } from 'express';
import type { DrainableBackends, Marks } from './backends/drains.ts';
import { SessionsUnavailable } from './contract.ts';
import { isLoopback } from './guard.ts';

export type OrderRooms = {
  readonly backends: Pick<DrainableBackends, 'drain' | 'list' | 'undrain'>;
  /** Hashes of the sessions that are to migrate at their next exchange. */
  readonly orders: Pick<Marks, 'set'>;
};

const HASH = /^[\da-f]{64}$/;

/**
 * - `GET /backends` → 200 `{"backends":[{"id":…,"draining":false,"suspect":false}]}`, as this proxy sees them.
 * - `POST /backends/:id/drain` → 202 `{"backend":id,"draining":true}`, `DELETE` → `…false`; 404 for an unknown id.
 * - `POST /sessions/:hash/migrate` → 202; `:hash` is the SHA-256 of the session's id in hex, for an id stands in no URL.
 *
 * From loopback only, by a loopback name (DNS rebinding), and a POST with `Content-Type: application/json` (a page of
 * another site cannot send that unasked). 503 while the registry cannot be reached.
 */
export function createOrders({ backends, orders }: OrderRooms): Router {
  const router = express.Router();
  router.use(onlyOperators);
  router.get('/backends', (_request, response) => {
    response.json({
      backends: backends.list().map(({ id, zone, draining, suspect }) => ({ id, zone, draining, suspect })),
    });
  });
  router.post('/backends/:id/drain', ({ params: { id } }, response, next) => {
    backends.drain(id).then((done) => answer(response, id, done, true), next);
  });
  router.delete('/backends/:id/drain', ({ params: { id } }, response, next) => {
    backends.undrain(id).then((done) => answer(response, id, done, false), next);
  });
  router.post('/sessions/:hash/migrate', ({ params: { hash } }, response, next) => {
    if (!HASH.test(hash)) {
      response.status(400).json({ error: 'the SHA-256 of a session id is expected: 64 hex digits in lower case' });
      return;
    }
    const taken = { session: hash.slice(0, 8), migrates: 'at its next exchange' };
    orders.set(hash).then(() => response.status(202).json(taken), next);
  });
  router.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (!(error instanceof SessionsUnavailable)) return next(error);
    response.status(503).set('Retry-After', '1').json({ error: 'the registry cannot be reached, try again' });
    return undefined;
  });
  return router;
}

function answer(response: Response, backend: string, done: string, draining: boolean): void {
  if (done === 'unknown') response.status(404).json({ error: 'no backend has this id' });
  else response.status(202).json({ backend, draining });
}

function onlyOperators(request: Request, response: Response, next: NextFunction): void {
  if (request.method === 'GET' || request.method === 'HEAD') return next();
  const refuse = (status: number, error: string): void => void response.status(status).json({ error });
  if (!isLoopback(request.socket.remoteAddress)) return refuse(403, 'orders are taken from loopback only');
  if (!isLoopback(request.hostname)) return refuse(403, 'orders are taken by a loopback name only');
  if (request.method === 'POST' && request.is('application/json') === false) {
    return refuse(415, 'Content-Type: application/json is expected');
  }
  return next();
}
