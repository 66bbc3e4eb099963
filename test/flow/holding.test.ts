/** Requests that nobody can take yet are held, not bounced; and those that need no home go anywhere. */

import { afterEach, describe, expect, test } from 'vitest';
import { type Flow, type FlowOptions, metDead, startFlow } from '../house/flow.ts';
import { rawCall, rawOpen, rawPing, rawPost } from '../house/by-hand.ts';
import { until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());
const begin = async (options?: FlowOptions): Promise<Flow> => (flow = await startFlow({ backends: ['a'], ...options }));

/** Somebody has found out that nobody is there. */
const noticed = ({ proxies }: Flow): Promise<unknown> =>
  until('the proxy has met a dead backend', () => proxies.some(metDead));

describe('no backend at all', () => {
  test('a call is held until one starts, and runs there once', async () => {
    const begun = await begin();
    const client = await begun.talk();
    await begun.kill('a');
    const calls = Promise.all([client.count(), client.outcome('effect', { key: 'k' })]);
    await noticed(begun);
    expect(begun.runs('k')).toEqual([]);
    await begun.revive();
    expect(await calls).toEqual(['a1', 'a']);
    expect(begun.runs('k')).toEqual(['a']);
    const held = begun.proxies[0]?.events.flatMap((event) => (event.type === 'held' ? [event.outcome] : []));
    expect(held).toEqual(expect.arrayContaining(['served', 'served']));
  });

  test('a new client is held until one starts', async () => {
    const begun = await begin();
    await begun.kill('a');
    const client = begun.talk();
    await noticed(begun);
    await begun.revive();
    expect(await (await client).count()).toBe('a1');
  });

  test('a backend that is another than the home will do', async () => {
    const begun = await begin({ backends: ['a', 'b'] });
    const client = await begun.talk();
    const home = await client.task('ping');
    const other = home === 'a' ? 'b' : 'a';
    await Promise.all([begun.kill('a'), begun.kill('b')]);
    const call = client.count();
    await noticed(begun);
    await begun.backend(other).restart();
    expect(await call).toBe(`${other}1`);
  });

  test('after --hold-seconds: 503, and when to try again', async () => {
    const begun = await begin({ flags: ['--hold-seconds', '0.3'] });
    const { id } = await rawOpen(begun.url);
    await begun.kill('a');
    for (const answer of [await rawPing(begun.url, id), await rawOpen(begun.url)]) {
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect(answer.message).toMatchObject({ error: { code: -32000, message: expect.stringContaining('try again') } });
    }
    await begun.revive();
    // The session was not given up.
    expect(await rawCall(begun.url, id, 'counter')).toBe('counter=1 taskId=a');
  });

  test('a client that leaves is held no more', async () => {
    const begun = await begin();
    await begun.kill('a');
    const leave = new AbortController();
    const { signal } = leave;
    const gone = fetch(begun.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: PING,
      signal,
    });
    await noticed(begun);
    leave.abort();
    await expect(gone).rejects.toThrow('abort');
    const held = await until('the hold is over', () => begun.proxies[0]?.events.find(({ type }) => type === 'held'));
    expect(held).toMatchObject({ outcome: 'abandoned' });
  });
});

const PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}';

describe('--on-session-lost not-found', () => {
  const flags = ['--on-session-lost', 'not-found'];

  test('a restarted home does not know the session: the client must start over', async () => {
    const { talk, backend, url, proxies } = await begin({ backends: ['a', 'b'], flags });
    const client = await talk();
    await backend(await client.task('ping')).restart();
    await expect(client.count()).rejects.toThrow('Session not found');
    expect((await rawPing(url, client.sessionId)).status).toBe(404);
    expect(proxies[0]?.events.filter(({ type }) => type === 'migration')).toEqual([]);
  });

  test('a home that cannot be reached is waited for, though another backend is there', async () => {
    const { url, kill, proxies } = await begin({ backends: ['a', 'b'], flags: [...flags, '--hold-seconds', '0.3'] });
    const { id } = await rawOpen(url);
    const home = /taskId=(\w)/.exec(await rawCall(url, id, 'ping'))?.[1] ?? '';
    await kill(home);
    expect((await rawPing(url, id)).status).toBe(503);
    expect(proxies[0]?.events.filter(({ type }) => type === 'migration')).toEqual([]);
  });
});

describe('without a session id', () => {
  const STATELESS = { backends: ['a', 'b', 'c'], env: { MCP_STATELESS_HTTP: 'true' } };

  test('calls to stateless servers go anywhere, without the registry', async () => {
    const { talk, redis } = await begin({ ...STATELESS, redis: true });
    redis().pause();
    const { client, task } = await talk();
    const saw = new Set<string>();
    for (let at = 0; at < 40; at += 1) saw.add(await task('ping'));
    expect([...saw].toSorted()).toEqual(['a', 'b', 'c']);
    expect(client.transport?.sessionId).toBeUndefined();
  });

  test('a dead stateless server is passed over', async () => {
    const { talk, kill } = await begin(STATELESS);
    const { task } = await talk();
    await kill('b');
    const saw = new Set<string>();
    for (let at = 0; at < 40; at += 1) saw.add(await task('ping'));
    expect([...saw].toSorted()).toEqual(['a', 'c']);
  });

  test('a stateful server gives its own answer', async () => {
    const { url } = await begin();
    const { status, message } = await rawPost(url, { id: 1, method: 'ping' });
    expect(status).toBe(400);
    expect(message).toMatchObject({ error: { message: 'Bad Request: Mcp-Session-Id header is required' } });
  });
});
