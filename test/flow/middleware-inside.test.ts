/** The middleware inside somebody's server: what reaches the handlers, and tasks that were not told the same. */

import { createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import express from 'express';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type MiddlewareOptions, sessionAffinity } from '../../proxy/index.ts';
import { listen } from '../house/listen.ts';
import { dial, request as rawRequest } from '../house/raw.ts';

const PING = { jsonrpc: '2.0', id: 7, method: 'ping' };

/** An app with the middleware inside, whose task is the first of its backends; `reached`: what came to its handler. */
async function embed(options: Partial<MiddlewareOptions> = {}, others: readonly string[] = []) {
  const text: string[] = [];
  const reached: IncomingMessage[] = [];
  const own = await listen((asked, response) => app(asked, response));
  const affinity = sessionAffinity({
    backends: [`http://127.0.0.1:${own.port}`, ...others],
    logger: { write: (line) => void text.push(line) },
    ...options,
  });
  onTestFinished(() => affinity.close());
  const app = express().use('/mcp', affinity, (request, response) => {
    reached.push(request);
    response.json({ jsonrpc: '2.0', id: 7, result: {} });
  });
  const faults = () => text.filter((line) => line.includes('"msg":"fault"'));
  const ask = async (headers: Record<string, string> = {}) => {
    const url = `http://127.0.0.1:${own.port}/mcp`;
    const type = { 'content-type': 'application/json' };
    const answer = await fetch(url, { method: 'POST', headers: { ...type, ...headers }, body: JSON.stringify(PING) });
    return [answer.status, await answer.text()] as const;
  };
  return { port: own.port, origin: `http://127.0.0.1:${own.port}`, reached, faults, ask };
}

/** Names and values take turns. */
const isName = (_field: string, at: number): boolean => at % 2 === 0;

test('a target with an authority is asked for by its path alone', async () => {
  const { port, reached } = await embed();
  const client = await dial(port);
  client.send(rawRequest('POST http://evil.example/mcp?x=1', ['Content-Type: application/json'], PING));
  expect((await client.answer()).status).toBe(200);
  client.leave();
  expect(reached.map((request) => 'originalUrl' in request && request.originalUrl)).toEqual(['/mcp?x=1']);
});

test('a handler does not see what the tasks know each other by', async () => {
  const { ask, reached } = await embed();
  expect((await ask())[0]).toBe(200);
  expect(reached).toHaveLength(1);
  const seen = reached.flatMap(({ headers, rawHeaders }) => [Object.keys(headers), rawHeaders.filter(isName)]).flat();
  expect(seen.filter((name) => name.toLowerCase().includes('hop'))).toEqual([]);
  expect(seen).toContain('mcp-affinity-backend');
});

describe('tasks that were not told the same', () => {
  test('with no registry in common each would know its own sessions only', async () => {
    const { ask, faults } = await embed({}, ['http://127.0.0.1:1']);
    for (let turn = 0; turn < 3; turn += 1) {
      expect(await ask()).toEqual([503, expect.stringContaining('share no registry')]);
    }
    expect(faults()).toHaveLength(1);
  });

  test('with another secret: one hop, and no loop', async () => {
    const other = await embed({ secret: 'the secret of another' });
    const { ask } = await embed({ backends: [other.origin], secret: 'the secret of this one' });
    expect(await ask()).toEqual([508, expect.stringContaining('Loop detected')]);
    expect(other.faults()).toHaveLength(1);
  });

  test('who can make the secret still comes from where it may', async () => {
    const { ask, origin } = await embed({ allowedOrigins: ['https://good.example'] });
    const hop = createHmac('sha256', 'mcp-affinity hop')
      .update(JSON.stringify([origin]))
      .digest('hex');
    expect((await ask({ 'mcp-affinity-hop': hop }))[0]).toBe(200);
    expect((await ask({ 'mcp-affinity-hop': hop, origin: 'https://evil.example' }))[0]).toBe(403);
  });
});
