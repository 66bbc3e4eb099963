/** How one attempt at one backend ends: answered, unsent, gone, lost or abandoned, on real sockets. */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isTimeout } from '../../proxy/blame.ts';
import type { Attempt, Backend, Exchange, Session } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Nasty, type NastyRequest, refusing, startNasty } from '../house/nasty.ts';
import { RecordingSink, call, listening, note, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon, until } from '../house/until.ts';

const upstream = createUpstream({ answerSeconds: undefined });
const session = newSession();
let a: Nasty;
beforeAll(async () => {
  a = await startNasty();
});
afterAll(async () => {
  await upstream.close();
  await a.close();
});

const at = (origin: string): Backend => ({ id: 'a', origin, draining: false, suspect: false });

type Try = { readonly sink: RecordingSink; readonly attempt: Promise<Attempt> };
function send(exchange: Exchange, of?: Session, origin = a.origin): Try {
  const sink = new RecordingSink();
  return { sink, attempt: soon('the end of the attempt', upstream.send(exchange, of, at(origin), sink)) };
}

describe('answered', () => {
  test('with JSON', async () => {
    const { sink, attempt } = send(posting(call(1)));
    (await a.next()).answer(200, result(1));
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect([sink.status, sink.body, sink.ending]).toEqual([200, JSON.stringify(result(1)), 'end']);
  });

  test('with a stream', async () => {
    const { sink, attempt } = send(posting(call(1)));
    (await a.next()).stream().event(note('soon')).event(result(1)).end();
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect(sink.events.flatMap(({ messages }) => messages)).toEqual([note('soon'), result(1)]);
    expect(sink.ending).toBe('end');
  });

  test('with 202', async () => {
    const { sink, attempt } = send(
      posting({ jsonrpc: '2.0', method: 'notifications/initialized' }, { session }),
      session,
    );
    (await a.next()).answer(202, '', []);
    expect(await attempt).toEqual({ kind: 'answered', status: 202 });
    expect([sink.status, sink.body, sink.ending]).toEqual([202, '', 'end']);
  });

  test('with 404 by a server that lacks the method, or where there is no session', async () => {
    const missing = { jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'Method not found' } };
    const known = send(posting(call(1), { session }), session);
    (await a.next()).answer(404, missing);
    const free = send(posting(call(1)));
    (await a.next()).answer(404);
    expect([await known.attempt, known.sink.body]).toEqual([
      { kind: 'answered', status: 404 },
      JSON.stringify(missing),
    ]);
    expect([await free.attempt, free.sink.status]).toEqual([{ kind: 'answered', status: 404 }, 404]);
  });

  test('by a stream that breaks after the answer', async () => {
    const { sink, attempt } = send(posting(call(1)));
    (await a.next()).stream().event(result(1)).die();
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
    expect(sink.ending).toBe('end');
  });

  test('by a stream that ends without its answer and can be resumed', async () => {
    const { attempt } = send(posting(call(1)));
    (await a.next()).stream().event('', 'cursor-1').end();
    expect(await attempt).toEqual({ kind: 'answered', status: 200 });
  });
});

describe('unsent', () => {
  test('where nobody listens', async () => {
    const { sink, attempt } = send(posting(call(1)), undefined, await refusing());
    expect(await attempt).toMatchObject({ kind: 'unsent', blame: 'backend', cause: { code: 'ECONNREFUSED' } });
    expect(sink.shown).toBe('nothing');
  });

  test('where the name is unknown', async () => {
    const { attempt } = send(posting(call(1)), undefined, 'http://nobody.invalid:3000');
    expect(await attempt).toMatchObject({ kind: 'unsent', blame: 'backend' });
  });

  test('where the fault is ours: the backend is not blamed', async () => {
    const before = a.requests.length;
    const { attempt } = send(posting(call(1), { headers: ['x-broken', 'a\r\nb'] }));
    expect(await attempt).toMatchObject({ kind: 'unsent', blame: 'ours' });
    expect(a.requests.length).toBe(before);
  });
});

