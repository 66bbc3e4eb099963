/** Proxies are replaced one after the other while clients call through them: no call fails, and no kept connection is reset. */

import { Agent, request as ask } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { rawOpen } from '../house/by-hand.ts';
import { startHaproxy } from '../house/haproxy.ts';
import { type ProxyProcess, startProxyProcess } from '../house/proxy-process.ts';
import { startRedis } from '../house/redis.ts';
import { startServers } from '../house/servers.ts';
import { type Talk, startTalk } from '../house/talk.ts';
import { until } from '../house/until.ts';

const CLIENTS = 20;
const KEPT = 50;
const RESTARTS = 8;
const PING = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });

/** One ping over the agent's connection; the status, and whether the connection was to be closed after it. */
function ping(agent: Agent, port: number, session: string): Promise<{ status: number; closes: boolean }> {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-session-id': session,
  };
  return new Promise((resolve, reject) => {
    const asked = ask({ port, host: '127.0.0.1', path: '/mcp', method: 'POST', agent, headers }, (answer) => {
      answer.resume().once('error', reject);
      const closes = answer.headers.connection === 'close';
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, closes }));
    });
    asked.once('error', reject).end(PING);
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

/** A client on one connection that it keeps; when that is to be closed, it connects to the other proxy. All that went wrong. */
async function keepAsking(proxies: readonly ProxyProcess[], first: number, over: AbortSignal): Promise<string[]> {
  const wrong: string[] = [];
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  let at = first;
  const portNow = () => proxies[at % proxies.length]!.port;
  const { id } = await rawOpen(`http://127.0.0.1:${portNow()}/mcp`);
  while (!over.aborted) {
    try {
      const { status, closes } = await ping(agent, portNow(), id);
      if (closes) at += 1;
      if (status !== 200) wrong.push(`status ${status}`);
    } catch (error) {
      if (codeOf(error) === 'ECONNREFUSED') at += 1;
      else wrong.push(codeOf(error));
    }
    await delay(20);
  }
  agent.destroy();
  return wrong;
}

/** An SDK client that calls on, and listens. All that went wrong. */
async function keepCalling(talk: Talk, answered: () => void, over: AbortSignal): Promise<string[]> {
  const wrong: string[] = [];
  while (!over.aborted) {
    try {
      await talk.task('ping');
      answered();
    } catch (error) {
      wrong.push(String(error));
    }
  }
  return wrong;
}

test(`${RESTARTS} restarts of two proxies`, { timeout: 90_000 }, async ({ skip }) => {
  const redis = await startRedis();
  onTestFinished(() => redis.close());
  const servers = await startServers();
  onTestFinished(() => servers.close());
  const backends = servers.origins.flatMap((origin) => ['--backend', origin]);
  const flags = ['--redis', redis.url, '--lame-duck-seconds', '0.5', '--log-level', 'warn', ...backends];
  const proxies = await Promise.all([startProxyProcess(flags), startProxyProcess(flags)]);
  for (const proxy of proxies) onTestFinished(() => proxy.close());
  const front = await startHaproxy(proxies);
  if (front === undefined) return skip('there is no HAProxy');
  onTestFinished(() => front.close());

  const talks = await Promise.all(Array.from({ length: CLIENTS }, () => startTalk(front.url)));
  for (const talk of talks) onTestFinished(() => talk.close());
  let answers = 0;
  const over = new AbortController();
  const calling = talks.map((talk) => keepCalling(talk, () => (answers += 1), over.signal));
  const kept = Array.from({ length: KEPT }, (_, at) => keepAsking(proxies, at, over.signal));
  for (let turn = 0; turn < RESTARTS; turn += 1) {
    const proxy = proxies[turn % 2]!;
    const before = answers;
    proxy.signal('SIGTERM');
    expect(await proxy.exit()).toBe(0);
    await proxy.start();
    await until('it is in use again', () => front.sendsTo(proxy.port));
    await until('clients have called meanwhile', () => answers > before + CLIENTS);
  }
  over.abort();
  expect((await Promise.all(calling)).flat()).toEqual([]);
  expect((await Promise.all(kept)).flat()).toEqual([]);
  // Each session has stayed where it was.
  expect(new Set(await Promise.all(talks.map((talk) => talk.task('ping')))).size).toBeGreaterThan(1);
  return undefined;
});
