/** The SDK's client in a page of another origin, in Chromium: through the proxy it works with servers that do no CORS. */

import { createServer } from 'node:http';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { openTab, startBrowser } from '../house/browser.ts';
import { type Flow, startFlow, startProxy } from '../house/flow.ts';
import { until } from '../house/until.ts';
import { type McpPage, servePage } from '../house/mcp-page.ts';

let browser: Browser | undefined;
let site: McpPage;
beforeAll(async () => {
  browser = await startBrowser();
  site = await servePage();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await site.close();
});
beforeEach(({ skip }) => {
  if (browser === undefined) skip('there is no Chromium');
});

const ELSEWHERE = ['--allowed-origin', 'https://elsewhere.example'];

async function begin(flags: readonly string[]): Promise<Flow> {
  const flow = await startFlow({ backends: ['a', 'b'], flags: ['--hold-seconds', '1', ...flags] });
  onTestFinished(() => flow.close());
  return flow;
}

async function visit(): Promise<Page> {
  if (browser === undefined) throw new Error('No browser');
  const { page, complaints, close } = await openTab(browser);
  onTestFinished(close);
  await page.goto(site.origin);
  await until(`the page is ready: ${complaints.join()}`, async () => (await page.title()) === 'ready');
  return page;
}

const run = (page: Page, code: string) => page.evaluate(`mcp.${code}`);
const POST = (body: object, id?: string) => ({
  method: 'POST',
  headers: {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    ...(id !== undefined && { 'mcp-session-id': id, 'mcp-protocol-version': '2025-11-25' }),
  },
  body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...body }),
});
const TASK = z.object({ taskId: z.string() });
const PING = { method: 'ping' };

test('with --cors: connects, calls, outlives its server, and reads 404 and 503', async () => {
  const flow = await begin([...ELSEWHERE, '--cors', site.origin]);
  const page = await visit();
  const id = String(await run(page, `open(${JSON.stringify(flow.url)})`));
  const { taskId: home } = TASK.parse(await run(page, "call('ping')"));
  const call = run(page, "call('safe_effect', { key: 'long', ms: 1500 })");
  await flow.begun('long');
  await flow.kill(home);
  const other = home === 'a' ? 'b' : 'a';
  expect(await call).toMatchObject({ taskId: other });
  expect(await run(page, "call('ping')")).toMatchObject({ taskId: other });

  expect(await run(page, 'end()')).toBeUndefined();
  expect(await run(page, `ask(${JSON.stringify(flow.url)}, ${JSON.stringify(POST(PING, id))})`)).toMatchObject({
    status: 404,
    text: expect.stringContaining('Session not found'),
  });
  await run(page, `open(${JSON.stringify(flow.url)})`);
  await flow.kill(other);
  expect(await run(page, 'failure()')).toMatchObject({ code: 503 });
  expect(await run(page, `ask(${JSON.stringify(flow.url)}, ${JSON.stringify(POST(PING, 'unknown'))})`)).toMatchObject({
    status: 404,
  });
  const opening = POST({ method: 'initialize', params: {} });
  expect(await run(page, `ask(${JSON.stringify(flow.url)}, ${JSON.stringify(opening)})`)).toMatchObject({
    status: 503,
    fields: { 'retry-after': '1' },
  });
});

test('without it: a server that does no CORS cannot be used, but our own answers can be read', async () => {
  const flow = await begin([]);
  const page = await visit();
  await expect(run(page, `open(${JSON.stringify(flow.url)})`)).rejects.toThrow('Failed to fetch');
  await flow.kill('a');
  await flow.kill('b');
  const asked = `ask(${JSON.stringify(flow.url)}, ${JSON.stringify(POST(PING, 'unknown'))})`;
  expect(await run(page, asked)).toMatchObject({ status: 404 });
});

test('an origin that is not allowed is refused', async () => {
  const flow = await begin(ELSEWHERE);
  const page = await visit();
  await expect(run(page, `open(${JSON.stringify(flow.url)})`)).rejects.toThrow('Failed to fetch');
});

test('a server that does CORS itself works with --cors and without', async () => {
  const server = createServer((request, response) => {
    const { origin = '' } = request.headers;
    response.setHeader('Access-Control-Allow-Origin', origin);
    response.setHeader('Access-Control-Allow-Headers', 'content-type, mcp-session-id, mcp-protocol-version');
    response.setHeader('Access-Control-Expose-Headers', 'mcp-session-id');
    if (request.method === 'OPTIONS') response.writeHead(204).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","id":1,"result":{}}');
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const address = server.address();
  const origin = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
  const page = await visit();
  for (const flags of [[], ['--cors', site.origin]]) {
    const proxy = await startProxy([origin], flags);
    onTestFinished(() => proxy.stop());
    const asked = `ask(${JSON.stringify(proxy.url)}, ${JSON.stringify(POST(PING))})`;
    expect(await run(page, asked)).toMatchObject({ status: 200 });
  }
});
