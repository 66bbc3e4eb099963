/** The guard of the Python SDK on loopback lets the proxy in, whatever name the client has used. */

import { request } from 'node:http';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { INITIALIZE } from '../house/edge.ts';
import { startProxy } from '../house/flow.ts';
import { pythonKinds } from '../house/foreign/kinds.ts';
import { PYTHON_MS, type Python, findPython } from '../house/foreign/python.ts';
import { startForeign } from '../house/foreign/servers.ts';

let python: Python;
beforeAll(async () => {
  python = await findPython();
}, PYTHON_MS);

test('Python SDK: 200 by default, 421 to the client’s Host', { timeout: 120_000 }, async ({ skip }) => {
  if (python.kind === 'none') return skip(python.why);
  const [kind] = pythonKinds(python);
  const servers = await startForeign((port) => kind!.start(port), ['a']);
  onTestFinished(() => servers.close());
  const statuses: (number | undefined)[] = [];
  for (const flags of [[], ['--backend-host', 'origin'], ['--backend-host', 'keep']]) {
    const proxy = await startProxy(servers.origins, ['--allowed-host', 'mcp.example.com', ...flags]);
    statuses.push(await initialize(proxy.url, 'mcp.example.com'));
    await proxy.stop();
  }
  expect(statuses).toEqual([200, 200, 421]);
});

function initialize(url: string, host: string): Promise<number | undefined> {
  const headers = { host, 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  return new Promise((resolve, reject) => {
    const asked = request(url, { method: 'POST', headers }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asked.once('error', reject).end(JSON.stringify(INITIALIZE));
  });
}
