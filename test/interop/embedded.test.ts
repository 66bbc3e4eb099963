/** Somebody's stateful Express server, three tasks of it behind a load balancer, before and after the lines of the docs. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { CHILD_ENV } from '../house/child-env.ts';
import { startFront } from '../house/front.ts';
import { type Packed, installPacked } from '../house/packed.ts';
import { freePort, startRedis } from '../house/redis.ts';
import { soon, until } from '../house/until.ts';

const DOC = readFileSync(new URL('../../docs/middleware.md', import.meta.url), 'utf8');
const TASKS = 3;

/** As the SDK's documentation has it; a call tells who answers, and how often this session was called there. */
const SERVER = (lines: string) => `
import { randomUUID } from 'node:crypto';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import express from 'express';

function newServer() {
  const server = new McpServer({ name: 'somebody', version: '1.0.0' });
  let calls = 0;
  server.registerTool('count', { description: 'Counts' }, () => {
    calls += 1;
    return { content: [{ type: 'text', text: process.env.PORT + ' ' + calls }] };
  });
  return server;
}

const app = express();
app.use(express.json());
${lines}
const transports = new Map();
app.all('/mcp', async (request, response) => {
  let transport = transports.get(request.headers['mcp-session-id']);
  if (transport === undefined && request.method === 'POST' && request.body?.method === 'initialize') {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (id) => void transports.set(id, transport),
      onsessionclosed: (id) => void transports.delete(id),
    });
    await newServer().connect(transport);
  }
  if (transport !== undefined) return transport.handleRequest(request, response, request.body);
  const error = { code: -32001, message: 'Session not found' };
  response.status(404).json({ jsonrpc: '2.0', id: null, error });
});
app.listen(Number(process.env.PORT), '127.0.0.1', () => console.error('ready'));
`;

