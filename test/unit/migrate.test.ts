/** Exchanges of a session that want a new home for it at the same moment: one of them migrates it. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Backend, Exchange, RawHeaders } from '../../proxy/contract.ts';
import { createMigrator } from '../../proxy/migrate.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Home, startHome } from '../house/homes.ts';
import { newSession } from '../house/sessions.ts';

let homes: [Home, Home];
beforeEach(async () => {
  homes = await Promise.all([startHome(), startHome()]);
});
afterEach(async () => {
  await Promise.all(homes.map((home) => home.close()));
});

const backendAt = ({ id, origin }: Home): Backend => ({ id, origin, draining: false, suspect: false });

function exchangeOf(...headers: RawHeaders): Exchange {
  const intent = { kind: 'continue', id: 's', verb: 'post', messages: [] } as const;
  return { method: 'POST', target: '/mcp', headers, body: undefined, signal: new AbortController().signal, intent };
}

function newRooms(list: () => readonly Backend[]) {
  const sessions = memorySessions({ ttlSeconds: 60 });
  const upstream = createUpstream({ answerSeconds: undefined });
  const migrator = createMigrator({
    sessions,
    upstream,
    backends: { list, suspect() {}, onChange: () => () => {}, close: async () => {} },
    telemetry: { record() {} },
    prepareStreams: () => ({ ready: () => Promise.resolve('attached'), discard() {} }),
    moved() {},
    now: Date.now,
    token: () => crypto.randomUUID(),
  });
  return { sessions, migrator, close: () => Promise.all([upstream.close(), sessions.close()]) };
}

/** A session whose home is gone, and what becomes of each of its exchanges: the home each wants, and its credentials. */
async function migrateAll(...wants: readonly (readonly [to: Home, authorization: string])[]) {
  const { sessions, migrator, close } = newRooms(() => homes.map(backendAt));
  const session = newSession({ home: { id: 'gone', origin: 'http://127.0.0.1:1' }, capabilities: { tools: {} } });
  await sessions.create(session);
  const all = wants.map(([to, authorization]) =>
    migrator.migrate(session, backendAt(to), exchangeOf('authorization', authorization), 'crash'),
  );
  const kinds = (await Promise.all(all)).map(({ kind }) => kind);
  await close();
  return kinds;
}
const held = () => homes.map(({ sessions }) => sessions.size);

test('those that come while it migrates share what came of it', async () => {
  const [a, b] = homes;
  expect(await migrateAll([a, 'x'], [b, 'x'], [a, 'x'])).toEqual(['migrated', 'migrated', 'migrated']);
  expect(held()).toEqual([1, 0]);
});

test('after credentials were refused, one of those that waited tries its own', async () => {
  const [a] = homes;
  a.welcome = ({ authorization }) => (authorization === 'old' ? { status: 401 } : undefined);
  const kinds = await migrateAll([a, 'old'], [a, 'new'], [a, 'new'], [a, 'new']);
  expect(kinds).toEqual(['unauthorized', 'migrated', 'migrated', 'migrated']);
  expect(held()).toEqual([1, 0]);
});

test('a backend is not blamed for the failure of another', async () => {
  const [a, b] = homes;
  a.welcome = () => ({ status: 503 });
  expect(await migrateAll([a, 'x'], [b, 'x'], [a, 'x'])).toEqual(['failed', 'migrated', 'failed']);
  expect(held()).toEqual([0, 1]);
});

test('a server is asked for few homes at once, and for no more once it has failed', async () => {
  const [a] = homes;
  let asked = 0;
  let dead = false;
  a.welcome = () => {
    asked += 1;
    dead = true;
    return { status: 503 };
  };
  const sessions = Array.from({ length: 50 }, () => newSession({ home: { id: 'gone', origin: 'http://127.0.0.1:1' } }));
  const { migrator, close } = newRooms(() => (dead ? [] : homes.map(backendAt)));
  const all = sessions.map((session) => migrator.migrate(session, backendAt(a), exchangeOf(), 'crash'));
  expect(migrator.full(backendAt(a))).toBe(true);
  expect(new Set((await Promise.all(all)).map(({ kind }) => kind))).toEqual(new Set(['failed']));
  expect([asked, migrator.full(backendAt(a))]).toEqual([16, false]);
  await close();
});
