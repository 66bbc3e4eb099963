/** A draining backend with real SDK servers, body parsers and clients; and as a process that is told to stop. */

import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema, type ElicitResult } from '@modelcontextprotocol/sdk/types.js';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import type { Drain } from '../../server/index.ts';
import {
  drained,
  event,
  listen,
  type Listening,
  PROXIED,
  question,
  reply,
  sdkSessions,
  type Sessions,
  startStream,
  testDrain,
} from '../house/draining.ts';
import { startServers } from '../house/servers.ts';
import { soon, until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of undo.splice(0).toReversed()) await close();
});

type Handle = Sessions['handle'];
const LIMIT = '8mb';
const PLACES: Readonly<Record<string, (drain: Drain, handle: Handle) => Promise<Listening>>> = {
  'without a parser': (drain, handle) => drained(drain, (request, response) => void handle(request, response)),
  'without a parser, when the body has come': (drain, handle) =>
    listen((request, response) => {
      setTimeout(() => drain.middleware(request, response, () => void handle(request, response)), 15);
    }),
  'before a parser': (drain, handle) => listen(express().use(drain.middleware, express.json({ limit: LIMIT }), handle)),
  'after a parser': (drain, handle) => listen(express().use(express.json({ limit: LIMIT }), drain.middleware, handle)),
};

async function start(place: keyof typeof PLACES, sessions = sdkSessions()) {
  const drain = testDrain();
  const server = await PLACES[place]!(drain, sessions.handle);
  undo.push(server.close, () => drain.close());
  return { drain, sessions, origin: server.origin };
}

/** An SDK client, and the statuses that its requests were answered with. */
async function dial(origin: string, onQuestion: () => Promise<ElicitResult> = async () => ({ action: 'accept' })) {
  const client = new Client({ name: 'test', version: '1' }, { capabilities: { elicitation: { form: {} } } });
  client.setRequestHandler(ElicitRequestSchema, onQuestion);
  const seen: string[] = [];
  const transport = new StreamableHTTPClientTransport(new URL(origin), {
    requestInit: { headers: PROXIED },
    reconnectionOptions: {
      initialReconnectionDelay: 10,
      maxReconnectionDelay: 10,
      reconnectionDelayGrowFactor: 1,
      maxRetries: 1,
    },
    async fetch(url, init) {
      const answer = await fetch(url, init);
      seen.push(`${init?.method ?? 'GET'} ${answer.status}`);
      return answer;
    },
  });
  await client.connect(transport);
  undo.push(() => client.close());
  await until('it listens', () => seen.includes('GET 200'));
  const call = (name: string) => client.callTool({ name }).then(({ content }) => JSON.stringify(content));
  return { client, transport, seen, call };
}

describe.each(Object.keys(PLACES))('an SDK server, the middleware %s', (place) => {
  test('hands a quiet session over, and writes into the ended stream harm nobody', async () => {
    const { drain, sessions, origin } = await start(place);
    const { call, seen } = await dial(origin);
    expect(await call('ping')).toContain('pong');
    const done = drain.start();
    const { server } = sessions.servers[0]!;
    const told = () => server.sendLoggingMessage({ level: 'info', data: 'x' }).catch(() => {});
    await until('the stream is refused', async () => {
      await told();
      return seen.includes('GET 421');
    });
    await expect(call('ping')).rejects.toThrow('draining');
    await soon('the end', done);
    expect(sessions.errors).toEqual([]);
  });

  test('finishes what runs first', async () => {
    const { drain, sessions, origin } = await start(place);
    const { call, seen } = await dial(origin);
    const held = call('hold');
    await until('it runs', () => seen.filter((one) => one === 'POST 200').length > 1);
    const done = drain.start();
    expect(await call('ping')).toContain('pong');
    expect(seen).not.toContain('GET 421');
    sessions.release();
    expect(await held).toContain('held');
    await until('the stream is refused', () => seen.includes('GET 421'));
    await soon('the end', done);
  });

  test.each(['ask', 'ask_later'])('waits for the answer to its question (%s)', async (tool) => {
    const { drain, sessions, origin } = await start(place);
    const answer = Promise.withResolvers<ElicitResult>();
    const asked = Promise.withResolvers<void>();
    const { call, seen } = await dial(origin, () => {
      asked.resolve();
      return answer.promise;
    });
    const calling = call(tool);
    await soon('the question', asked.promise);
    const done = drain.start();
    expect(await call('ping')).toContain('pong');
    answer.resolve({ action: 'decline' });
    expect(await calling).toContain(tool === 'ask' ? 'decline' : 'asked');
    await until('the stream is refused', () => seen.includes('GET 421'));
    expect(sessions.said).toEqual(tool === 'ask_later' ? ['decline'] : []);
    await soon('the end', done);
  });

  test('lets a session end', async () => {
    const { drain, origin } = await start(place);
    const { transport } = await dial(origin);
    const done = drain.start();
    await transport.terminateSession();
    await expect(soon('the end', done)).resolves.toBeUndefined();
  });
});

