/** The status page as text: what it says without a script, that nothing in it is taken for HTML, and how it is served. */

import { type Server, createServer, request } from 'node:http';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import express from 'express';
import { afterEach, describe, expect, test } from 'vitest';
import { renderPage } from '../../proxy/status/page.ts';
import { createStatusPage } from '../../proxy/status/routes.ts';
import type { BackendStatus, Status } from '../../proxy/status/snapshot.ts';
import { clock, duration, rate } from '../../proxy/status/words.ts';
import { until } from '../house/until.ts';

const AT = Date.UTC(2026, 10, 21, 9, 41, 7);
const EVIL = `"><script>alert(1)</script>'&`;
const UP = { up: true, since: AT };

function backend(more: Partial<BackendStatus> = {}): BackendStatus {
  const rates = { exchangesPerSecond: 1.25, errorsPerSecond: 0, exchanges: [null, 1, 2] };
  return { id: 'a:1', state: 'ready', stateSince: AT, since: AT, sessions: 3, streams: 2, ...rates, ...more };
}

function statusOf(more: Partial<Status> = {}): Status {
  const none = [null, 0, 1];
  return {
    at: AT,
    startedAt: AT - 65_000,
    version: '1.2.3',
    ready: true,
    checks: UP,
    registry: { kind: 'redis', ...UP },
    discovery: { kind: 'dns', ...UP },
    sessions: 3,
    streams: 2,
    exchangesPerSecond: 12.4,
    errorsPerSecond: 0,
    backends: [backend()],
    migrations: [],
    notices: [],
    history: { stepSeconds: 5, exchangesPerSecond: none, errorsPerSecond: none, sessions: none, migrations: none },
    ...more,
  };
}

/** The text between the tags, as a reader without a script has it. */
const read = (status: Status): string =>
  renderPage(status)
    .replaceAll(/<[^>]+>/g, ' ')
    .replaceAll(/\s+/g, ' ');

test('says who is there and how they fare', () => {
  const draining = backend({ id: 'b:1', state: 'draining', sessions: 3, drainingFrom: 12, zone: 'eu-1a', release: 7 });
  const text = read(statusOf({ backends: [draining, backend()] }));
  for (const words of ['1.2.3 ready up 1 min', 'redis up', '9 of 12 have left', 'eu-1a', '1 ready, 1 draining'])
    expect(text).toContain(words);
  expect(text.indexOf('a:1')).toBeLessThan(text.indexOf('b:1'));
});

test('says what does not serve, since when and why', () => {
  const text = read(statusOf({ registry: { kind: 'redis', up: false, since: AT - 8_000, cause: 'ETIMEDOUT' } }));
  expect(text).toContain('redis away 8 s ETIMEDOUT');
});

test.each([
  [backend(), ['drain']],
  [backend({ state: 'suspect' }), ['drain']],
  [backend({ state: 'draining' }), ['undrain']],
  [backend({ state: 'draining', drainingBy: 'order' }), ['undrain']],
  [backend({ state: 'draining', drainingBy: 'discovery' }), []],
  [backend({ state: 'draining', drainingBy: 'backend' }), []],
  [backend({ state: 'dead' }), []],
  [backend({ state: 'gone' }), []],
])('only what an order can change has a button: $state $drainingBy', (one, orders) => {
  const page = renderPage(statusOf({ backends: [one] }));
  expect([...page.matchAll(/data-order="(\w+)"/g)].map(([, order]) => order)).toEqual(orders);
});

test('nobody yet', () => {
  expect(read(statusOf({ backends: [] }))).toContain('Discovery has named nobody yet');
});

test('nothing that comes from outside is taken for HTML', () => {
  const migration = { at: AT, session: EVIL, from: EVIL, to: EVIL, cause: EVIL, ms: 1 };
  const page = renderPage(
    statusOf({
      version: EVIL,
      backends: [backend({ id: EVIL, zone: EVIL })],
      registry: { kind: 'redis', up: false, since: AT, cause: EVIL },
      migrations: [{ ...migration, reason: 'crash', outcome: 'failed' }],
      notices: [{ at: AT, text: EVIL }],
    }),
  );
  expect(page).not.toContain(EVIL);
  expect(page.match(/<script/g)).toHaveLength(1);
  expect(page).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;');
});