describe('doubtful', () => {
  test.each([
    '',
    'no such session',
    '{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}',
  ])('by 404 and %j, and nothing is shown', async (body) => {
    const { sink, attempt } = send(posting(call(1), { session }), session);
    (await a.next()).answer(404, body);
    expect(await attempt).toMatchObject({ kind: 'doubtful', doubt: 'strong', status: 404, unanswered: [1] });
    expect(sink.shown).toBe('nothing');
  });
});

describe('lost', () => {
  const both = [call(1), call('2')];
  const HEAD = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n';
  const CODED = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: gzip, chunked\r\n\r\n';
  type Case = readonly [how: string, act: (it: NastyRequest) => void, unanswered: readonly (number | string)[]];
  const CASES: readonly Case[] = [
    ['reset before a byte of the answer', (it) => it.reset(), [1, '2']],
    ['closed before a byte of the answer', (it) => it.die(), [1, '2']],
    ['dead in the headers', (it) => it.write('HTTP/1.1 200 OK\r\nconten').die(), [1, '2']],
    ['dead in a body', (it) => it.write(`${HEAD}[{"jsonrpc"`).die(), [1, '2']],
    ['dead after the head of a stream', (it) => it.stream().die(), [1, '2']],
    ['dead in an event', (it) => it.stream().event(result(1)).chunk('data: {"jsonrpc":"2.0","id":"2"').die(), ['2']],
    ['dead between events', (it) => it.stream().event(result(1)).event(note('x')).die(), ['2']],
    ['a stream that ends without the answer', (it) => it.stream().event(result('2')).end(), [1]],
    ['in a coding that nobody asked for', (it) => it.write(`${CODED}0\r\n\r\n`), [1, '2']],
    ['garbage', (it) => it.write('SSH-2.0-nasty\r\n').die(), [1, '2']],
    ['garbage in the chunks', (it) => it.stream().event(result(1)).write('zz\r\nnonsense\r\n'), ['2']],
  ];
  test.each(CASES)('%s', async (_how, act, unanswered) => {
    const { sink, attempt } = send(posting(both, { session }), session);
    act(await a.next());
    expect(await attempt).toMatchObject({ kind: 'lost', unanswered });
    // The corridor says how it ends.
    expect(sink.ending).toBe('open');
  });

  test('a listening stream that breaks', async () => {
    const { attempt } = send(listening(session), session);
    (await a.next()).stream().event(note('x'), '7').die();
    expect(await attempt).toMatchObject({ kind: 'lost', unanswered: [] });
  });

  const LATE: readonly (readonly [how: string, act: (it: NastyRequest) => void, code: string, ending: string])[] = [
    ['does not begin', () => {}, 'UND_ERR_HEADERS_TIMEOUT', 'open'],
    ['stops in its head', (it) => it.write('HTTP/1.1 200 OK\r\nconten'), 'UND_ERR_HEADERS_TIMEOUT', 'open'],
    ['stops after the head', (it) => it.write(HEAD), 'UND_ERR_BODY_TIMEOUT', 'open'],
    ['stops in a body', (it) => it.write(`${HEAD}[{"jsonrpc"`), 'UND_ERR_BODY_TIMEOUT', 'open'],
    ['stops in an error', (it) => it.write(HEAD.replace('200', '500')), 'UND_ERR_BODY_TIMEOUT', 'open'],
    ['stops in what passes as it comes', (it) => it.write(HEAD.replace('json', 'zip')), 'UND_ERR_BODY_TIMEOUT', 'cut'],
  ];
  test.each(LATE)('an answer that %s in time', async (_how, act, code, ending) => {
    const strict = createUpstream({ answerSeconds: 0.1 });
    const sink = new RecordingSink();
    const sent = strict.send(posting(call(1)), undefined, at(a.origin), sink);
    const it = await a.next();
    act(it);
    const attempt = await soon('the deadline', sent);
    expect(attempt).toMatchObject({ kind: 'lost', unanswered: [1], cause: { code } });
    expect(attempt.kind === 'lost' && isTimeout(attempt.cause)).toBe(true);
    expect(sink.ending).toBe(ending);
    await soon('the close', it.left);
    await strict.close();
  });

  test('an answer that breaks is not late', async () => {
    const { attempt } = send(posting(call(1)));
    (await a.next()).write(`${HEAD}[`).die();
    const ended = await attempt;
    expect(ended.kind === 'lost' && isTimeout(ended.cause)).toBe(false);
  });
});

