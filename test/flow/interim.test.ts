/** Interim answers (1xx) that nobody asked for are read past, on every way to a backend, and have a bound. */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Attempt, Backend } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { newInterimFilter } from '../../proxy/wire.ts';
import { type Edge, startEdge } from '../house/edge.ts';
import { type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { post, request, said } from '../house/raw.ts';
import { RecordingSink, call, listening, note, posting, result } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon, until } from '../house/until.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
const HINTS = 'HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\nx: y\r\n\r\n';
const ODD = 'HTTP/1.1 199\r\n\r\n';
const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}';
const LOST = '502 -32000: The server was lost while it worked on this request: the outcome is unknown';

describe('what is left of bytes', () => {
  /** All at once, and byte by byte. */
  function left(text: string): readonly (string | undefined)[] {
    return [[text], text.split('')].map((pieces) => {
      const filter = newInterimFilter();
      filter.begin();
      let all = '';
      for (const piece of pieces) {
        const passed = filter.pass(Buffer.from(piece, 'latin1'));
        if (passed === 'too much') return undefined;
        all += passed.toString('latin1');
      }
      return all + filter.end().toString('latin1');
    });
  }
  const same = (text: string | undefined): readonly (string | undefined)[] => [text, text];

  test.each([
    ['an answer', ANSWER, ANSWER],
    ['one before', CONTINUE + ANSWER, ANSWER],
    ['several', CONTINUE + HINTS + ODD + CONTINUE + ANSWER, ANSWER],
    ['a hundred', CONTINUE.repeat(100) + ANSWER, ANSWER],
    ['one more', CONTINUE.repeat(101) + ANSWER, undefined],
    ['one without end', `HTTP/1.1 102 \r\nx: ${'x'.repeat(70_000)}`, undefined],
    ['large ones', HINTS.replace('y', 'y'.repeat(30_000)).repeat(3) + ANSWER, undefined],
    ['a long answer', CONTINUE + ANSWER + 'x'.repeat(100_000), ANSWER + 'x'.repeat(100_000)],
    ['what an answer holds', ANSWER + CONTINUE + CONTINUE, ANSWER + CONTINUE + CONTINUE],
    ['a switch of protocols', CONTINUE + ANSWER.replace('200', '101'), ANSWER.replace('200', '101')],
    ['no HTTP', 'SSH-2.0-x\r\n', 'SSH-2.0-x\r\n'],
    ['half a head', `${CONTINUE}HTTP/1.1 1`, 'HTTP/1.1 1'],
    ['half an interim answer', 'HTTP/1.1 100 Cont', 'HTTP/1.1 100 Cont'],
  ])('%s', (_what, text, expected) => {
    expect(left(text)).toEqual(same(expected));
  });

  test('each answer begins anew, and nothing is taken before it', () => {
    const filter = newInterimFilter();
    const pass = (text: string): string => String(filter.pass(Buffer.from(text)));
    expect(pass(CONTINUE)).toBe(CONTINUE);
    for (let at = 0; at < 3; at += 1) {
      filter.begin();
      expect(pass(CONTINUE.repeat(60) + ANSWER)).toBe(ANSWER);
      expect(pass(CONTINUE)).toBe(CONTINUE);
    }
  });
});

describe('at the endpoint', () => {
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
  const to = (): Backend => ({ id: 'a', origin: a.origin, draining: false, suspect: false });
  async function attempt(act: (it: NastyRequest) => unknown, exchange = posting(call(1), { session })) {
    const sink = new RecordingSink();
    const sent = upstream.send(exchange, session, to(), sink);
    act(await a.next());
    return [await soon('the end', sent), sink] as const;
  }

  test.each([
    ['100', CONTINUE],
    ['103', HINTS],
    ['199', ODD],
    ['several', CONTINUE + HINTS + CONTINUE],
    ['a hundred', CONTINUE.repeat(100)],
  ])('%s', async (_what, before) => {
    const [ended, sink] = await attempt((it) => it.write(before).answer(200, result(1)));
    expect([ended, sink.body]).toEqual([{ kind: 'answered', status: 200 }, JSON.stringify(result(1))]);
    const [, stream] = await attempt((it) => it.write(before).stream().event(note('x')).end(), listening(session));
    expect(stream.texts).toEqual([expect.stringContaining(JSON.stringify(note('x')))]);
  });

  test.each<[string, (it: NastyRequest) => unknown]>([
    ['without end', (it) => it.write(CONTINUE.repeat(1000))],
    ['without end, of another kind', (it) => it.write(HINTS.repeat(1000))],
    ['and no answer', (it) => it.write(CONTINUE).die()],
    ['and garbage', (it) => it.write(`${CONTINUE}nonsense\r\n\r\n`)],
    ['that switch protocols', (it) => it.write(CONTINUE + ANSWER.replace('200', '101'))],
  ])('%s: lost', async (_what, act) => {
    const [ended, sink] = await attempt(act);
    expect(ended).toMatchObject<Partial<Attempt>>({ kind: 'lost', unanswered: [1] });
    expect(sink.shown).toBe('nothing');
  });

  test('they are no answer: one that does not follow in time is late', async () => {
    const strict = createUpstream({ answerSeconds: 0.3 });
    const sent = strict.send(posting(call(1)), undefined, to(), new RecordingSink());
    const it = await a.next();
    const trickle = setInterval(() => it.write(HINTS), 50);
    expect(await soon('the deadline', sent)).toMatchObject({ cause: { code: 'UND_ERR_HEADERS_TIMEOUT' } });
    clearInterval(trickle);
    await strict.close();
  });
});

