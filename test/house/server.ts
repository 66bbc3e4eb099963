/** The sample server with tools whose runs are counted in a file that outlives a kill -9, and that die when they are told. */

import { subscribe } from 'node:diagnostics_channel';
import { appendFileSync } from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { DemoOptions } from '../../server/demo/app.ts';
import { serve } from '../../server/demo/serve.ts';
import { answer } from '../../server/demo/tools.ts';

const ledger = process.env['LEDGER'];
if (ledger === undefined) throw new Error('LEDGER: expected a file, got nothing');

const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`;
const STREAM = 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n';
const LOG = '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"last words"}}';
/** What is still sent of the answer before the process kills itself. */
const LAST_BYTES = {
  'before the answer': '',
  'in the headers': 'HTTP/1.1 200 OK\r\ncontent-ty',
  'in a body': 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"jsonrpc":',
  'after the headers': STREAM,
  'in an event': STREAM + chunk('event: message\ndata: {"jsonrpc":"2.0","id"'),
  'between events': STREAM + chunk(`event: message\ndata: ${LOG}\n\n`),
};
const MOMENTS = z.enum([
  'before the answer',
  'in the headers',
  'in a body',
  'after the headers',
  'in an event',
  'between events',
]);

/** Set by `die`: when the run of the next POST is to be cut. */
let moment: keyof typeof LAST_BYTES | undefined;
let dying: (() => void) | undefined;

/** From here on nothing is sent on that POST's connection but the last bytes. */
subscribe('http.server.request.start', (message) => {
  if (moment === undefined || typeof message !== 'object' || message === null || !('request' in message)) return;
  const { request } = message;
  if (!(request instanceof IncomingMessage) || request.method !== 'POST') return;
  const { socket } = request;
  const bytes = LAST_BYTES[moment];
  const write = socket.write.bind(socket);
  socket.write = () => true;
  const end = () => process.kill(process.pid, 'SIGKILL');
  dying = () => void (bytes === '' ? end() : write(bytes, end));
});

/** What `/mcp` is redirected to with 307, `HOST` being the request's, as mounts of Starlette and FastAPI do. */
const elsewhere = process.env['REDIRECT'];
if (elsewhere !== undefined) subscribe('http.server.request.start', (message) => redirect(message, elsewhere));

function redirect(message: unknown, location: string): void {
  if (typeof message !== 'object' || message === null || !('request' in message && 'response' in message)) return;
  const { request, response } = message;
  if (!(request instanceof IncomingMessage && response instanceof ServerResponse) || request.url !== '/mcp') return;
  request.url = '/nowhere';
  const writeHead = response.writeHead.bind(response);
  response.writeHead = () => {
    response.setHeader('location', location.replace('HOST', request.headers.host ?? ''));
    return writeHead(307);
  };
}

/** `effect` must never run twice; `safe_effect` says that it may. Both write their line before anything else. */
const offerEffects: DemoOptions['extend'] = (server, task) => {
  const inputSchema = { key: z.string().regex(/^[^\t\n]+$/), ms: z.int().min(0).default(0) };
  const run = async ({ key, ms }: { key: string; ms: number }) => {
    appendFileSync(ledger, `${key}\t${task.id}\n`);
    dying?.();
    if (ms > 0) await delay(ms);
    return answer(task, `effect=${key}`, { key });
  };
  server.registerTool('effect', { inputSchema }, run);
  server.registerTool('safe_effect', { inputSchema, annotations: { idempotentHint: true } }, run);
  server.registerTool('die', { inputSchema: { when: MOMENTS } }, ({ when }) => {
    moment = when;
    return answer(task, `dies=${when}`);
  });
  offerLoads(server, task);
  let initialized = false;
  server.server.oninitialized = () => {
    initialized = true;
  };
  server.registerTool('told', {}, () => answer(task, `initialized=${initialized}`));
};

/** Milliseconds that a client has for a question: it may have been lost with the stream it was sent on. */
const QUESTION_MS = 5_000;

/** `effect` with long arguments and answers, and questions beside elicitation, on the call's own stream or the session's. */
function offerLoads(...[server, task]: Parameters<NonNullable<DemoOptions['extend']>>): void {
  const inputSchema = { key: z.string(), text: z.string().default(''), bytes: z.int().min(0).default(0) };
  const run = ({ key, bytes }: { key: string; bytes: number }) => {
    appendFileSync(ledger!, `${key}\t${task.id}\n`);
    return answer(task, `effect=${key} ${'x'.repeat(bytes)}`, { key });
  };
  server.registerTool('load', { inputSchema }, run);
  server.registerTool('safe_load', { inputSchema, annotations: { idempotentHint: true } }, run);
  const about = { what: z.enum(['sampling', 'roots']), listening: z.boolean() };
  server.registerTool('ask', { inputSchema: about }, async ({ what, listening }, { requestId }) => {
    const how = { timeout: QUESTION_MS, ...(!listening && { relatedRequestId: requestId }) };
    const asked = what === 'roots' ? server.server.listRoots({}, how) : server.server.createMessage(SAMPLING, how);
    return answer(task, await asked.then(() => 'answered').catch(() => 'unanswered'));
  });
}

const SAMPLING = {
  messages: [{ role: 'user' as const, content: { type: 'text' as const, text: 'Shall we go on?' } }],
  maxTokens: 10,
};

process.exitCode = await serve(process.env, offerEffects);
