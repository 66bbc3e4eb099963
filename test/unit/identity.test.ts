/** Who a task says it is: on ECS, elsewhere, and when the metadata endpoint fails. */

import { createServer, type RequestListener } from 'node:http';
import { hostname } from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import { findRelease, findTaskId } from '../../server/identity.ts';

const HOST_AND_PID = `${hostname()}-${process.pid}`;
const ARN = 'arn:aws:ecs:eu-central-1:123456789012:task/demo/0f9de17a6465404e8b1b2356dc13c2f8';

const undo: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(undo.splice(0).map((close) => close()));
});

/** A task metadata endpoint; its URI is what ECS puts in the environment. */
async function metadata(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  undo.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const address = server.address();
  if (typeof address !== 'object' || !address) throw new Error('The endpoint has no port');
  return `http://127.0.0.1:${address.port}/v4/abc`;
}

const saying = (status: number, body: string): RequestListener => {
  return (request, response) => {
    response.writeHead(request.url === '/v4/abc/task' ? status : 404).end(body);
  };
};

describe('findTaskId', () => {
  test('on ECS it is the last part of the ARN', async () => {
    const uri = await metadata(saying(200, JSON.stringify({ Cluster: 'demo', TaskARN: ARN })));
    expect(await findTaskId({ ECS_CONTAINER_METADATA_URI_V4: uri })).toBe('0f9de17a6465404e8b1b2356dc13c2f8');
  });

  test('elsewhere it is the host name and the process id', async () => {
    expect(await findTaskId({})).toBe(HOST_AND_PID);
  });

  test('TASK_ID wins, and nobody is asked', async () => {
    let asked = 0;
    const uri = await metadata((_request, response) => {
      asked += 1;
      response.end(JSON.stringify({ TaskARN: ARN }));
    });
    expect(await findTaskId({ TASK_ID: 'a', ECS_CONTAINER_METADATA_URI_V4: uri })).toBe('a');
    expect(asked).toBe(0);
    expect(await findTaskId({ TASK_ID: '' })).toBe(HOST_AND_PID);
  });

  test.each([
    ['an error', saying(500, JSON.stringify({ TaskARN: ARN }))],
    ['no JSON', saying(200, '<html>')],
    ['null', saying(200, 'null')],
    ['another object', saying(200, '{"Cluster":"demo"}')],
    ['an ARN that is no string', saying(200, '{"TaskARN":7}')],
    ['an empty ARN', saying(200, '{"TaskARN":""}')],
    ['a reset', ((request) => request.destroy()) satisfies RequestListener],
    ['silence', (() => {}) satisfies RequestListener],
  ])('%s of the endpoint counts as none', async (_name, answer) => {
    const uri = await metadata(answer);
    expect(await findTaskId({ ECS_CONTAINER_METADATA_URI_V4: uri }, 200)).toBe(HOST_AND_PID);
  });

  test.each(['no url', 'http://127.0.0.1:1'])('%s as its address counts as none', async (uri) => {
    expect(await findTaskId({ ECS_CONTAINER_METADATA_URI_V4: uri })).toBe(HOST_AND_PID);
  });
});

describe('findRelease', () => {
  test('on ECS it is the revision of the task definition, a string there', async () => {
    const uri = await metadata(saying(200, JSON.stringify({ TaskARN: ARN, Family: 'mcp', Revision: '12' })));
    expect(await findRelease({ ECS_CONTAINER_METADATA_URI_V4: uri })).toBe(12);
    expect(await findRelease({ ECS_CONTAINER_METADATA_URI_V4: uri, TASK_RELEASE: '7' })).toBe(7);
  });

  test.each([{}, { TASK_RELEASE: 'v7' }, { TASK_RELEASE: '-1' }, { TASK_RELEASE: '12345678901' }])(
    '%j says nothing',
    async (env) => {
      expect(await findRelease(env)).toBeUndefined();
    },
  );

  test.each([saying(500, '{"Revision":"12"}'), saying(200, '{}'), saying(200, '{"Revision":null}'), saying(200, 'x')])(
    'nor does an endpoint that does not',
    async (answer) => {
      expect(await findRelease({ ECS_CONTAINER_METADATA_URI_V4: await metadata(answer) })).toBeUndefined();
    },
  );
});
