/** Trouble of the proxy's own on the way to one backend: another gets what is new, and nothing migrates by it. */

import { afterEach, beforeEach, expect, test } from 'vitest';
import { rawOpen, rawPing } from '../house/by-hand.ts';
import { startProxy } from '../house/flow.ts';
import { startRedis } from '../house/redis.ts';
import { type TestServers, startServers } from '../house/servers.ts';

const undo: (() => unknown)[] = [];
let servers: TestServers;
beforeEach(async () => {
  servers = await startServers(['a', 'b']);
  undo.push(() => servers.close());
});
afterEach(async () => {
  for (const one of undo.splice(0).toReversed()) await one();
});

/** What it speaks is no TLS: the proxy blames itself. */
const misread = (name: string) => servers.get(name).origin.replace('http:', 'https:');
async function proxy(origins: readonly string[], flags: readonly string[] = []) {
  const started = await startProxy(origins, flags);
  undo.push(() => started.stop());
  return started;
}

test('a new session, and what belongs to none, goes to another backend', async () => {
  const { url, events } = await proxy([servers.get('a').origin, misread('b')]);
  for (let turn = 0; turn < 5; turn += 1) {
    expect((await rawOpen(url)).status).toBe(200);
    // The server's own word on a request without a session.
    expect((await rawPing(url, '')).status).toBe(400);
  }
  expect(events.filter(({ type }) => type === 'fault')).not.toEqual([]);
  expect(events.filter(({ type }) => type === 'suspect')).toEqual([]);
});

test('where it is the same with all, nobody is held', async () => {
  const { url, events } = await proxy([misread('a'), misread('b')]);
  expect((await rawOpen(url)).status).toBe(503);
  expect(events.filter(({ type }) => type === 'held')).toEqual([]);
});

test('a session stays with its home', async () => {
  const redis = await startRedis();
  undo.push(() => redis.close());
  const flags = [`--redis=${redis.url}`];
  const { url } = await proxy([servers.get('a').origin], flags);
  const troubled = await proxy([misread('a'), servers.get('b').origin], flags);
  const { id } = await rawOpen(url);
  expect((await rawPing(troubled.url, id)).status).toBe(503);
  expect((await rawPing(url, id)).status).toBe(200);
  expect(troubled.events.filter(({ type }) => type === 'migration')).toEqual([]);
});