/** The blocks of code under a heading of docs/middleware.md. */
function blocks(heading: string): readonly string[] {
  const section = DOC.split(/^## /m).find((one) => one.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(/^```js\n([^]*?)^```$/gm)].map(([, code = '']) => code);
}
const [AFFINITY = '', DRAIN = ''] = blocks('Your Express server gets affinity');

let packed: Packed;
beforeAll(async () => {
  packed = await installPacked('express', '@modelcontextprotocol/sdk');
}, 180_000);
afterAll(() => packed.remove());

type Task = { readonly port: number; readonly process: ChildProcess; readonly origin: string };
type Tasks = {
  readonly all: Task[];
  /** Of the load balancer. */
  readonly url: string;
  /** Takes the task out of the load balancer's turn, and ends it; resolves with how. */
  end(port: string, signal: NodeJS.Signals): Promise<number | null>;
  start(port: string): Promise<void>;
};

async function startTasks(lines: string): Promise<Tasks> {
  const file = join(packed.folder, `server-${process.hrtime.bigint()}.js`);
  writeFileSync(file, SERVER(lines));
  const ports = await Promise.all(Array.from({ length: TASKS }, () => freePort()));
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const env = { TASKS: ports.map((port) => `http://127.0.0.1:${port}`).join(), REDIS_URL: redis.url };
  const all: Task[] = [];
  const balanced: string[] = [];

  async function begin(port: number): Promise<void> {
    const child = spawn(process.execPath, [file], {
      env: { ...CHILD_ENV, PORT: String(port), ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await until(`${port} listens`, () => {
      if (child.exitCode !== null) throw new Error(`The server ended: ${said}`);
      return said.includes('ready');
    });
    const origin = `http://127.0.0.1:${port}`;
    all.push({ port, process: child, origin });
    balanced.push(origin);
  }
  await Promise.all(ports.map(begin));
  const front = await startFront(balanced);
  onTestFinished(async () => {
    await front.close();
    for (const task of all) task.process.kill('SIGKILL');
  });
  return {
    all,
    url: front.url,
    async end(port, signal) {
      const at = all.findIndex((task) => String(task.port) === port);
      const [task] = all.splice(at, 1);
      balanced.splice(balanced.indexOf(task!.origin), 1);
      const gone = once(task!.process, 'exit');
      task!.process.kill(signal);
      const [code]: (number | null)[] = await soon('the task to end', gone, 40_000);
      return code ?? null;
    },
    start: (port) => begin(Number(port)),
  };
}

type Caller = {
  readonly sessionId: () => string | undefined;
  /** The port that answered, and the number of the call there. */
  readonly count: () => Promise<readonly [string, number]>;
};

async function connect(url: string): Promise<Caller> {
  const client = new Client({ name: 'unmodified', version: '1' });
  const transport = new StreamableHTTPClientTransport(new URL(url));
  onTestFinished(() => client.close());
  await client.connect(transport);
  return {
    sessionId: () => transport.sessionId,
    async count() {
      const { content, isError } = CallToolResultSchema.parse(await client.callTool({ name: 'count' }));
      const [, port, calls] = /^(\d+) (\d+)$/.exec(content[0]?.type === 'text' ? content[0].text : '') ?? [];
      if (isError || port === undefined) throw new Error(`Expected a count, got ${JSON.stringify(content)}`);
      return [port, Number(calls)];
    },
  };
}

/** Four calls, the server that answered them killed, and two calls; who answered is a, and after it b. */
async function outlive({ end }: Pick<Tasks, 'end'>, caller: Caller): Promise<readonly string[]> {
  const id = caller.sessionId();
  const names = new Map<string, string>();
  const said: string[] = [];
  const count = async (): Promise<string> => {
    const [port, call] = await caller.count();
    if (!names.has(port)) names.set(port, 'abc'.charAt(names.size));
    said.push(`${names.get(port)}${call}`);
    return port;
  };
  let home = '';
  for (let call = 0; call < 4; call += 1) home = await count();
  await end(home, 'SIGKILL');
  await count();
  await count();
  return [...said, caller.sessionId() === id ? 'the same session' : 'another session'];
}
const OUTLIVED = ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'the same session'];

test('as it is: the second request lands on another task, which knows no such session', async () => {
  const { url } = await startTasks('');
  await expect(connect(url)).rejects.toThrow('Session not found');
});

test('with the lines of docs/middleware.md', { timeout: 60_000 }, async () => {
  expect(
    AFFINITY.trim()
      .split('\n')
      .filter((line) => !/^(\/\/.*)?$/.test(line)).length,
  ).toBeLessThanOrEqual(6);
  const tasks = await startTasks(AFFINITY);
  expect(await outlive(tasks, await connect(tasks.url))).toEqual(OUTLIVED);
});

test('as it is, behind the proxy in one command', { timeout: 60_000 }, async () => {
  const tasks = await startTasks('');
  const backends = tasks.all.flatMap(({ origin }) => ['--backend', origin]);
  const proxy = await packed.start('npx', [
    '--no-install',
    'mcp-affinity',
    '--port',
    '0',
    '--ops-port',
    '0',
    ...backends,
  ]);
  onTestFinished(() => proxy.stop());
  expect(await outlive(tasks, await connect(`http://127.0.0.1:${proxy.port}/mcp`))).toEqual(OUTLIVED);
});

test('with the lines for a deployment: every task is replaced under clients that call on, and no call fails', async () => {
  const tasks = await startTasks(AFFINITY.replace("app.use('/mcp', affinity);", DRAIN));
  const callers = await Promise.all(Array.from({ length: 6 }, () => connect(tasks.url)));
  const ids = callers.map((caller) => caller.sessionId());
  const over = new AbortController();
  let calls = 0;
  const calling = Promise.all(
    callers.map(async (caller) => {
      while (!over.signal.aborted) {
        await caller.count();
        calls += 1;
      }
    }),
  );
  calling.catch(() => {});
  for (const port of tasks.all.map((task) => String(task.port))) {
    const before = calls;
    expect(await tasks.end(port, 'SIGTERM')).toBe(0);
    await tasks.start(port);
    await until('they call on', () => calls > before + 30);
  }
  over.abort();
  await calling;
  expect(callers.map((caller) => caller.sessionId())).toEqual(ids);
}, 120_000);

test('with discovery of its own, as docs/middleware.md has it', async () => {
  const [discovery = ''] = blocks('Your own discovery');
  const tasks = await startTasks('');
  const named = tasks.all.map(({ port }) => ({ id: `task-${port}`, address: `127.0.0.1:${port}` }));
  const program = [
    "import { createProxy } from 'mcp-affinity';",
    discovery.replace("healthPath: '/health'", 'port: 0, opsPort: 0'),
    `found(${JSON.stringify(named)});`,
    'await proxy.listen();',
  ];
  writeFileSync(join(packed.folder, 'discovery.js'), program.join('\n'));
  const proxy = await packed.start(process.execPath, ['discovery.js']);
  onTestFinished(() => proxy.stop());
  expect(await outlive(tasks, await connect(`http://127.0.0.1:${proxy.port}/mcp`))).toEqual(OUTLIVED);
});
