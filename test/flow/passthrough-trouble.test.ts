/** Backends that refuse, die or are not there, clients that leave, and our own end: what passes through them. */

import { Agent, get } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type TestProxy, metDead, startProxy } from '../house/flow.ts';
import { type Nasty, refusing, startNasty } from '../house/nasty.ts';
import { type RawClient, assertTight, dial, request, said } from '../house/raw.ts';
import { type Site, startSite } from '../house/site.ts';
import { soon, until } from '../house/until.ts';

const NOBODY = '503 -32000: Service unavailable: no server can take the request now, try again';
const LOST = '502 -32000: The server was lost while it worked on this request: the outcome is unknown';
const STOPPED = '503 -32000: The proxy stopped before the answer came: the outcome is unknown';

let undo: (() => Promise<unknown>)[] = [];
let secrets: string[] = [];
afterEach(async () => {
  for (const one of undo.toReversed()) await one();
  undo = [];
  assertTight(secrets);
  secrets = [];
});

async function site(name = 'a'): Promise<Site> {
  const made = await startSite(name);
  undo.push(() => made.close());
  return made;
}
async function nasty(): Promise<Nasty> {
  const made = await startNasty();
  undo.push(() => made.close());
  return made;
}
async function proxyOf(origins: readonly string[], flags: readonly string[] = []): Promise<TestProxy> {
  const made = await startProxy(origins, ['--backend-host', 'keep', ...flags]);
  undo.push(() => made.stop());
  secrets.push(...origins.map((origin) => new URL(origin).port));
  return made;
}
function client(proxy: TestProxy): Promise<RawClient> {
  return dial(Number(new URL(proxy.url).port));
}
async function ask(proxy: TestProxy, line: string, lines: readonly string[] = [], body?: string) {
  const one = await client(proxy);
  const answer = await one.send(request(line, lines, body)).answer();
  one.leave();
  return answer;
}
function outcome(proxy: TestProxy): Promise<readonly [number, string]> {
  const ended = (event: RoutingEvent) => event.type === 'exchange' && event.verb === 'other';
  return until('it is counted', () => {
    const event = proxy.events.findLast(ended);
    return event?.type === 'exchange' && ([event.status, event.outcome] as const);
  });
}

describe('a backend that refuses', () => {
  test.each(['GET', 'HEAD', 'OPTIONS', 'POST'])('a %s without a body goes to another', async (method) => {
    // A port that was given back may be given out again: all are open at once, and the one that lives before them.
    const a = await site();
    const dying = await Promise.all(Array.from({ length: 12 }, () => startNasty()));
    await Promise.all(dying.map((one) => one.close()));
    const dead = new Set(dying.map(({ origin }) => origin));
    expect(dead.size).toBe(12);
    const proxy = await proxyOf([...dead, a.origin]);
    const one = await client(proxy);
    one.send(request(`${method} /any`));
    expect(await one.saw('\r\n\r\n')).toMatch(/^HTTP\/1.1 404 /);
    one.leave();
    expect(a.asked).toEqual([`${method} /any`]);
  });

  test('one with a body does not, but the next one knows', async () => {
    const proxy = await proxyOf([await refusing()]);
    const answer = await ask(proxy, 'POST /upload', [], 'body');
    expect(said(answer)).toBe(NOBODY);
    expect(answer.head.toLowerCase()).toContain('\r\nretry-after: 1');
    await until('the next one knows', () => metDead(proxy));
    expect(await outcome(proxy)).toEqual([503, 'refused']);
  });

  test('a suspect is avoided', async () => {
    const a = await site();
    const proxy = await proxyOf([await refusing(), a.origin]);
    await until('it is met', async () => {
      await ask(proxy, 'GET /json');
      return metDead(proxy);
    });
    for (let n = 0; n < 10; n += 1) expect((await ask(proxy, 'POST /upload', [], 'body')).status).toBe(201);
  });

  test('all of them: 503', async () => {
    const proxy = await proxyOf([await refusing(), await refusing()]);
    expect(said(await ask(proxy, 'GET /json'))).toBe(NOBODY);
  });

  test('a client that still sends reads the answer', async () => {
    const proxy = await proxyOf([await refusing()]);
    const one = await client(proxy);
    one.send(request('POST /upload', ['Content-Length: 8000000'], ''));
    await one.sendAll('x'.repeat(8_000_000));
    expect(said(await one.answer())).toBe(NOBODY);
  });
});

describe('a backend that dies', () => {
  test.each(['GET', 'POST'])(
    'before its answer to a %s: the outcome is unknown, nothing goes again',
    async (method) => {
      const a = await nasty();
      const b = await nasty();
      const proxy = await proxyOf([a.origin, b.origin]);
      const asking = ask(proxy, `${method} /x`);
      const died = await until('one has it', () => [...a.requests, ...b.requests][0]);
      died.reset();
      expect(said(await asking)).toBe(LOST);
      expect(a.requests.length + b.requests.length).toBe(1);
      expect(await outcome(proxy)).toEqual([502, 'lost']);
    },
  );

  test('with nonsense for an answer', async () => {
    const a = await nasty();
    const proxy = await proxyOf([a.origin]);
    const asking = ask(proxy, 'GET /x');
    (await a.next()).write('NONSENSE\r\n\r\n');
    expect(said(await asking)).toBe(LOST);
  });

  test.each(['/half', '/half-chunked'])('in the middle of its answer: %s is cut', async (path) => {
    const a = await site();
    const proxy = await proxyOf([a.origin]);
    const one = await client(proxy);
    const all = await one.send(request(`GET ${path}`)).last();
    expect(all).toContain('half');
    expect(all).not.toContain('\r\n0\r\n\r\n');
    expect(await outcome(proxy)).toEqual([200, 'lost']);
  });

  test('with what nobody asked for: another protocol, or a coding that only the connection knows', async () => {
    const backend = await nasty();
    const proxy = await proxyOf([backend.origin]);
    for (const head of [
      'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    ]) {
      const one = await client(proxy);
      one.send(request('GET /odd'));
      (await backend.next()).write(head);
      expect(said(await one.answer())).toBe(LOST);
      one.leave();
    }
  });

  test('an answer before the whole upload is the answer', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin]);
    const one = await client(proxy);
    one.send(request('POST /refusing-upload', ['Content-Length: 1000000'], 'begun'));
    expect(await one.answer()).toMatchObject({ status: 413, body: 'too much' });
  });
});

