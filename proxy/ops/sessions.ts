/** The sessions on the ops port, by the SHA-256 of their ids: who lives where, the order to migrate one, to end one. */

import express, { type Response, type Router } from 'express';
import type { Marks } from '../backends/drains.ts';
import type { Backend, Session } from '../contract.ts';
import type { Telemetry } from '../events.ts';
import { isObject } from '../jsonrpc.ts';
import type { Cursor, SeenSession, SessionsByHash } from '../sessions/by-hash.ts';

export type SessionRooms = {
  /** Undefined where the registry cannot be looked through. */
  readonly byHash: SessionsByHash | undefined;
  readonly readCursor: (text: string) => Cursor | undefined;
  readonly backends: { list(): readonly Backend[] };
  /** Hashes of the sessions that are to migrate at their next exchange. */
  readonly orders: Pick<Marks, 'set'>;
  /** DELETEs the session at its home, without anybody's credentials. Best effort, in the background. */
  readonly discard: (session: Session, at: Backend) => void;
  readonly telemetry: Telemetry;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

const HASH = /^[\da-f]{64}$/;
const LIMIT = 100;
const MOST = 1_000;
/** What clients and servers call themselves is theirs, and may be long. */
const LONGEST_NAME = 200;

/**
 * - `GET /sessions?backend=…&limit=…&cursor=…` → 200 `{"sessions":[…],"next":…}`; `limit` is 100 by default, 1,000 at
 *   most; while there is a `next`, it is the `cursor` of the next page.
 * - `GET /sessions/:hash` → 200; 404 when there is none.
 * - `DELETE /sessions/:hash` → 200 `{"session":…,"ended":true,"home":"told"}`: it is ended in the registry, and its home
 *   is told where this proxy has served the session and so knows its ids, and where the home is there.
 * - `POST /sessions/:hash/migrate` → 202, at its next exchange or by its listening stream.
 *
 * An id stands in no URL: `:hash` is its SHA-256 in hex. 400 for what is no hash, 501 where the registry is handed in.
 */
export function createSessionsApi(rooms: SessionRooms): Router {
  const { byHash, readCursor, backends, orders, discard, telemetry, now } = rooms;
  const router = express.Router();

  router.param('hash', (_request, response, next, hash: unknown) => {
    if (typeof hash === 'string' && HASH.test(hash)) next();
    else refuse(response, 400, 'the SHA-256 of a session id is expected: 64 hex digits in lower case');
  });
  router.get('/sessions', async ({ query }, response) => {
    if (byHash === undefined) return refuse(response, ...NO_WAY);
    const { backend, limit, after } = asked(query, readCursor);
    if (backend === 'bad') return refuse(response, 400, 'backend: expected one id');
    if (limit === undefined) return refuse(response, 400, `limit: expected a whole number from 1 to ${MOST}`);
    if (after === 'bad') return refuse(response, 400, 'cursor: expected the next of an earlier page');
    const { sessions, next = null } = await byHash.page({ backend: backend?.id, limit, after });
    response.json({ sessions: sessions.map((session) => shown(session, now())), next });
    return undefined;
  });
  router.get('/sessions/:hash', async ({ params: { hash } }, response) => {
    if (byHash === undefined) return refuse(response, ...NO_WAY);
    const session = await byHash.find(hash);
    if (session === undefined) return refuse(response, ...NOBODY);
    response.json(shown(session, now()));
    return undefined;
  });
  router.delete('/sessions/:hash', async ({ params: { hash } }, response) => {
    if (byHash === undefined) return refuse(response, ...NO_WAY);
    const ended = await byHash.end(hash);
    if (ended === undefined) return refuse(response, ...NOBODY);
    telemetry.record({ type: 'order', order: 'end', backend: ended.seen.home.id, hash });
    telemetry.record({ type: 'session', change: 'ended' });
    const home = backends.list().find(({ id }) => id === ended.seen.home.id);
    const told = ended.session !== undefined && home !== undefined;
    if (told) discard(ended.session, home);
    response.json({ session: hash, ended: true, home: told ? 'told' : 'not told' });
    return undefined;
  });
  router.post('/sessions/:hash/migrate', async ({ params: { hash } }, response) => {
    if (byHash !== undefined && (await byHash.find(hash)) === undefined) return refuse(response, ...NOBODY);
    await orders.set(hash);
    telemetry.record({ type: 'order', order: 'migrate', hash });
    response.status(202).json({ session: hash, migrates: 'at its next exchange' });
    return undefined;
  });
  return router;
}

const NO_WAY = [501, 'this registry is not ours: its sessions cannot be looked through'] as const;
const NOBODY = [404, 'no session has an id with this hash'] as const;

function refuse(response: Response, status: number, error: string): void {
  response.status(status).json({ error });
}

function asked(query: Readonly<Record<string, unknown>>, readCursor: SessionRooms['readCursor']) {
  const { backend, limit = String(LIMIT), cursor } = query;
  const count = typeof limit === 'string' && /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  const id = typeof backend === 'string' && backend !== '' ? { id: backend } : 'bad';
  const after = typeof cursor === 'string' ? (readCursor(cursor) ?? 'bad') : 'bad';
  return {
    backend: backend === undefined ? undefined : id,
    limit: count >= 1 && count <= MOST ? count : undefined,
    after: cursor === undefined ? undefined : after,
  } as const;
}

/** What an operator may see: not what the client said beside its name, nor what it subscribes to. */
function shown(session: SeenSession, now: number) {
  const { hash, home, epoch, protocolVersion, createdAt, journal, serverInfo, busyUntil } = session;
  return {
    session: hash,
    home: home.id,
    epoch,
    protocolVersion,
    client: named(journal.initialize['clientInfo']),
    server: named(serverInfo),
    initialized: journal.initialized,
    subscriptions: journal.subscriptions.length,
    createdAt: new Date(createdAt).toISOString(),
    ageSeconds: Math.max(0, Math.round((now - createdAt) / 1000)),
    ...(busyUntil !== undefined && { busyUntil: new Date(busyUntil).toISOString() }),
  };
}

function named(info: unknown): { readonly name: string; readonly version: string } {
  const of = (key: 'name' | 'version'): string => {
    const value = isObject(info) ? info[key] : undefined;
    return typeof value === 'string' ? value.slice(0, LONGEST_NAME) : '';
  };
  return { name: of('name'), version: of('version') };
}
