/** The middleware inside servers that somebody runs already, in front of them, and behind a body parser. */

import { createServer, type Server } from 'node:http';
import express, { type Express } from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { type MiddlewareOptions, createProxy, sessionAffinity } from '../../proxy/index.ts';
import type { Sessions } from '../../proxy/contract.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { createDemo } from '../../server/demo/app.ts';
import { memoryState } from '../../server/state.ts';
import { freePort } from '../house/redis.ts';
import { startServers } from '../house/servers.ts';
import { startTalk } from '../house/talk.ts';

const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of undo.splice(0).toReversed()) await close();
});

const SILENT = { logger: { write() {} } };

function listen(server: Server, port = 0): Promise<number> {
  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    });
  });
}

function stop(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

function demo(id: string): Express {
  const created = createDemo({
    task: { id, version: '1' },
    host: '127.0.0.1',
    path: '/mcp',
    stateless: false,
    sessionTtlSeconds: 60,
    clockMs: 0,
    state: memoryState(),
    storeName: 'memory',
  });
  undo.push(() => created.close());
  return created.app;
}

/** Three tasks of one server, each with the middleware in front of its own handlers. */
async function embed(sessions: Sessions) {
  const ports = await Promise.all(['a', 'b', 'c'].map(() => freePort()));
  const backends = ports.map((port) => `http://127.0.0.1:${port}`);
  const tasks = await Promise.all(
    ['a', 'b', 'c'].map(async (id, at) => {
      const affinity = sessionAffinity({ backends, sessions, holdSeconds: 2, ...SILENT });
      undo.push(() => affinity.close());
      const app = express();
      app.use('/mcp', affinity);
      app.use(demo(id));
      const server = createServer(app);
      await listen(server, ports[at]);
      undo.push(() => stop(server));
      return { id, server };
    }),
  );
  return { backends, stop: (id: string) => stop(tasks.find((task) => task.id === id)!.server) };
}

/** Round robin over the tasks that are there, as a load balancer without stickiness does. */
function roundRobin(origins: readonly string[]): { readonly fetch: typeof fetch; leave(origin: string): void } {
  const left = [...origins];
  let turn = 0;
  return {
    fetch: (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      turn += 1;
      return fetch(new URL(url.pathname, left[turn % left.length]), init);
    },
    leave: (origin) => void left.splice(left.indexOf(origin), 1),
  };
}

describe('in each of three tasks, behind round robin', () => {
  test('a conversation stays with its task, and goes on at another when that one stops', async () => {
    const sessions = memorySessions({ ttlSeconds: 60 });
    const { backends, stop: end } = await embed(sessions);
    const balancer = roundRobin(backends);
    const talk = await startTalk(`${backends[0]}/mcp`, { fetch: balancer.fetch });
    undo.push(() => talk.close());
    const before = [await talk.count(), await talk.count(), await talk.count(), await talk.count()];
    const home = before[0]!.slice(0, 1);
    expect(before).toEqual([1, 2, 3, 4].map((value) => `${home}${value}`));

    const id = talk.sessionId;
    balancer.leave(backends['abc'.indexOf(home)]!);
    await end(home);
    const next = await talk.count();
    expect(next).toMatch(/^[abc]1$/);
    expect(next).not.toBe(`${home}1`);
    expect(await talk.count()).toBe(`${next.slice(0, 1)}2`);
    expect(talk.sessionId).toBe(id);
  });

  test('a client that claims to be another task is no task', async () => {
    const { backends } = await embed(memorySessions({ ttlSeconds: 60 }));
    const answer = await fetch(`${backends[0]}/mcp`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json, text/event-stream',
        'mcp-session-id': 'nobody',
        'mcp-affinity-hop': '0'.repeat(64),
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 7, method: 'ping' }),
    });
    expect([answer.status, await answer.text()]).toEqual([508, expect.stringContaining('Loop detected')]);
  });
});

describe('in front of servers', () => {
  async function front(
    mount: (affinity: ReturnType<typeof sessionAffinity>) => Server,
    options: Partial<MiddlewareOptions> = {},
  ) {
    const servers = await startServers(['a', 'b']);
    undo.push(() => servers.close());
    const affinity = sessionAffinity({ backends: servers.origins, ...SILENT, ...options });
    undo.push(() => affinity.close());
    const server = mount(affinity);
    const port = await listen(server);
    undo.push(() => stop(server));
    const talk = await startTalk(`http://127.0.0.1:${port}/mcp`);
    undo.push(() => talk.close());
    return talk;
  }

  test.each<[string, (affinity: ReturnType<typeof sessionAffinity>) => Server]>([
    ['an Express app', (affinity) => createServer(express().use('/mcp', affinity))],
    [
      'an Express app behind express.json()',
      (affinity) => createServer(express().use(express.json()).use('/mcp', affinity)),
    ],
    ['node:http alone', (affinity) => createServer((request, response) => affinity(request, response))],
  ])('in %s', async (_where, mount) => {
    const talk = await front(mount);
    const said = [await talk.count(), await talk.count(), await talk.count()];
    expect(said).toEqual([1, 2, 3].map((value) => `${said[0]!.slice(0, 1)}${value}`));
  });
});

describe('createProxy', () => {
  test('listens, routes and closes', async () => {
    const servers = await startServers(['a', 'b']);
    undo.push(() => servers.close());
    const proxy = createProxy({ backends: servers.origins, port: 0, opsPort: 0, lameDuckSeconds: 0, ...SILENT });
    const { port, opsPort } = await proxy.listen();
    const talk = await startTalk(`http://127.0.0.1:${port}/mcp`);
    expect([await talk.count(), await talk.count()].map((said) => said.slice(1))).toEqual(['1', '2']);
    expect((await fetch(`http://127.0.0.1:${opsPort}/readyz`)).status).toBe(200);
    await talk.close();
    await proxy.close();
    await expect(fetch(`http://127.0.0.1:${port}/mcp`)).rejects.toThrow('fetch failed');
  });

  test('says everything that is wrong at once', () => {
    const wrong = { backends: ['http://10.0.0.7:3000/mcp'], holdSeconds: -1, colour: 'red' };
    expect(() => createProxy(wrong)).toThrow(
      /colour: unknown option.*backends: .*path.*holdSeconds: expected seconds/s,
    );
  });
});
