/** Where this proxy runs, asked of a metadata endpoint that answers, fails or is not there. */

import { createServer } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { findOwnZone } from '../../proxy/backends/own-zone.ts';

let close: () => void = () => {};
afterEach(() => close());

/** An endpoint that answers `/v4/abc/task` so, and everything else with 404; `undefined` never answers. */
async function endpoint(status: number, body: string | undefined): Promise<Record<string, string>> {
  const server = createServer((request, response) => {
    if (request.url !== '/v4/abc/task') response.writeHead(404).end();
    else if (body !== undefined) response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  close = () => {
    server.closeAllConnections();
    server.close();
  };
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return { ECS_CONTAINER_METADATA_URI_V4: `http://127.0.0.1:${port}/v4/abc` };
}

const TASK = { TaskARN: 'arn:aws:ecs:eu-west-1:1:task/c/0123', Family: 'proxy', AvailabilityZone: 'eu-west-1b' };

test('on ECS it is the zone of the task', async () => {
  expect(await findOwnZone(await endpoint(200, JSON.stringify(TASK)))).toBe('eu-west-1b');
});

describe('no zone, and no word', () => {
  test('elsewhere', async () => {
    expect(await findOwnZone({})).toBeUndefined();
  });

  test.each<[string, number, string | undefined]>([
    ['an error', 500, JSON.stringify(TASK)],
    ['no JSON', 200, 'hello'],
    ['null', 200, 'null'],
    ['a task without a zone', 200, '{"TaskARN":"x"}'],
    ['a zone that is none', 200, '{"AvailabilityZone":7}'],
    ['an empty zone', 200, '{"AvailabilityZone":""}'],
    ['silence', 200, undefined],
  ])('%s', async (_what, status, body) => {
    expect(await findOwnZone(await endpoint(status, body), 200)).toBeUndefined();
  });

  test('nobody there', async () => {
    expect(await findOwnZone({ ECS_CONTAINER_METADATA_URI_V4: 'http://127.0.0.1:1/v4' })).toBeUndefined();
  });
});
