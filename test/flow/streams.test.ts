/** The client's listening stream outlives its homes, and a session ends when the client says so. */

import { createServer, type Server } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { type Flow, type FlowOptions, startFlow, startProxy } from '../house/flow.ts';
import { rawOpen, rawPing, rawStatus } from '../house/by-hand.ts';
import { freePort } from '../house/redis.ts';
import { CLOCK, type Talk } from '../house/talk.ts';
import { until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());
const begin = async (options?: FlowOptions): Promise<Flow> => (flow = await startFlow(options));

/** What became of the listening streams, in order. */
const streams = ({ proxies }: Flow): readonly string[] =>
  proxies.flatMap(({ events }) => events.flatMap((event) => (event.type === 'stream' ? [event.change] : [])));

async function hearUpdate(client: Talk): Promise<void> {
  const before = client.heard.updates.length;
  await client.call('touch_resource');
  await until('an update is heard', () => client.heard.updates.length > before);
}

test('a listening stream is attached to home after home, without a call of the client', async () => {
  const begun = await begin();
  const client = await begun.talk();
  await client.client.subscribeResource({ uri: CLOCK });
  await until('it listens', () => streams(begun).length === 1);
  const homes: string[] = [];
  for (let life = 0; life < 3; life += 1) {
    const home = await client.task('ping');
    homes.push(home);
    await hearUpdate(client);
    await begun.kill(home);
    await until('it listens again', () => streams(begun).filter((one) => one === 'reattached').length > life);
    await begun.revive();
  }
  await hearUpdate(client);
  expect(homes.every((home, at) => home !== homes[at + 1])).toBe(true);
  // The client itself has never seen an end of it.
  expect(streams(begun)).toEqual(['opened', 'reattached', 'reattached', 'reattached']);
  expect(client.heard.updates).toHaveLength(4);
});

test('a stream whose home is restarted in place is attached there again', async () => {
  const begun = await begin({ backends: ['a'] });
  const client = await begun.talk();
  await client.client.subscribeResource({ uri: CLOCK });
  await until('it listens', () => streams(begun).length === 1);
  await begun.backend('a').restart();
  await until('it listens again', () => streams(begun).length === 2);
  await hearUpdate(client);
  expect(streams(begun)).toEqual(['opened', 'reattached']);
});

test('the home hears at once when the client leaves its stream', async () => {
  const { url } = await begin({ backends: ['a'] });
  const { id } = await rawOpen(url);
  const leave = new AbortController();
  expect(await rawStatus(url, 'GET', id, leave.signal)).toBe(200);
  leave.abort();
  // An SDK server has one such stream: until it has seen the end of the first it answers 409.
  await until('the home takes another', async () => (await rawStatus(url, 'GET', id)) === 200);
});

test("a client's second listening stream gets its home's 409", async () => {
  const { url } = await begin({ backends: ['a'] });
  const { id } = await rawOpen(url);
  expect(await rawStatus(url, 'GET', id)).toBe(200);
  expect(await rawStatus(url, 'GET', id)).toBe(409);
  expect((await rawPing(url, id)).status).toBe(200);
});

test("a home's 405 on GET stays 405, and its session goes on", async () => {
  const home = await startDeafHome();
  const proxy = await startProxy([home.origin], []);
  try {
    const { id } = await rawOpen(proxy.url);
    expect(id).toBe('deaf');
    expect(await rawStatus(proxy.url, 'GET', id)).toBe(405);
    expect((await rawPing(proxy.url, id)).status).toBe(200);
  } finally {
    await proxy.stop();
    home.server.close();
  }
});

/** It keeps sessions, and offers no listening stream. */
async function startDeafHome(): Promise<{ readonly origin: string; readonly server: Server }> {
  const serverInfo = { name: 'deaf', version: '1' };
  const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo };
  const server = createServer((request, response) => {
    request.resume();
    if (request.method === 'GET') return response.writeHead(405, { allow: 'POST, DELETE' }).end();
    const id = request.headers['mcp-session-id'] === undefined ? 0 : 1;
    response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 'deaf' });
    return response.end(JSON.stringify({ jsonrpc: '2.0', id, result: id === 0 ? result : {} }));
  });
  const port = await freePort();
  await new Promise<void>((resolve) => void server.listen(port, '127.0.0.1', resolve));
  return { origin: `http://127.0.0.1:${port}`, server };
}

describe('DELETE', () => {
  test('ends the session at its home, and the registry forgets it', async () => {
    const { talk, url, sessionsAt } = await begin({ backends: ['a'] });
    const client = await talk();
    const { sessionId } = client;
    expect(await sessionsAt('a')).toBe(1);
    await client.transport.terminateSession();
    expect(await sessionsAt('a')).toBe(0);
    expect((await rawPing(url, sessionId)).status).toBe(404);
  });

  test('ends the open stream of the session', async () => {
    const { url } = await begin({ backends: ['a'] });
    const { id } = await rawOpen(url);
    const stream = await fetch(url, { headers: { accept: 'text/event-stream', 'mcp-session-id': id } });
    expect(stream.status).toBe(200);
    expect(await rawStatus(url, 'DELETE', id)).toBe(200);
    await stream.text();
    expect(await rawStatus(url, 'GET', id)).toBe(404);
  });

  test('when the home is dead: 200, and the session is over', async () => {
    const { talk, url, kill, proxies } = await begin({ backends: ['a', 'b'] });
    const client = await talk();
    const { sessionId } = client;
    await kill(await client.task('ping'));
    await client.transport.terminateSession();
    expect((await rawPing(url, sessionId)).status).toBe(404);
    expect(await rawStatus(url, 'DELETE', sessionId)).toBe(404);
    const ended = proxies[0]?.events.filter((event) => event.type === 'session' && event.change === 'ended');
    expect(ended).toHaveLength(1);
  });

  test('after a migration ends the session at the new home', async () => {
    const { talk, url, kill, sessionsAt } = await begin({ backends: ['a', 'b'] });
    const client = await talk();
    await kill(await client.task('ping'));
    const home = await client.task('ping');
    expect(await sessionsAt(home)).toBe(1);
    const { sessionId } = client;
    await client.transport.terminateSession();
    expect(await sessionsAt(home)).toBe(0);
    expect((await rawPing(url, sessionId)).status).toBe(404);
  });
});