const KIB = 1024;
const SIZES = [1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, 200 * KIB, 4 * KIB * KIB, 5 * KIB * KIB];
/** A JSON answer of so many bytes, or no JSON where it does not fit. */
function answerOf(size: number): string {
  const bare = JSON.stringify({ ...reply(1), text: '' });
  return size < bare.length ? '1'.repeat(size) : JSON.stringify({ ...reply(1), text: 'x'.repeat(size - bare.length) });
}

describe.each([
  ['without a parser', 'events'],
  ['without a parser', 'iterator'],
  ['without a parser', 'late'],
  ['without a parser, when the body has come', 'events'],
  ['without a parser, when the body has come', 'iterator'],
  ['before a parser', 'body'],
  ['after a parser', 'body'],
] as const)('a body, %s, read by %s', (place, way) => {
  /** The body as the handler has it; a GET asks a question. */
  const handle: Handle = async (request, response) => {
    if (request.method === 'GET') {
      startStream(response);
      response.write(event(question(1)));
      return;
    }
    if (way === 'late') await new Promise((resolve) => setTimeout(resolve, 20));
    if (way === 'body') return void response.end(JSON.stringify(request.body));
    const chunks: Buffer[] = [];
    const take = (chunk: Buffer) => void chunks.push(chunk);
    const pieces: AsyncIterable<Buffer> = request;
    if (way === 'iterator') for await (const piece of pieces) take(piece);
    else await new Promise((resolve) => request.on('data', take).once('end', resolve));
    response.end(Buffer.concat(chunks));
  };
  const open = async () => {
    const { drain, origin } = await start(place, { ...sdkSessions(), handle });
    const headers = { ...PROXIED, 'mcp-session-id': 's', 'content-type': 'application/json' };
    const stream = await fetch(origin, { headers });
    undo.push(() => stream.body?.cancel());
    return { drain, origin, headers };
  };

  test.each(SIZES.flatMap((size) => [[size, 'whole'] as const, [size, 'chunked'] as const]))(
    'of %i bytes, %s, is the handler’s, and heard',
    async (size, how) => {
      const { drain, origin, headers } = await open();
      const text = answerOf(size);
      const parts = async function* () {
        const cut = Math.min(7, size);
        yield Buffer.from(text.slice(0, cut));
        await new Promise((resolve) => setImmediate(resolve));
        yield Buffer.from(text.slice(cut));
      };
      const body = how === 'whole' ? text : ReadableStream.from(parts());
      const init: RequestInit = { method: 'POST', headers, body, duplex: 'half' };
      if (size === 1 && way === 'body') init.body = '[]';
      const answer = await fetch(origin, init);
      expect((await answer.text()) === (init.body === '[]' ? '[]' : text)).toBe(true);
      void drain.start();
      const heard = size > 16 && (size <= 4 * KIB * KIB || place === 'after a parser');
      const again = await fetch(origin, { ...init, body: '[]' });
      expect(again.status).toBe(heard ? 421 : 200);
    },
  );

  test('that is empty, or breaks off, is none', async () => {
    const { drain, origin, headers } = await open();
    const empty = await fetch(origin, { method: 'POST', headers, body: '' });
    expect(empty.status).toBe(200);
    const socket = connect(Number(new URL(origin).port), '127.0.0.1');
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${fields.join('')}transfer-encoding: chunked\r\n\r\n5\r\n{"id"`);
    await new Promise((resolve) => setImmediate(resolve));
    socket.destroy();
    const chunked = connect(Number(new URL(origin).port), '127.0.0.1');
    undo.push(() => chunked.destroy());
    let text = '';
    chunked.on('data', (bytes) => void (text += String(bytes)));
    chunked.write(`POST / HTTP/1.1\r\nhost: x\r\n${fields.join('')}transfer-encoding: chunked\r\n\r\n0\r\n\r\n`);
    await until('it is answered', () => text.startsWith('HTTP/1.1 200'));
    void drain.start();
    expect((await fetch(origin, { method: 'POST', headers, body: '[]' })).status).toBe(200);
  });
});

/** A process with a session that waits and a request that hangs, both through a proxy. */
const PROGRAM = `
  import { createServer } from 'node:http';
  import { createDrain } from ${JSON.stringify(new URL('../../server/index.ts', import.meta.url))};
  const say = (word) => process.stdout.write(word + '\\n');
  const options = { graceSeconds: Number(process.env.GRACE), onStart: () => say('started'), onDone: () => say('done') };
  const drain = createDrain(options);
  const handle = (request, response) => request.url === '/hang' ? say('hangs') : response.end();
  const server = createServer((request, response) => drain.middleware(request, response, () => handle(request, response)));
  server.listen(0, '127.0.0.1', () => say('port ' + server.address().port));
`;

describe('a process', () => {
  const launch = async (grace: string) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM], {
      env: { GRACE: grace },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    undo.push(() => child.kill('SIGKILL'));
    let said = '';
    child.stdout.on('data', (bytes) => void (said += String(bytes)));
    const exit = new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)));
    const port = await until('it listens', () => /port (\d+)\n/.exec(said)?.[1]);
    const send = (path: string, method = 'POST') =>
      fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { ...PROXIED, 'mcp-session-id': 's' } });
    const hears = (word: string) => until(`it says ${word}`, () => said.includes(word));
    return { child, exit, send, hears, said: () => said };
  };

  test('drains at SIGTERM, and exits with 0 when all are handed over', async () => {
    const { child, exit, send, hears, said } = await launch('20');
    expect((await send('/')).status).toBe(200);
    child.kill('SIGTERM');
    await hears('started');
    expect((await send('/')).status).toBe(421);
    expect(await soon('the exit', exit, 5000)).toBe(0);
    expect(said()).toContain('done');
  });

  test('exits with 0 at the deadline, whatever hangs', async () => {
    const { child, exit, send, hears } = await launch('0.3');
    send('/hang').catch(() => {});
    await hears('hangs');
    child.kill('SIGTERM');
    expect(await soon('the exit', exit, 5000)).toBe(0);
  });

  test('is ended by a second signal', async () => {
    const { child, exit, send, hears } = await launch('20');
    send('/hang').catch(() => {});
    await hears('hangs');
    child.kill('SIGTERM');
    await hears('started');
    child.kill('SIGTERM');
    expect(await soon('the exit', exit, 5000)).toBe('SIGTERM');
  });
});

describe('the sample server', () => {
  const launch = async (env: Record<string, string> = {}) => {
    const servers = await startServers(['a'], env);
    undo.push(() => servers.close());
    return servers.get('a');
  };

  test('hands over at SIGTERM, says so in its health, and exits with 0', async () => {
    const a = await launch();
    const { seen, call } = await dial(`${a.origin}/mcp`);
    const held = call('slow');
    await until('it runs', () => seen.filter((one) => one === 'POST 200').length > 1);
    const stopped = a.stop();
    const health = await until('it drains', async () => {
      const answer = await fetch(`${a.origin}/health`);
      return answer.status === 503 && answer.json();
    });
    expect(health).toMatchObject({ status: 'draining' });
    expect(await held).toContain('slept');
    await until('the stream is refused', () => seen.includes('GET 421'));
    expect(await stopped).toBe(0);
    expect(a.stderr).toBe('');
  });

  test('exits at the deadline', async () => {
    const a = await launch({ DRAIN_SECONDS: '1' });
    const { client } = await dial(`${a.origin}/mcp`);
    client.callTool({ name: 'slow', arguments: { ms: 60_000 } }).catch(() => {});
    expect(await soon('the end', a.stop(), 9000)).toBe(0);
  });

  test('is not another task', async () => {
    const a = await launch();
    const answer = await fetch(`${a.origin}/mcp`, { method: 'POST', headers: { 'mcp-affinity-backend': 'b' } });
    expect([answer.status, answer.headers.get('mcp-affinity-mark')]).toEqual([421, 'misdirected']);
  });
});
