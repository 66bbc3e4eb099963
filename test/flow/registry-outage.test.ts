/** Redis says nothing for a while, or is gone: known sessions go on, nothing hangs, and it heals by itself. */

import { afterEach, describe, expect, test } from 'vitest';
import { type Flow, type FlowOptions, startFlow } from '../house/flow.ts';
import { rawCall, rawOpen, rawPing, rawPost, rawStatus } from '../house/by-hand.ts';
import { CLOCK } from '../house/talk.ts';
import { soon, until } from '../house/until.ts';

let flow: Flow | undefined;
afterEach(() => flow?.close());
const begin = async (options?: FlowOptions): Promise<Flow> =>
  (flow = await startFlow({ backends: ['a'], redis: true, ...options }));

/** Milliseconds: what needs the registry is refused within one second, and a busy machine has another. */
const REFUSAL = 2_000;
const TRY_AGAIN = [503, '1'];
const said = ({ status, headers }: { status: number; headers: Headers }) => [status, headers.get('retry-after')];

/** Until every proxy can use the registry again: a new session can be had. */
const healed = async ({ proxies }: Flow): Promise<void> => {
  for (const { url } of proxies) {
    await until('the registry is back', async () => (await rawOpen(url)).status === 200, 15_000);
  }
};

describe('Redis is stopped for five seconds (SIGSTOP)', () => {
  test('known sessions never fail, and lose nothing', async () => {
    const begun = await begin({ backends: ['a', 'b', 'c'], proxies: 2 });
    const talks = [await begun.talk(), await begun.talk(), await begun.talk({}, 1)];
    const first = await Promise.all(talks.map(({ count }) => count()));
    const last = talks.map(() => 1);
    begun.redis().pause();
    const end = Date.now() + 5_000;
    await Promise.all(
      talks.map(async ({ count }, at) => {
        while (Date.now() < end) {
          last[at]! += 1;
          expect(await soon('a known session', count())).toBe(`${first[at]?.[0]}${last[at]}`);
        }
      }),
    );
    begun.redis().resume();
    await healed(begun);
    const after = await Promise.all(talks.map(({ count }) => count()));
    expect(after).toEqual(talks.map((_, at) => `${first[at]?.[0]}${last[at]! + 1}`));
  });

  test('a new session is refused, and leaves nothing at the backend', async () => {
    const begun = await begin();
    begun.redis().pause();
    for (let at = 0; at < 3; at += 1)
      expect(said(await soon('a refusal', rawOpen(begun.url), REFUSAL))).toEqual(TRY_AGAIN);
    await until('no orphan is left', async () => (await begun.sessionsAt('a')) === 0);
    begun.redis().resume();
    await healed(begun);
    expect(await begun.sessionsAt('a')).toBe(1);
  });

  test('a session that this proxy does not know is refused, and found when Redis is back', async () => {
    const begun = await begin({ proxies: 2 });
    const { id } = await rawOpen(begun.proxies[1]!.url);
    begun.redis().pause();
    expect(said(await soon('a refusal', rawPing(begun.url, id), REFUSAL))).toEqual(TRY_AGAIN);
    expect(said(await soon('a refusal', rawPing(begun.url, 'nobody'), REFUSAL))).toEqual(TRY_AGAIN);
    begun.redis().resume();
    await until('it is found', async () => (await rawPing(begun.url, id)).status === 200);
    expect((await rawPing(begun.url, 'nobody')).status).toBe(404);
  });

  test('a promise that cannot be kept is not made', async () => {
    const begun = await begin();
    const { id } = await rawOpen(begun.url);
    const setLevel = () => rawPost(begun.url, SET_LEVEL, { 'mcp-session-id': id });
    begun.redis().pause();
    // The head of the answer was shown already: the refusal is in the stream.
    const refusal = { id: 1, error: { code: -32000, message: expect.stringContaining('try again') } };
    expect((await soon('a refusal', setLevel(), REFUSAL)).message).toMatchObject(refusal);
    expect((await rawPing(begun.url, id)).status).toBe(200);
    begun.redis().resume();
    await healed(begun);
    expect((await setLevel()).message).toEqual({ jsonrpc: '2.0', id: 1, result: {} });
  });

  test('a home that dies meanwhile: its calls are held, and go on when Redis is back', async () => {
    const begun = await begin({ backends: ['a', 'b'] });
    const { id } = await rawOpen(begun.url);
    const [, home = ''] = /taskId=(\w)/.exec(await rawCall(begun.url, id, 'ping')) ?? [];
    begun.redis().pause();
    await begun.kill(home);
    let answered = false;
    const held = Promise.all([rawCall(begun.url, id, 'counter'), rawPing(begun.url, id)]).finally(() => {
      answered = true;
    });
    await until('the home is known to be dead', () => begun.events().some(({ type }) => type === 'suspect'));
    await until('the registry is known to be away', () => begun.events().some(({ type }) => type === 'registry'));
    expect(answered).toBe(false);
    begun.redis().resume();
    const [counted, { status }] = await soon('their answers', held);
    expect([counted, status]).toEqual([`counter=1 taskId=${home === 'a' ? 'b' : 'a'}`, 200]);
  });

  test('a home that dies meanwhile, for longer than calls are held: refused, and the session is not lost', async () => {
    const begun = await begin({ backends: ['a', 'b'], flags: ['--hold-seconds=1'] });
    const { id } = await rawOpen(begun.url);
    const [, home = ''] = /taskId=(\w)/.exec(await rawCall(begun.url, id, 'ping')) ?? [];
    begun.redis().pause();
    await begun.kill(home);
    expect(said(await soon('a refusal', rawPing(begun.url, id), 2 * REFUSAL))).toEqual(TRY_AGAIN);
    begun.redis().resume();
    await until('it goes on', async () => (await rawPing(begun.url, id)).status === 200);
    expect(await rawCall(begun.url, id, 'counter')).toBe(`counter=1 taskId=${home === 'a' ? 'b' : 'a'}`);
  });

  test('a DELETE is refused, and works when Redis is back', async () => {
    const begun = await begin();
    const { id } = await rawOpen(begun.url);
    begun.redis().pause();
    expect(await soon('a refusal', rawStatus(begun.url, 'DELETE', id), REFUSAL)).toBe(503);
    begun.redis().resume();
    await healed(begun);
    await rawStatus(begun.url, 'DELETE', id);
    expect((await rawPing(begun.url, id)).status).toBe(404);
  });
});

