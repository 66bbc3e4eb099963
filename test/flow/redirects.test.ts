/** Backends that answer the MCP endpoint with a redirect to another path of their own: the proxy follows, no client sees it. */

import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Attempt, Backend, Exchange, Session } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { INITIALIZE, greet, startEdge } from '../house/edge.ts';
import { type Flow, startFlow } from '../house/flow.ts';
import { type Field, type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { post, request } from '../house/raw.ts';
import { RecordingSink, call, listening, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import type { Talk } from '../house/talk.ts';
import { soon, until } from '../house/until.ts';

const upstream = createUpstream({
  answerSeconds: undefined,
  backendHost: 'keep',
  origins: () => ['http://10.9.9.9:3000'],
});
const session = newSession();
let a: Nasty;
beforeEach(async () => {
  a = await startNasty();
});
afterEach(() => a.close());

function send(
  exchange: Exchange,
  of: Session | undefined = session,
): { sink: RecordingSink; attempt: Promise<Attempt> } {
  const sink = new RecordingSink();
  const to: Backend = { id: a.id, origin: a.origin, draining: false, suspect: false };
  return { sink, attempt: soon('the end of the attempt', upstream.send(exchange, of, to, sink)) };
}
const at = (target: string, of = posting(call(1), { session })): Exchange => ({ ...of, target });
const lines = (): readonly string[] => a.requests.map(({ line }) => line.replace(' HTTP/1.1', ''));

function redirect(it: NastyRequest, location: string, status = 307): void {
  it.answer(status, '', [['location', location]]);
}

describe('is followed, with method, fields and body', () => {
  const FORMS: readonly (readonly [what: string, location: () => string, fields: readonly string[]])[] = [
    ['a path', () => '/mcp/', []],
    ['a path beside', () => 'mcp/', []],
    ['its own origin', () => `${a.origin}/mcp/`, []],
    ['its own address, with another scheme', () => `${a.origin.replace('http:', 'https:')}/mcp/`, []],
    ['without a scheme', () => `//${a.id}/mcp/`, []],
    ['the Host that it was told', () => 'http://mcp.test/mcp/', []],
    ['the same, in capitals and with the port of its scheme', () => 'https://MCP.TEST:443/mcp/', []],
    ['the outer Host', () => 'https://mcp.example.com/mcp/', ['x-forwarded-host', 'mcp.example.com']],
    ['the outer port', () => 'http://mcp.test:8443/mcp/', ['x-forwarded-port', '8443']],
    ['with a fragment', () => '/mcp/#top', []],
  ];
  test.each(FORMS)('%s', async (_what, location, fields) => {
    const { sink, attempt } = send(posting(call(1), { session, headers: ['x-own', '1', ...fields] }));
    const first = await a.next();
    redirect(first, location());
    const second = await a.next();
    second.answer(200, result(1));
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect([sink.status, sink.body]).toEqual([200, JSON.stringify(result(1))]);
    expect(lines()).toEqual(['POST /mcp', 'POST /mcp/']);
    expect([second.body, second.fields]).toEqual([first.body, first.fields]);
  });

  test('308 and three hops; later requests of any kind go there at once', async () => {
    const { attempt } = send(posting(call(1), { session }));
    redirect(await a.next(), '/b', 308);
    redirect(await a.next(), '/c', 307);
    redirect(await a.next(), '/d/', 308);
    (await a.next()).answer(200, result(1), [
      ['content-type', 'application/json'],
      ['mcp-session-id', 'x'],
    ]);
    await attempt;
    for (const exchange of [posting(call(2), { session }), { ...listening(session), method: 'DELETE' }]) {
      const { attempt: next } = send(exchange);
      (await a.next()).answer(200, result(2));
      await next;
    }
    const { attempt: listened } = send(listening(session));
    (await a.next()).stream().end();
    await listened;
    expect(lines()).toEqual(['POST /mcp', 'POST /b', 'POST /c', 'POST /d/', 'POST /d/', 'DELETE /d/', 'GET /d/']);
  });

  test('a query is the one that Location names; later ones keep their own', async () => {
    const { attempt } = send(at('/mcp?key=1'));
    redirect(await a.next(), '/mcp/?key=1');
    (await a.next()).answer(200, result(1));
    await attempt;
    const { attempt: other } = send(at('/mcp?key=2'));
    redirect(await a.next(), '/mcp?key=3');
    (await a.next()).answer(200, result(1));
    await other;
    expect(lines().map((line) => line.slice(5))).toEqual(['/mcp?key=1', '/mcp/?key=1', '/mcp/?key=2', '/mcp?key=3']);
  });

  test.each([
    [
      'that never ends',
      (it: NastyRequest) =>
        it
          .head(307, [
            ['location', '/mcp/'],
            ['content-length', '9'],
          ])
          .write('x'),
    ],
    [
      'without end',
      (it: NastyRequest) => {
        it.head(307, [
          ['location', '/mcp/'],
          ['transfer-encoding', 'chunked'],
        ]);
        void it.flood('x'.repeat(16_384), 64);
      },
    ],
    [
      'that breaks',
      (it: NastyRequest) =>
        it
          .head(307, [
            ['location', '/mcp/'],
            ['content-length', '9'],
          ])
          .reset(),
    ],
  ] as const)('a redirect with a body %s', async (_what, act) => {
    const { attempt } = send(posting(call(1), { session }));
    const first = await a.next();
    act(first);
    (await a.next()).answer(200, result(1));
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    await soon('the close', first.left);
  });

  test('a client that leaves in the middle leaves all of it', async () => {
    const client = new AbortController();
    const { attempt } = send(posting(call(1), { session, signal: client.signal }));
    redirect(await a.next(), '/mcp/');
    const second = await a.next();
    client.abort();
    expect(await attempt).toEqual({ kind: 'abandoned' });
    await soon('the close', second.left);
  });
});

describe('what was learnt is forgotten', () => {
  async function learn(): Promise<void> {
    const { attempt } = send(posting(call(1), { session }));
    redirect(await a.next(), '/mcp/');
    (await a.next()).answer(200, result(1));
    await attempt;
  }

  test('by a 404 there, which is an answer like any other', async () => {
    await learn();
    const { attempt } = send(posting(call(2), { session }));
    (await a.next()).answer(404);
    expect((await attempt).kind).toBe('doubtful');
    const { attempt: next } = send(posting(call(3), { session }));
    (await a.next()).answer(200, result(3));
    await next;
    expect(lines().slice(2)).toEqual(['POST /mcp/', 'POST /mcp']);
  });

  test('an initialize, and a GET, are asked at the old place at once', async () => {
    for (const of of [
      { ...posting(call(1)), intent: { kind: 'open', initialize: call(1) } } as const,
      listening(session),
    ]) {
      await learn();
      const before = a.requests.length;
      const { attempt } = send(of);
      (await a.next()).answer(404);
      (await a.next()).answer(200, result(1));
      expect(await attempt).toEqual({ kind: 'answered', status: 200 });
      expect(
        lines()
          .slice(before)
          .map((line) => line.split(' ')[1]),
      ).toEqual(['/mcp/', '/mcp']);
    }
  });

  test('by a redirect back', async () => {
    await learn();
    const { attempt } = send(posting(call(2), { session }));
    redirect(await a.next(), '/mcp');
    (await a.next()).answer(200, result(2));
    await attempt;
    const { attempt: next } = send(posting(call(3), { session }));
    (await a.next()).answer(200, result(3));
    await next;
    expect(lines().slice(2)).toEqual(['POST /mcp/', 'POST /mcp', 'POST /mcp']);
  });

  test('a page to log in at does not become the place for all', async () => {
    for (const fields of [[['content-type', 'text/html']], [['content-type', 'application/json']]] as Field[][]) {
      const { attempt } = send(posting(call(1)), undefined);
      redirect(await a.next(), '/login');
      (await a.next()).answer(200, '{}', fields);
      await attempt;
    }
    expect(lines()).toEqual(['POST /mcp', 'POST /login', 'POST /mcp', 'POST /login']);
  });
});

describe('is the client’s, without an address of the inside', () => {
  const CASES: readonly (readonly [what: string, status: number, location: () => string, shown: readonly string[]])[] =
    [
      ['301 to its own origin', 301, () => `${a.origin}/x?y#z`, ['/x?y#z']],
      ['302 to the Host', 302, () => 'http://mcp.test/x', ['/x']],
      ['303 to where it listens', 303, () => `http://0.0.0.0:${a.port}/x`, ['/x']],
      ['303, a path', 303, () => '/x', ['/x']],
      ['307 to another backend', 307, () => 'http://10.9.9.9:3000/mcp/', ['/mcp/']],
      ['307 to another port of its machine', 307, () => 'http://127.0.0.1:1/mcp/', []],
      ['307 to a private address', 307, () => 'http://192.168.7.7/mcp/', []],
      ['307 to what is no URL', 307, () => 'http://10.0.0.1:99999/', []],
      ['307 to elsewhere', 307, () => 'https://login.example.com/x', ['https://login.example.com/x']],
      ['307 to the same place over TLS', 307, () => 'https://mcp.test/mcp', ['https://mcp.test/mcp']],
      ['307 to an application', 307, () => 'cursor://callback?code=1', ['cursor://callback?code=1']],
      ['307 with a user', 307, () => `http://me@${a.id}/mcp/`, ['/mcp/']],
      ['a path that looks like a host', 302, () => `${a.origin}//evil.test/`, ['/.//evil.test/']],
    ];
  test.each(CASES)('%s', async (_what, status, location, shown) => {
    const { sink, attempt } = send(posting(call(1), { session }));
    redirect(await a.next(), location(), status);
    expect(await attempt).toEqual({ kind: 'answered', status });
    expect(sink.headers.filter((_value, n) => sink.headers[n - 1] === 'location')).toEqual(shown);
    expect(a.requests.length).toBe(1);
  });

  test('in WWW-Authenticate the backend goes by the name that the client has used', async () => {
    const way = ['x-forwarded-host', 'mcp.example.com:8443', 'x-forwarded-proto', 'https'];
    const { sink, attempt } = send(posting(call(1), { session, headers: way }));
    const challenge = (origin: string): string =>
      `Bearer resource_metadata="${origin}/.well-known/x", authorization_uri="https://login.example.com/a"`;
    (await a.next()).answer(401, '', [['WWW-Authenticate', challenge(a.origin)]]);
    await attempt;
    expect(sink.headers).toContain(challenge('https://mcp.example.com:8443'));
  });

  test('the fourth hop', async () => {
    const { sink, attempt } = send(posting(call(1), { session }));
    for (const path of ['/1', '/2', '/3', '/4']) redirect(await a.next(), a.origin + path);
    expect(await attempt).toEqual({ kind: 'answered', status: 307 });
    expect(sink.headers).toContain('/4');
    expect(lines()).toEqual(['POST /mcp', 'POST /1', 'POST /2', 'POST /3']);
  });
});

test('a new home that sends a migrating session elsewhere is not suspect, and its answer is the client’s', async () => {
  const b = await startNasty();
  const edge = await startEdge({ others: [b.origin] });
  onTestFinished(async () => {
    await edge.close();
    await b.close();
  });
  const opener = await edge.dial();
  opener.send(post({ ...INITIALIZE }));
  const first = await Promise.any([edge.a, b].map(async (one) => ({ one, it: await one.next() })));
  greet(first.it, 'session-1');
  await opener.answer();
  await first.one.close();
  const other = first.one === b ? edge.a : b;
  const client = await edge.dial();
  client.send(post(call(1), 'mcp-session-id: session-1'));
  redirect(await until('it is asked', () => other.requests.at(-1)), `${other.origin}/login`, 302);
  const answer = await client.answer();
  expect([answer.status, /location: .*/i.exec(answer.head)?.[0]]).toEqual([302, 'location: /login']);
  const suspects = edge.events.flatMap((event) => (event.type === 'suspect' ? [event.backend] : []));
  expect(suspects).not.toContain(other.id);
  edge.assertTight();
});

test.each([
  ['its own address', () => `http://127.0.0.1:PORT/next?x`, '/next?x'],
  ['another backend', () => 'http://127.0.0.2:65009/next', '/next'],
  [
    'the client’s own machine',
    () => 'http://127.0.0.1:33418/callback?code=1',
    'http://127.0.0.1:33418/callback?code=1',
  ],
  ['elsewhere', () => 'https://login.example.com/', 'https://login.example.com/'],
])('what is passed through leads to %s', async (_what, location, shown) => {
  const edge = await startEdge({ others: ['http://127.0.0.2:65009'] });
  onTestFinished(() => edge.close());
  const tell = (it: NastyRequest): void =>
    it.answer(302, '', [
      ['Location', location().replace('PORT', String(edge.a.port))],
      ['Content-Location', '/same'],
    ]);
  const page = await edge.dial();
  page.send(request('GET /page'));
  tell(await edge.a.next());
  const socket = await edge.dial();
  socket.send(request('GET /socket', ['connection: upgrade', 'upgrade: websocket']));
  tell(await edge.a.next());
  for (const client of [page, socket]) {
    const { status, head } = await client.answer();
    expect([status, /\nlocation: (.*)\r/i.exec(head)?.[1]]).toEqual([302, shown]);
    expect(head).toMatch(/\ncontent-location: \/same\r/i);
  }
  edge.assertTight();
});

describe.each([
  ['the Host’s', 'http://HOST/mcp/'],
  ['over TLS', 'https://HOST/mcp/'],
])('an SDK client, two proxies, three servers that redirect: %s', (_what, location) => {
  test('opens, calls and listens; kill and drain of the home lose nothing, and suspect nobody who lives', async () => {
    const flow = await startFlow({ proxies: 2, env: { REDIRECT: location } });
    onTestFinished(() => flow.close());
    const talk = await flow.talk();
    const other = await flow.join(talk, 1);
    await talk.client.subscribeResource({ uri: 'demo://clock' });
    const home = await talk.task('ping');
    expect([await talk.count(), await other.count()]).toEqual([`${home}1`, `${home}2`]);
    await flow.kill(home);
    const next = await other.task('ping');
    expect(await talk.task('ping')).toBe(next);
    await hears(flow, talk, 1);
    await flow.drain(next);
    const last = await until('it has left', async () => {
      const task = await talk.task('ping');
      return task !== next && task;
    });
    expect(await other.task('ping')).toBe(last);
    await until('the old session is deleted', async () => (await flow.sessionsAt(next)) === 0);
    await hears(flow, talk, 2);
    // Both proxies may have begun: one has won.
    expect(
      flow
        .migrations()
        .filter((one) => !one.endsWith('raced'))
        .toSorted(),
    ).toEqual([`${home} ${next} crash migrated`, `${next} ${last} drain migrated`].toSorted());
    const suspects = flow.events().flatMap((event) => (event.type === 'suspect' ? [event.backend] : []));
    expect(suspects.filter((id) => id !== new URL(flow.backend(home).origin).host)).toEqual([]);
  });
});

/** The client's stream is at its home, wherever that is. */
async function hears(flow: Flow, talk: Talk, reattached: number): Promise<void> {
  await until('it listens there', () => {
    const again = flow.events().filter((event) => event.type === 'stream' && event.change === 'reattached');
    return again.length >= reattached;
  });
  const updates = talk.heard.updates.length;
  await talk.task('touch_resource');
  await until('it hears', () => talk.heard.updates.length > updates);
}