test('fields and the reason pass byte for byte', async () => {
  const backend = await nasty();
  const proxy = await proxyOf([backend.origin]);
  const one = await client(proxy);
  one.send(request('GET /latin'));
  const odd = 'caf\u00e9 \u00c3\u00a9';
  (await backend.next()).write(
    Buffer.from(`HTTP/1.1 200 ${odd}\r\nx-odd: ${odd}\r\ncontent-length: 2\r\n\r\nok`, 'latin1'),
  );
  const { head } = await one.answer();
  expect(head).toContain(`200 ${odd}\r\n`);
  expect(head.toLowerCase()).toContain(`x-odd: ${odd.toLowerCase()}`);
  one.leave();
});

describe('a client that leaves', () => {
  test('while it waits: its request is broken off, nobody is suspected', async () => {
    const a = await nasty();
    const proxy = await proxyOf([a.origin]);
    const one = await client(proxy);
    one.send(request('GET /x'));
    const it = await a.next();
    one.leave();
    await soon('the backend to notice', it.left);
    expect(await outcome(proxy)).toEqual([499, 'abandoned']);
    expect(proxy.events.some(({ type }) => type === 'suspect')).toBe(false);
  });

  test('in the middle of its upload', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin]);
    const one = await client(proxy);
    one.send(request('POST /upload', ['Content-Length: 1000'], 'begun'));
    await until('it is there', () => a.asked.length > 0);
    one.leave();
    await until('the backend has noticed', () => a.left.includes('/upload'));
    expect(await outcome(proxy)).toEqual([499, 'abandoned']);
  });

  test('in the middle of events', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin]);
    const one = await client(proxy);
    one.send(request('GET /events'));
    (await a.events()).write('data: 1\n\n');
    await one.saw('data: 1');
    one.leave();
    await until('the backend has noticed', () => a.left.includes('/events'));
    expect(await outcome(proxy)).toEqual([499, 'abandoned']);
  });
});

describe('our own end', () => {
  test('what runs is finished, with Connection: close; events end', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin], ['--drain-seconds', '600']);
    const slow = await client(proxy);
    slow.send(request('GET /slow'));
    const listening = await client(proxy);
    listening.send(request('GET /events'));
    (await a.events()).write('data: 1\n\n');
    await listening.saw('data: 1');
    await until('both run', () => a.waiting.length === 1);
    const stopped = proxy.stop();
    expect((await listening.last()).endsWith('\r\n0\r\n\r\n')).toBe(true);
    a.waiting[0]?.end('done');
    const { status, head, body } = await slow.answer();
    expect([status, body]).toEqual([200, 'done']);
    expect(head.toLowerCase()).toContain('\r\nconnection: close');
    await soon('the end', stopped);
  });

  test('at the deadline, what has not begun gets an answer, what has is cut', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin], ['--drain-seconds', '0.2']);
    const slow = await client(proxy);
    slow.send(request('POST /slow', [], 'x'));
    const begun = await client(proxy);
    begun.send(request('GET /slow'));
    await until('both run', () => a.waiting.length === 2);
    a.waiting.find(({ req }) => req.method === 'GET')?.write('begun');
    await begun.saw('begun');
    const stopped = proxy.stop();
    expect(said(await slow.answer())).toBe(STOPPED);
    expect((await begun.last()).endsWith('0\r\n\r\n')).toBe(false);
    await soon('the end', stopped);
  });

  test('no idle connection to a backend stays', async () => {
    const a = await site();
    const proxy = await proxyOf([a.origin]);
    await ask(proxy, 'GET /json');
    await proxy.stop();
    expect(await until('it is closed', () => a.connections.open === 0)).toBe(true);
  });
});

test('--passthrough off: not found, upgrades included', async () => {
  const a = await site();
  const proxy = await proxyOf([a.origin], ['--passthrough', 'off']);
  expect(said(await ask(proxy, 'GET /json'))).toBe('404 -32000: Not found');
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
  expect(said(await ask(proxy, 'GET /echo', upgrade))).toBe('404 -32000: Not found');
  expect(a.asked).toEqual([]);
});

test('a backend that closes idle connections early loses nothing', async () => {
  const a = await site();
  const proxy = await proxyOf([a.origin]);
  const agent = new Agent({ keepAlive: true });
  const { origin } = new URL(proxy.url);
  for (let n = 0; n < 5; n += 1) {
    const status = await new Promise((resolve, reject) => {
      get(`${origin}/refusing-upload`, { agent }, (answer) => {
        answer.resume().once('end', () => resolve(answer.statusCode));
      }).once('error', reject);
    });
    expect(status).toBe(413);
  }
  agent.destroy();
});