describe('is not late', () => {
  const SECONDS = 0.3;
  let strict: ReturnType<typeof createUpstream>;
  beforeAll(() => {
    strict = createUpstream({ answerSeconds: SECONDS });
  });
  afterAll(() => strict.close());
  const longer = (times = 2) => delay(SECONDS * 1000 * times);

  test('an event stream, however long it is silent', async () => {
    const sink = new RecordingSink();
    const streams = [posting(call(1)), listening(session)].map((one) => strict.send(one, session, at(a.origin), sink));
    const its = [await a.next(), await a.next()];
    for (const it of its) it.stream([['content-encoding', 'gzip']]);
    await longer();
    for (const it of its) it.end();
    for (const ended of await Promise.all(streams)) expect(ended).toEqual({ kind: 'answered', status: 200 });
  });

  test('a body that goes on, whose client does not read for a while', async () => {
    const sink = new RecordingSink();
    const sent = strict.send(posting(call(1)), undefined, at(a.origin), sink);
    const it = await a.next();
    sink.fill();
    it.head(200, [
      ['content-type', 'application/zip'],
      ['content-length', '4'],
    ]).write('z');
    await longer(2.5);
    sink.drain();
    for (const piece of 'zzz') {
      await longer(0.5);
      it.write(piece);
    }
    expect(await soon('the end', sent)).toEqual({ kind: 'answered', status: 200 });
  });
});

describe('abandoned: the backend sees its connection close', () => {
  const MOMENTS: readonly (readonly [
    when: string,
    act: (it: NastyRequest) => void,
    seen: (sink: RecordingSink) => boolean,
  ])[] = [
    ['before the head', () => {}, () => true],
    ['in the head', (it) => it.write('HTTP/1.1 200 OK\r\nconten'), () => true],
    ['in the stream', (it) => it.stream().event(note('x')), ({ events }) => events.length > 0],
    ['in an event', (it) => it.stream().event(note('x')).chunk('data: {"json'), ({ events }) => events.length > 0],
  ];
  test.each(MOMENTS)('%s', async (_when, act, seen) => {
    for (const make of [
      (signal: AbortSignal) => posting(call(1), { signal }),
      (signal: AbortSignal) => listening(session, { signal }),
    ]) {
      const client = new AbortController();
      const { sink, attempt } = send(make(client.signal), session);
      const it = await a.next();
      act(it);
      await until('the sink has what was said', () => seen(sink));
      client.abort();
      expect(await attempt).toEqual({ kind: 'abandoned' });
      await soon('the close', it.left);
    }
  });

  test('before it was sent: the backend hears nothing', async () => {
    const before = a.requests.length;
    const { attempt } = send(posting(call(1), { signal: AbortSignal.abort() }));
    expect(await attempt).toEqual({ kind: 'abandoned' });
    expect(a.requests.length).toBe(before);
  });

  test('while the backend does not read the request', async () => {
    const deaf = await startNasty({ deaf: true });
    const client = new AbortController();
    const large = { ...call(1), params: { name: 'x'.repeat(32 * 1024 * 1024) } };
    const { attempt } = send(posting(large, { signal: client.signal }), undefined, deaf.origin);
    await until('there is a connection', () => deaf.connections === 1);
    client.abort();
    expect(await attempt).toEqual({ kind: 'abandoned' });
    await deaf.close();
  });
});

describe('a connection that is used again', () => {
  let b: Nasty;
  beforeAll(async () => {
    b = await startNasty();
  });
  afterEach(async () => b.close());

  test('and dies under the second request: lost, for its handler may have run', async () => {
    const first = send(posting(call(1)), undefined, b.origin);
    (await b.next()).answer(200, result(1));
    await first.attempt;
    // The answer's last byte frees the connection a moment later.
    await new Promise((resolve) => setImmediate(resolve));
    const second = send(posting(call(2)), undefined, b.origin);
    const it = await b.next();
    expect(b.connections).toBe(1);
    it.reset();
    expect(await second.attempt).toMatchObject({ kind: 'lost', unanswered: [2] });
    expect(b.requests.map(({ body }) => JSON.parse(body))).toEqual([call(1), call(2)]);
  });
});
