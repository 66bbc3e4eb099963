/** What pages of other origins are told, over raw sockets: own answers, servers with CORS and without, preflights. */

import { createServer } from 'node:http';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { sessionAffinity } from '../../proxy/index.ts';
import { type Edge, startEdge } from '../house/edge.ts';
import type { Field } from '../house/nasty.ts';
import { type RawAnswer, dial, post, request } from '../house/raw.ts';
import { call, result } from '../house/recording.ts';
import { freePort } from '../house/redis.ts';

const PAGE = 'http://page.example.com';
const ALLOWED = 'http://allowed.example.com';
const FLAGS = ['--cors', PAGE, '--allowed-origin', ALLOWED, '--max-body', '1000'];
const OWN = 'access-control-expose-headers: Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, WWW-Authenticate, Allow';
const CORS: readonly Field[] = [
  ['Access-Control-Allow-Origin', PAGE],
  ['Access-Control-Expose-Headers', 'Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, WWW-Authenticate, Allow'],
  ['Vary', 'Origin'],
];

const edges: Edge[] = [];
afterEach(async () => {
  for (const edge of edges.splice(0)) {
    edge.assertTight();
    await edge.close();
  }
});

async function begin(flags: readonly string[] = FLAGS): Promise<Edge> {
  const edge = await startEdge({ flags });
  edges.push(edge);
  return edge;
}

async function ask(port: number, text: string): Promise<RawAnswer> {
  const client = await dial(port);
  const answer = await client.send(text).answer();
  client.leave();
  return answer;
}

/** The fields of CORS, and Vary, in lower case. */
function told({ head }: RawAnswer): readonly string[] {
  return head
    .split('\r\n')
    .slice(1)
    .map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()))
    .filter((line) => /^(access-control-|vary:)/.test(line))
    .toSorted();
}
const due = (origin: string) => [`access-control-allow-origin: ${origin}`, OWN, 'vary: Origin'];
const preflight = (origin: string, path = '/mcp', fields = 'content-type,mcp-session-id,mcp-method') =>
  request(`OPTIONS ${path}`, [
    `Origin: ${origin}`,
    'Access-Control-Request-Method: POST',
    `Access-Control-Request-Headers: ${fields}`,
  ]);
const permission = (origin: string, age: string) => [
  'access-control-allow-headers: Content-Type, Accept, Authorization, Last-Event-ID, Mcp-Session-Id, Mcp-Protocol-Version, mcp-method',
  'access-control-allow-methods: GET, POST, DELETE',
  `access-control-allow-origin: ${origin}`,
  `access-control-max-age: ${age}`,
  'vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
];

describe('what the proxy answers itself', () => {
  test.each([PAGE, ALLOWED])('can be read by %s, and by no stranger', async (origin) => {
    const edge = await begin();
    await edge.open('s');
    const of = `Origin: ${origin}`;
    const answers = async (from: readonly string[]) => [
      await ask(edge.port, post('{', ...from)),
      await ask(edge.port, post(call(1), 'mcp-session-id: unknown', ...from)),
      await ask(edge.port, request('PUT /mcp', from)),
      await ask(edge.port, post('x'.repeat(2000), ...from)),
      await ask(edge.port, post(call(1), 'content-type: text/plain', ...from)),
      await ask(edge.port, request('GET /x/../mcp', from)),
    ];
    const [own, strange, none] = [
      await answers([of]),
      await answers(['Origin: http://evil.example']),
      await answers([]),
    ];
    expect(own.map(({ status }) => status)).toEqual([400, 404, 405, 413, 415, 404]);
    for (const answer of own) expect(told(answer)).toEqual(due(origin));
    expect(strange.map(({ status }) => status)).toEqual([403, 403, 403, 403, 403, 403]);
    for (const answer of [...strange, ...none]) expect(told(answer)).toEqual([]);

    const lost = ask(edge.port, post(call(1), 'mcp-session-id: s', of));
    (await edge.a.next()).reset();
    expect([(await lost).status, told(await lost)]).toEqual([200, due(origin)]);
    const passed = ask(edge.port, request('GET /page', [of]));
    (await edge.a.next()).reset();
    expect([(await passed).status, told(await passed)]).toEqual([502, due(origin)]);
    await edge.a.close();
    const refused = await ask(edge.port, post(call(1), 'mcp-session-id: s', of));
    expect([refused.status, told(refused)]).toEqual([503, due(origin)]);
    expect(refused.head.toLowerCase()).toContain('\r\nretry-after: 1');
    const elsewhere = await ask(edge.port, request('GET /page', [of]));
    expect([elsewhere.status, told(elsewhere)]).toEqual([503, due(origin)]);
    const ended = await ask(edge.port, request('DELETE /mcp', ['mcp-session-id: s', of]));
    expect([ended.status, told(ended)]).toEqual([200, due(origin)]);
  });

  test('that nobody began to answer in time', async () => {
    const edge = await begin([...FLAGS, '--answer-seconds', '0.2']);
    const late = ask(edge.port, post(call(1), `Origin: ${PAGE}`));
    await edge.a.next();
    expect([(await late).status, told(await late)]).toEqual([200, due(PAGE)]);
  });
});

