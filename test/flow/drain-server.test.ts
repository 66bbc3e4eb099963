/** What a draining backend serves, refuses and ends, by hand: real sockets, and handlers that do as they are told. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from 'vitest';
import { createDrain, type DrainOptions } from '../../server/index.ts';
import { drained, event, PROXIED, question, reply, startStream, testDrain } from '../house/draining.ts';
import { soon, until } from '../house/until.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of undo.splice(0).toReversed()) await close();
});

const COMMENT = ': mcp-affinity hand-over\n\n';
const MARK = 'mcp-affinity-mark';
type Handler = (request: IncomingMessage, response: ServerResponse) => void;
type Sent = { session?: string; stay?: boolean; headers?: Record<string, string>; body?: unknown };

/** A backend whose handler keeps each response until the test says how it goes on. */
async function backend(options: DrainOptions = {}, handle?: Handler) {
  const drain = testDrain(options);
  const came: { readonly request: IncomingMessage; readonly response: ServerResponse }[] = [];
  let taken = 0;
  const server = await drained(
    drain,
    handle ?? ((request, response) => void came.push({ request: request.resume(), response })),
  );
  undo.push(server.close, () => drain.close());
  const send = (method: string, { session, stay, headers, body }: Sent = {}) =>
    fetch(server.origin, {
      method,
      headers: {
        ...PROXIED,
        ...(session !== undefined && { 'mcp-session-id': session }),
        ...(stay && { 'mcp-affinity-stay': '1' }),
        ...headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  const next = async () => {
    const { response } = await until('a handler runs', () => came[taken]);
    taken += 1;
    return response;
  };
  /** A request that the handler answers at once. */
  const exchange = async (method: string, sent: Sent = {}, status = 200, fields = {}) => {
    const answer = send(method, sent);
    (await next()).writeHead(status, fields).end();
    return answer;
  };
  const listenTo = async (session: string, sent: Sent = {}) => {
    const answer = send('GET', { session, ...sent });
    const response = await next();
    startStream(response);
    const text = (await answer).text();
    // Not each test waits for the end.
    text.catch(() => {});
    return { response, text };
  };
  return { drain, send, next, exchange, listenTo, origin: server.origin };
}

const outcome = (answer: Response) => [answer.status, answer.headers.get(MARK)];
const DRAINING = [421, 'draining'];
/** Whether it has resolved by now, without waiting for it. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.finally(() => {
    done = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  return done;
}

describe('requests that come through no proxy', () => {
  test('pass untouched, whatever they say', async () => {
    const { drain, origin } = await backend({ id: 'a' }, (request, response) => {
      const own = ['write', 'end', 'writeHead'].filter((name) => Object.hasOwn(response, name));
      response.end(JSON.stringify([own, Object.hasOwn(request, 'push')]));
    });
    void drain.start();
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await fetch(origin, { method, headers: { 'mcp-session-id': 's' } });
      expect([answer.status, await answer.json()]).toEqual([200, [[], false]]);
    }
  });
});

describe('the task meant', () => {
  test.each([
    ['a', 200, null],
    ['b', 421, 'misdirected'],
    ['10.0.0.7:3000', 200, null],
    ['[::1]:3000', 200, null],
  ])('%s, at a: %i', async (meant, status, mark) => {
    const { send } = await backend({ id: 'a' }, (_request, response) => void response.end());
    for (const method of ['POST', 'GET', 'DELETE']) {
      const answer = await send(method, { stay: true, headers: { 'mcp-affinity-backend': meant } });
      expect(outcome(answer)).toEqual([status, mark]);
    }
  });

  test('is anyone where no id is given', async () => {
    const { send } = await backend({}, (_request, response) => void response.end());
    expect((await send('POST', { headers: { 'mcp-affinity-backend': 'b' } })).status).toBe(200);
  });
});

describe('draining', () => {
  test('refuses what another backend can take, in JSON-RPC, and keeps the connection', async () => {
    const { drain, send, exchange } = await backend();
    await exchange('POST', { session: 's' });
    void drain.start();
    const answers = [
      await send('POST', { body: {} }),
      await send('GET'),
      await send('POST', { session: 's', body: { text: 'x'.repeat(1_000_000) } }),
      await send('GET', { session: 's' }),
      await send('POST', { session: 'unknown' }),
    ];
    for (const answer of answers) {
      expect(outcome(answer)).toEqual(DRAINING);
      expect(answer.headers.get('content-type')).toBe('application/json');
      expect(answer.headers.get('connection')).not.toBe('close');
      const error = { code: -32000, message: 'This backend is draining' };
      expect(await answer.json()).toEqual({ jsonrpc: '2.0', error, id: null });
    }
  });

  test('serves a busy session, and refuses it when it is quiet', async () => {
    const { drain, send, next, exchange } = await backend();
    const first = send('POST', { session: 's' });
    const running = await next();
    void drain.start();
    expect((await exchange('POST', { session: 's' })).status).toBe(200);
    expect((await exchange('GET', { session: 's' }, 405)).status).toBe(405);
    expect(outcome(await send('POST', { session: 'other' }))).toEqual(DRAINING);
    running.end();
    await first;
    await until('it is closed', () => running.closed);
    expect(outcome(await send('POST', { session: 's' }))).toEqual(DRAINING);
  });

  test('serves DELETE, and everything that is to stay', async () => {
    const { drain, exchange } = await backend();
    await exchange('POST', { session: 's' });
    void drain.start();
    expect((await exchange('POST', { session: 's', stay: true })).status).toBe(200);
    expect((await exchange('POST', { stay: true })).status).toBe(200);
    expect((await exchange('DELETE', { session: 's' }, 204)).status).toBe(204);
    expect((await exchange('DELETE', { session: 'unknown' }, 404)).status).toBe(404);
  });

  test('says so to the readiness check', async () => {
    const drain = testDrain();
    const { ready } = drain;
    const server = await drained(drain, (request, response) => ready(request, response));
    undo.push(server.close, () => drain.close());
    const ask = async () => {
      const answer = await fetch(server.origin);
      return [answer.status, await answer.json(), drain.draining];
    };
    expect(await ask()).toEqual([200, { status: 'ready' }, false]);
    void drain.start();
    expect(await ask()).toEqual([503, { status: 'draining' }, true]);
  });
});

describe('a listening stream', () => {
  test('of a quiet session ends with the comment, and what is written later goes nowhere', async () => {
    const { drain, listenTo, send } = await backend();
    const { response, text } = await listenTo('s');
    response.write(event({ jsonrpc: '2.0', method: 'notifications/x' }));
    const called = new Promise<void>((resolve) => {
      response.once('finish', () => {
        expect(response.write('late', () => resolve())).toBe(true);
        response.end('later');
      });
    });
    void drain.start();
    expect((await text).endsWith(`}\n\n${COMMENT}`)).toBe(true);
    await soon('the callback', called);
    expect(outcome(await send('GET', { session: 's' }))).toEqual(DRAINING);
  });

  test('ends when the session turns quiet, not before', async () => {
    const { drain, listenTo, send, next } = await backend();
    const { response, text } = await listenTo('s');
    const call = send('POST', { session: 's' });
    const running = await next();
    void drain.start();
    const other = await listenTo('t', { stay: true });
    response.write(': busy\n\n');
    expect(response.writableEnded).toBe(false);
    running.end();
    expect((await call).status).toBe(200);
    expect(await text).toBe(`: busy\n\n${COMMENT}`);
    expect(other.response.writableEnded).toBe(false);
  });

  test.each(['data: {"a":', 'data: {"a":1}', 'data: {"a":1}\n', 'data: x\r\n\r\ndata: {"a":1}\r\n'])(
    'never ends in the middle of an event: %j',
    async (part) => {
      const { drain, listenTo } = await backend();
      const { response, text } = await listenTo('s');
      const other = await listenTo('other');
      response.write(part);
      void drain.start();
      expect(await other.text).toBe(COMMENT);
      response.write('more');
      expect(response.writableEnded).toBe(false);
      response.write('\r\n\r\n');
      expect(await text).toBe(`${part}more\r\n\r\n${COMMENT}`);
    },
  );

  test('is left alone when it is none: another type, or no head yet', async () => {
    const { drain, send, next, listenTo } = await backend();
    const plain = send('GET', { session: 'p' });
    (await next()).writeHead(200, ['Content-Type', 'text/plain']).write('one');
    const late = send('GET', { session: 's' });
    const response = await next();
    const other = await listenTo('other');
    void drain.start();
    expect(await other.text).toBe(COMMENT);
    response.setHeader('Content-Type', 'text/event-stream');
    response.write(': first\n\n');
    expect(await (await late).text()).toBe(`: first\n\n${COMMENT}`);
    expect((await plain).status).toBe(200);
  });

  test('that is compressed ends as well, with a comment that is not', async () => {
    const { drain, send, next } = await backend();
    const answer = send('GET', { session: 's', headers: { 'accept-encoding': 'none' } });
    const response = await next();
    startStream(response, { 'Content-Encoding': 'x-none' });
    response.write('no blank line');
    void drain.start();
    expect(await (await answer).text()).toBe(`no blank line${COMMENT}`);
  });

  test('of many sessions end one after the other', async () => {
    const { drain, listenTo } = await backend({ graceSeconds: 1 });
    const streams = await Promise.all(Array.from({ length: 40 }, (_, index) => listenTo(`s${index}`)));
    const from = performance.now();
    void drain.start();
    const times = await Promise.all(streams.map(({ text }) => text.then(() => performance.now() - from)));
    expect(Math.max(...times) - Math.min(...times)).toBeGreaterThan(150);
    expect(Math.max(...times)).toBeLessThan(900);
  });
});

describe('an open question', () => {
  const ASKED = event(question(1));
  const asked = async () => {
    const all = await backend();
    const { response, text } = await all.listenTo('s');
    response.write(ASKED.slice(0, 30));
    response.write(Buffer.from(ASKED.slice(30)));
    void all.drain.start();
    expect((await all.exchange('POST', { session: 's', body: reply(2) })).status).toBe(200);
    expect((await all.exchange('POST', { session: 's', body: { ...reply('1') } })).status).toBe(200);
    return { ...all, response, text };
  };

  test('keeps a session busy until it is answered', async () => {
    const { exchange, text, send } = await asked();
    await exchange('POST', { session: 's', body: reply(1) }, 202);
    expect(await text).toBe(ASKED + COMMENT);
    expect(outcome(await send('POST', { session: 's' }))).toEqual(DRAINING);
  });

  test('or taken back', async () => {
    const { response, text } = await asked();
    response.write(event({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }));
    expect((await text).endsWith(COMMENT)).toBe(true);
  });

  test('survives the listening stream it was asked in', async () => {
    const { response, exchange } = await asked();
    response.end();
    await until('it is closed', () => response.closed);
    expect((await exchange('POST', { session: 's', body: {} })).status).toBe(200);
  });

  test('in a POST is closed with it', async () => {
    const { drain, send, next, listenTo } = await backend();
    const { text } = await listenTo('s');
    const call = send('POST', { session: 's' });
    const running = await next();
    startStream(running);
    running.write(ASKED);
    void drain.start();
    running.end();
    expect(await (await call).text()).toBe(ASKED);
    expect(await text).toBe(COMMENT);
  });
});

describe('the drain is over', () => {
  test('at once where nobody came', async () => {
    const said: string[] = [];
    const { drain } = await backend({ onStart: () => void said.push('start'), onDone: () => void said.push('done') });
    await soon('the end', Promise.all([drain.start(), drain.start()]), 500);
    expect(said).toEqual(['start', 'done']);
  });

  test('when each session was refused, deleted or not found, and nothing runs', async () => {
    const { drain, send, next, exchange } = await backend();
    await exchange('POST', {}, 200, { 'Mcp-Session-Id': 'opened' });
    for (const session of ['deleted', 'unfound']) await exchange('POST', { session });
    await exchange('POST', { session: 'never' }, 400);
    const running = send('POST');
    const response = await next();
    const done = drain.start();
    await exchange('DELETE', { session: 'deleted' }, 204);
    await exchange('POST', { session: 'unfound', stay: true }, 404);
    response.end();
    await running;
    expect(await settled(done)).toBe(false);
    expect(outcome(await send('POST', { session: 'opened' }))).toEqual(DRAINING);
    await soon('the end', done, 5000);
  });

  test('not while a refused session is served again, until it ends', async () => {
    const { drain, send, exchange } = await backend();
    await exchange('POST', { session: 's' });
    const done = drain.start();
    expect((await send('POST', { session: 's' })).status).toBe(421);
    expect((await exchange('POST', { session: 's', stay: true })).status).toBe(200);
    expect(await settled(done)).toBe(false);
    await exchange('DELETE', { session: 's' }, 200);
    await soon('the end', done, 5000);
  });

  test('without those that were idle too long', async () => {
    const { drain, exchange } = await backend({ sessionIdleSeconds: 0.05 });
    await exchange('POST', { session: 's' });
    const from = performance.now();
    await until('its idle life is over', () => performance.now() - from > 60);
    await expect(soon('the end', drain.start(), 500)).resolves.toBeUndefined();
  });

  test('at the deadline, whatever runs and whatever listeners throw', async () => {
    const fail = () => {
      throw new Error('of a listener');
    };
    const { drain, send, next } = await backend({ graceSeconds: 0.1, onStart: fail, onDone: fail });
    send('POST', { session: 's' }).catch(() => {});
    await next();
    await expect(soon('the end', drain.start(), 2000)).resolves.toBeUndefined();
  });

  test('when it is called off, and all pass again', async () => {
    const { drain, exchange } = await backend();
    await exchange('POST', { session: 's' });
    const done = drain.start();
    drain.close();
    drain.close();
    await soon('the end', done, 500);
    expect((await exchange('POST')).status).toBe(200);
  });
});

test.each([{ graceSeconds: -1 }, { graceSeconds: Number.NaN }, { sessionIdleSeconds: 0 }])('%o is no time', (bad) => {
  expect(() => createDrain(bad)).toThrow(RangeError);
});