test.each([
  [rate(0), '0'],
  [rate(0.01), '<0.1'],
  [rate(9.94), '9.9'],
  [rate(9.96), '10'],
  [rate(1234.5), '1,235'],
  [duration(-5), '0 s'],
  [duration(59_999), '59 s'],
  [duration(3_600_000), '1 h'],
  [duration(3_900_000), '1 h 5 min'],
  [duration(90_000_000), '1 d 1 h'],
  [clock(AT), '09:41:07'],
])('%s', (said, expected) => {
  expect(said).toBe(expected);
});

describe('served', () => {
  let server: Server | undefined;
  let close = (): void => {};
  afterEach(() => {
    close();
    server?.closeAllConnections();
    server?.close();
  });

  async function serve(look: () => Promise<Status> = async () => statusOf()): Promise<string> {
    const page = createStatusPage(look);
    close = () => page.close();
    server = createServer(express().use(page.router)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  }

  test.each([
    ['/', 'text/html; charset=utf-8'],
    ['/status.js', 'text/javascript; charset=utf-8'],
    ['/status.css', 'text/css; charset=utf-8'],
    ['/status', 'application/json; charset=utf-8'],
    ['/events', 'text/event-stream'],
  ])('%s is what it says, and nothing of another origin may be in it', async (path, type) => {
    const leave = new AbortController();
    const { headers } = await fetch((await serve()) + path, { signal: leave.signal });
    expect(headers.get('content-type')).toBe(type);
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; /);
    for (const never of ['unsafe', 'http', '*']) expect(policy).not.toContain(never);
    leave.abort();
  });

  test('/status is the value', async () => {
    expect(await (await fetch(`${await serve()}/status`)).json()).toEqual(statusOf());
  });

  /** Reads events until `enough`, and leaves. */
  async function watch(url: string, enough: (text: string) => boolean): Promise<string> {
    const leave = new AbortController();
    const { body } = await fetch(url, { signal: leave.signal });
    let text = '';
    for await (const piece of (body ?? new ReadableStream<Uint8Array>()).pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (enough(text)) break;
    }
    leave.abort();
    return text;
  }

  test('each second the value anew, and what has happened since', async () => {
    let looks = 0;
    const first = { at: AT, text: 'first' };
    const second = { at: AT, text: 'second' };
    const third = { at: AT, text: 'third' };
    const url = await serve(async () => {
      looks += 1;
      return statusOf({ sessions: looks, notices: looks === 1 ? [first] : [third, second, first] });
    });
    const text = await watch(`${url}/events`, (heard) => heard.includes('third"}\n\n'));
    expect(text).toMatch(/^event: status\ndata: \{.*"sessions":1,.*\}\n\nevent: status\ndata: \{.*"sessions":2,/);
    expect(text.match(/event: notice\n.*/g)).toEqual([
      `event: notice\ndata: ${JSON.stringify(second)}`,
      `event: notice\ndata: ${JSON.stringify(third)}`,
    ]);
  });

  test('for the page, its changing part', async () => {
    const text = await watch(`${await serve()}/events?view=page`, (heard) => heard.includes('\n\n'));
    expect(text).toMatch(/^event: page\ndata: ".*<table role=\\"table\\".*"\n\n$/);
  });

  test('nobody watches: nobody looks', async () => {
    let looks = 0;
    const url = await serve(async () => {
      looks += 1;
      return statusOf();
    });
    await watch(`${url}/events`, (text) => text.includes('\n\n'));
    const open = () =>
      new Promise<number>((resolve, reject) => {
        if (server === undefined) reject(new Error('no server'));
        else server.getConnections((_error, count) => resolve(count));
      });
    server?.closeIdleConnections();
    await until('it has left', async () => (await open()) === 0);
    const seen = looks;
    // More than a second: what must not come cannot be waited for.
    await delay(1_200);
    expect(looks).toBe(seen);
  });

  test('the thirty-third that watches is told to come later; one that leaves makes room', async () => {
    const url = await serve();
    const viewers = await Promise.all(
      Array.from({ length: 32 }, async () => {
        const sent = request(`${url}/events`).end();
        await once(sent, 'response');
        return sent;
      }),
    );
    const refused = await fetch(`${url}/events`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    viewers[0]?.destroy();
    await until('there is room', async () => {
      const leave = new AbortController();
      const { status } = await fetch(`${url}/events`, { signal: leave.signal });
      leave.abort();
      return status === 200;
    });
    for (const viewer of viewers) viewer.destroy();
  });
});