describe('a server', () => {
  test('without CORS gets it for a listed origin, and for no other', async () => {
    const edge = await begin();
    for (const path of ['/mcp', '/page']) {
      const answered = async (...from: string[]) => {
        const answer = ask(edge.port, request(`GET ${path}`, from));
        (await edge.a.next()).answer(200, result(1));
        return told(await answer);
      };
      expect(await answered(`Origin: ${PAGE}`)).toEqual(due(PAGE));
      expect(await answered(`Origin: ${ALLOWED}`)).toEqual([]);
      expect(await answered()).toEqual(['vary: Origin']);
    }
  });

  test('without CORS streams to a listed origin', async () => {
    const edge = await begin();
    const client = await edge.dial();
    client.send(post(call(1), `Origin: ${PAGE}`));
    (await edge.a.next()).stream().event(result(1)).end();
    expect(told(await client.answer())).toEqual(due(PAGE));
  });

  test.each(['/mcp', '/page'])('with CORS passes as it is, at %s', async (path) => {
    const edge = await begin();
    const answer = ask(edge.port, request(`GET ${path}`, [`Origin: ${PAGE}`]));
    (await edge.a.next()).answer(200, result(1), [['content-type', 'application/json'], ...CORS]);
    expect(told(await answer)).toEqual(due(PAGE));
  });
});

describe.each(['/mcp', '/page'])('a preflight of %s', (path) => {
  test('that a server answers passes as it is', async () => {
    const edge = await begin();
    const answer = ask(edge.port, preflight(PAGE, path));
    const own: readonly Field[] = [
      ['Access-Control-Allow-Origin', PAGE],
      ['Access-Control-Allow-Headers', 'x-api-key'],
    ];
    (await edge.a.next()).answer(204, '', own);
    expect(told(await answer)).toEqual(['access-control-allow-headers: x-api-key', own[0]!.join(': ').toLowerCase()]);
  });

  test.each([204, 404, 405, 500])(
    'that a server answers with %i and no CORS is ours for a listed origin',
    async (status) => {
      const edge = await begin();
      const answer = ask(edge.port, preflight(PAGE, path));
      (await edge.a.next()).answer(status, status === 204 ? '' : { error: 'no' });
      expect([(await answer).status, (await answer).body, told(await answer)]).toEqual([
        204,
        '',
        permission(PAGE, '7200'),
      ]);
      const allowed = ask(edge.port, preflight(ALLOWED, path));
      (await edge.a.next()).answer(status);
      expect([(await allowed).status, told(await allowed)]).toEqual([status, []]);
    },
  );

  test('is ours where nobody is there, for an allowed origin', async () => {
    const edge = await begin([...FLAGS, '--hold-seconds', '600']);
    await edge.a.close();
    for (const [origin, age] of [
      [PAGE, '7200'],
      [ALLOWED, '0'],
    ] as const) {
      const answer = await ask(edge.port, preflight(origin, path));
      expect([answer.status, told(answer)]).toEqual([204, permission(origin, age)]);
    }
    const strange = await ask(edge.port, preflight('http://evil.example', path));
    expect([strange.status, told(strange)]).toEqual([403, []]);
  });

  test('is ours where the server breaks off', async () => {
    const edge = await begin();
    const answer = ask(edge.port, preflight(PAGE, path));
    (await edge.a.next()).reset();
    expect([(await answer).status, told(await answer)]).toEqual([204, permission(PAGE, '7200')]);
  });
});

test('a preflight of the endpoint is ours where the server says nothing', async () => {
  const edge = await begin();
  const answer = ask(edge.port, preflight(PAGE));
  const asked = await edge.a.next();
  expect([(await answer).status, told(await answer)]).toEqual([204, permission(PAGE, '7200')]);
  await asked.left;
});

test('a path that is nobody’s has no preflight', async () => {
  const edge = await begin();
  expect((await ask(edge.port, preflight(PAGE, '//mcp'))).status).toBe(404);
});

test('the middleware does the same', async () => {
  const port = await freePort();
  const affinity = sessionAffinity({
    backends: [`http://127.0.0.1:${port}`],
    cors: [PAGE],
    holdSeconds: 0,
    logger: { write() {} },
  });
  const server = createServer((incoming, response) => affinity(incoming, response));
  onTestFinished(async () => {
    await affinity.close();
    server.close();
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const at = typeof address === 'object' && address ? address.port : 0;
  const refused = await ask(at, post(call(1), `Origin: ${PAGE}`));
  expect([refused.status, told(refused)]).toEqual([503, due(PAGE)]);
  const allowed = await ask(at, preflight(PAGE));
  expect([allowed.status, told(allowed)]).toEqual([204, permission(PAGE, '7200')]);
  expect((await ask(at, post(call(1), 'Origin: http://evil.example'))).status).toBe(403);
});
