/** What one check finds, on real sockets. */

import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, expect, test } from 'vitest';
import { checkOf, connectCheck, pathCheck } from '../../proxy/backends/checks.ts';
import { refusing, startNasty } from '../house/nasty.ts';
import { soon } from '../house/until.ts';

const never = new AbortController().signal;
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0)) await one();
});

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(
    () => server.close(),
    () => server.closeAllConnections(),
  );
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
}

test.each([
  [200, { kind: 'well' }],
  [204, { kind: 'well' }],
  [302, { kind: 'unwell', cause: 'status 302' }],
  [404, { kind: 'unwell', cause: 'status 404' }],
  [503, { kind: 'unwell', cause: 'status 503' }],
])('a path that answers %i', async (status, expected) => {
  const asked: string[] = [];
  const origin = await serve((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.writeHead(status).end();
  });
  expect(await pathCheck('/health', 5000)(origin, never)).toEqual(expected);
  expect(asked).toEqual(['GET /health']);
});

test.each<[setting: string | undefined, host: (port: string) => string]>([
  [undefined, (port) => `localhost:${port}`],
  ['keep', (port) => `127.0.0.1:${port}`],
  ['origin', (port) => `127.0.0.1:${port}`],
  ['x.test:1', () => 'x.test:1'],
])('with backendHost %s', async (setting, host) => {
  const hosts: (string | undefined)[] = [];
  const origin = await serve((request, response) => {
    hosts.push(request.headers.host);
    response.end();
  });
  expect(await checkOf('/', 5000, setting)(origin, never)).toEqual({ kind: 'well' });
  expect(hosts).toEqual([host(new URL(origin).port)]);
});

test('the head is enough: a body that never ends is not read, and its connection closed', async () => {
  let left = (): void => {};
  const closed = new Promise<void>((resolve) => (left = resolve));
  const origin = await serve((_request, response) => {
    response.once('close', left).writeHead(200).write('for ever');
  });
  expect(await pathCheck('/', 5000)(origin, never)).toEqual({ kind: 'well' });
  await soon('the end of the connection', closed);
});

test('nobody listens', async () => {
  const origin = await refusing();
  const refused = { kind: 'refused', cause: 'ECONNREFUSED' };
  expect(await pathCheck('/', 5000)(origin, never)).toEqual(refused);
  expect(await connectCheck(5000)(origin, never)).toEqual(refused);
});

test('one that accepts and says nothing passes by TCP alone', async () => {
  const deaf = await startNasty({ deaf: true });
  undo.push(() => deaf.close());
  expect(await connectCheck(5000)(deaf.origin, never)).toEqual({ kind: 'well' });
  expect(await pathCheck('/', 50)(deaf.origin, never)).toEqual({ kind: 'silent', cause: 'no answer in 50 ms' });
});

test('one that breaks off has not answered', async () => {
  const nasty = await startNasty();
  undo.push(() => nasty.close());
  const found = pathCheck('/', 5000)(nasty.origin, never);
  (await nasty.next()).reset();
  expect(await found).toEqual({ kind: 'refused', cause: 'ECONNRESET' });
});

test.each(['//127.0.0.1:1/x', '//user@[::1]/x', '/a//b?c=http://d/'])(
  'the path %s is one of the backend',
  async (path) => {
    const asked: string[] = [];
    const origin = await serve((request, response) => {
      asked.push(`${request.headers.host} ${request.url}`);
      response.end();
    });
    expect(await pathCheck(path, 5000)(origin, never)).toEqual({ kind: 'well' });
    expect(asked).toEqual([`localhost:${new URL(origin).port} ${path}`]);
  },
);

test.each(['', 'http://', 'http://a:70000'])('an origin that is none: %j', async (origin) => {
  const refused = { kind: 'refused', cause: 'ERR_INVALID_URL' };
  expect(await pathCheck('/', 5000)(origin, never)).toEqual(refused);
  expect(await connectCheck(5000)(origin, never)).toEqual(refused);
});

test('a path that no request can have', async () => {
  const found = await pathCheck('/a b', 5000)(await refusing(), never);
  expect(found).toEqual({ kind: 'refused', cause: 'ERR_UNESCAPED_CHARACTERS' });
});

test('given up before it began, it says nothing about anybody, and asks nobody', async () => {
  const origin = await serve(() => expect.unreachable());
  for (const check of [pathCheck('/', 5000), connectCheck(5000)]) {
    expect(await check(origin, AbortSignal.abort())).toEqual({ kind: 'unknown' });
    expect(await check('', AbortSignal.abort())).toEqual({ kind: 'unknown' });
  }
});

test('given up, it says nothing about anybody', async () => {
  const deaf = await startNasty({ deaf: true });
  undo.push(() => deaf.close());
  const leaving = new AbortController();
  const found = pathCheck('/', 60_000)(deaf.origin, leaving.signal);
  leaving.abort();
  expect(await found).toEqual({ kind: 'unknown' });
});