describe('through the whole proxy', () => {
  let edge: Edge;
  beforeEach(async () => {
    edge = await startEdge();
  });
  afterEach(async () => {
    edge.assertTight();
    await edge.close();
  });

  test.each([
    // A call is answered as one.
    ['the endpoint', post(call(1)), LOST.replace('502', '200')],
    ['another path', request('GET /page'), LOST],
    ['an upload', request('POST /upload', [], 'x'.repeat(1000)), LOST],
  ])('%s', async (_what, text, lost) => {
    const before = [CONTINUE, HINTS, CONTINUE + HINTS + ODD, CONTINUE.repeat(90)];
    for (const interim of before) {
      const client = await edge.dial();
      client.send(text);
      (await edge.a.next()).write(interim).answer(200, result(1));
      const { status, body } = await client.answer();
      expect([status, body]).toEqual([200, JSON.stringify(result(1))]);
    }
    const client = await edge.dial();
    client.send(text);
    const it = await edge.a.next();
    const flood = setInterval(() => it.write(CONTINUE.repeat(50)), 1);
    expect(said(await client.answer())).toBe(lost);
    await soon('the close', it.left);
    clearInterval(flood);
  });

  test('a WebSocket', async () => {
    const upgrade = request('GET /socket', ['connection: upgrade', 'upgrade: websocket']);
    const client = await edge.dial();
    client.send(upgrade);
    const it = await edge.a.next();
    it.write(
      `${CONTINUE}${HINTS}HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello`,
    );
    expect(await client.saw('hello')).toMatch(/^HTTP\/1\.1 101 /);
    client.leave();
    const other = await edge.dial();
    other.send(upgrade);
    const flooding = await edge.a.next();
    const flood = setInterval(() => flooding.write(HINTS.repeat(50)), 1);
    expect(said(await other.answer())).toBe(LOST);
    clearInterval(flood);
  });
});

describe('connections', () => {
  test('a client that leaves leaves none behind, whatever it was in the middle of', async () => {
    const upstream = createUpstream({ answerSeconds: undefined });
    const session = newSession();
    const a = await startNasty();
    const to: Backend = { id: 'a', origin: a.origin, draining: false, suspect: false };
    const attempts: Promise<Attempt>[] = [];
    const client = new AbortController();
    const others = new AbortController();
    for (let at = 0; at < 22; at += 1) {
      const options = { signal: (at < 2 ? others : client).signal };
      const exchange = at % 2 === 0 ? posting(call(at), options) : listening(session, options);
      attempts.push(upstream.send(exchange, session, to, new RecordingSink()));
    }
    await until('all have come', () => a.requests.length === 22);
    for (const it of a.requests)
      if (it.line.startsWith('GET')) it.stream([['keep-alive', 'timeout=600']]).event(note('x'));
    client.abort();
    for (const ended of await Promise.all(attempts.slice(2))) expect(ended).toEqual({ kind: 'abandoned' });
    // What would be opened anew would be kept for seconds.
    await until('those of the others are left', () => a.connections === 2, 2000);
    for (let at = 0; at < 10; at += 1) await exchangeWith(upstream);
    expect(a.connections).toBe(2);
    others.abort();
    await upstream.close();
    await a.close();
  });

  /** One exchange elsewhere: what happens by itself has happened then. */
  async function exchangeWith(upstream: ReturnType<typeof createUpstream>): Promise<void> {
    const b = await startNasty();
    const to: Backend = { id: 'b', origin: b.origin, draining: false, suspect: false };
    const sent = upstream.send(posting(call(1)), undefined, to, new RecordingSink());
    (await b.next()).answer(200, result(1));
    await sent;
    await b.close();
  }

  test('an idle one is closed within five seconds, however long the backend would keep it', async () => {
    const upstream = createUpstream({ answerSeconds: undefined });
    const a = await startNasty();
    const to: Backend = { id: 'a', origin: a.origin, draining: false, suspect: false };
    const sent = upstream.send(posting(call(1)), undefined, to, new RecordingSink());
    (await a.next()).answer(200, result(1), [
      ['content-type', 'application/json'],
      ['keep-alive', 'timeout=600'],
    ]);
    await sent;
    expect(await until('it is closed', () => a.connections === 0, 5500)).toBe(true);
    await upstream.close();
    await a.close();
  });
});