const SET_LEVEL = { id: 1, method: 'logging/setLevel', params: { level: 'error' } };

describe('Redis is gone, and started again with an empty memory', () => {
  test('while it is gone known sessions go on, their streams too', async () => {
    const begun = await begin();
    const client = await begun.talk();
    await client.client.subscribeResource({ uri: CLOCK });
    await begun.redis().kill9();
    expect(said(await soon('a refusal', rawOpen(begun.url), REFUSAL))).toEqual(TRY_AGAIN);
    expect([await client.count(), await client.count()]).toEqual(['a1', 'a2']);
    await client.call('touch_resource');
    await until('an update is heard', () => client.heard.updates.length === 1);
  });

  test('new sessions can be had again, and are kept', async () => {
    const begun = await begin({ proxies: 2 });
    await begun.redis().kill9();
    expect(said(await soon('a refusal', rawOpen(begun.url), REFUSAL))).toEqual(TRY_AGAIN);
    await begun.redis().start();
    await healed(begun);
    const { id } = await rawOpen(begun.url);
    expect((await rawPing(begun.proxies[1]!.url, id)).status).toBe(200);
  });

  test('a session that it has forgotten goes on at every proxy; one that was ended does not come back', async () => {
    const begun = await begin({ proxies: 2 });
    const client = await begun.talk();
    const ended = await rawOpen(begun.url);
    expect(await client.count()).toBe('a1');
    await rawStatus(begun.url, 'DELETE', ended.id);
    await begun.redis().kill9();
    await begun.redis().start();
    await healed(begun);
    const elsewhere = await begun.join(client, 1);
    expect([await elsewhere.count(), await client.count()]).toEqual(['a2', 'a3']);
    for (const { url } of begun.proxies) expect((await rawPing(url, ended.id)).status).toBe(404);
    expect(begun.migrations()).toEqual([]);
  });
});
