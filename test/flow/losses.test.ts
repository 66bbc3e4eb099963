/** What may be lost in a migration: each loss has its place, and none is silent. */

import { createHash } from 'node:crypto';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type RawAnswer, rawOpen, rawPost, rawStatus } from '../house/by-hand.ts';
import { type TestProxy, metDead, startProxy } from '../house/flow.ts';
import { type Home, type Welcome, startHome } from '../house/homes.ts';
import { jwt } from '../house/tokens.ts';
import { until } from '../house/until.ts';

type Story = {
  readonly proxy: TestProxy;
  /** Where the session is at home. */
  readonly home: Home;
  readonly others: readonly Home[];
  /** What the client holds. */
  readonly id: string;
  readonly ask: (headers?: Record<string, string>) => Promise<RawAnswer>;
  /** The home that answers; undefined for any other answer. */
  readonly where: () => Promise<unknown>;
  readonly order: (method: string, path: string) => Promise<number>;
  readonly migrations: () => readonly string[];
};

/** A session at one of so many homes; flags are the proxy's. */
async function begin(
  count: number,
  flags: readonly string[] = [],
  fields: Record<string, string> = {},
): Promise<Story> {
  const homes = await Promise.all(Array.from({ length: count }, startHome));
  for (const one of homes) onTestFinished(() => one.close());
  const proxy = await startProxy(
    homes.map(({ origin }) => origin),
    flags,
  );
  onTestFinished(() => proxy.stop());
  const { id } = await rawOpen(proxy.url, fields);
  await rawPost(proxy.url, { method: 'notifications/initialized' }, { 'mcp-session-id': id, ...fields });
  const ask = (headers: Record<string, string> = {}) =>
    rawPost(proxy.url, { id: 1, method: 'ping' }, { 'mcp-session-id': id, ...headers });
  const home = homes.find(({ sessions }) => sessions.has(id));
  if (home === undefined) throw new Error('No home has issued the session');
  return {
    proxy,
    home,
    others: homes.filter((one) => one !== home),
    id,
    ask,
    where: async () => homeIn(await ask()),
    async order(method, path) {
      const headers = { 'content-type': 'application/json' };
      return (await fetch(proxy.opsUrl + path, { method, headers })).status;
    },
    migrations: () => proxy.events.flatMap((one) => (one.type === 'migration' ? [`${one.reason} ${one.outcome}`] : [])),
  };
}

function homeIn({ message }: RawAnswer): unknown {
  if (typeof message !== 'object' || message === null || !('result' in message)) return undefined;
  return typeof message.result === 'object' && message.result && 'home' in message.result && message.result.home;
}

const drain = ({ home, order }: Story) => order('POST', `/backends/${home.id}/drain`);
const undrain = ({ home, order }: Story) => order('DELETE', `/backends/${home.id}/drain`);

/** The listening stream of the session: what came so far. */
async function listen({ proxy: { url }, id }: Pick<Story, 'proxy' | 'id'>): Promise<() => string> {
  const leave = new AbortController();
  onTestFinished(() => leave.abort());
  const headers = { accept: 'text/event-stream', 'mcp-session-id': id };
  const { body } = await fetch(url, { headers, signal: leave.signal });
  let heard = '';
  const read = async () => {
    for await (const piece of body?.pipeThrough(new TextDecoderStream()) ?? []) heard += piece;
  };
  read().catch(() => {});
  return () => heard;
}

/** The first of them that is asked to take the session answers so; the others take it. Returns who refused. */
function oneRefuses(homes: readonly Home[], welcome: Welcome): () => Home | undefined {
  let refused: Home | undefined;
  for (const one of homes) {
    one.welcome = () => {
      refused ??= one;
      return refused === one ? welcome : undefined;
    };
  }
  return () => refused;
}

describe('the home has died', () => {
  test.each([401, 403])(
    '%i: the client is told so, and its next request with a good token migrates',
    async (status) => {
      const [expired, good] = [jwt('alice', '1'), jwt('alice', '2')];
      const { home, others, ask, id, migrations } = await begin(2, [], { authorization: expired });
      const challenge = 'Bearer error="invalid_token"';
      for (const one of others) {
        one.welcome = ({ authorization }) =>
          authorization === good ? undefined : { status, headers: { 'www-authenticate': challenge } };
      }
      await home.close();
      const refused = await ask({ authorization: expired });
      expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([status, challenge]);
      expect(refused.message).toMatchObject({ error: { message: others[0]?.id } });
      expect(refused.headers.get('mcp-session-id')).toBeOneOf([null, id]);
      expect(homeIn(await ask({ authorization: good }))).toBe(others[0]?.id);
      expect(migrations()).toEqual(['crash unauthorized', 'crash migrated']);
    },
  );

  test('401, to a client that has shown no credentials yet: it migrates with those that it shows then', async () => {
    const { home, others, ask, migrations } = await begin(2);
    for (const one of others)
      one.welcome = ({ authorization }) => (authorization === undefined ? { status: 401 } : undefined);
    await home.close();
    expect((await ask()).status).toBe(401);
    expect(homeIn(await ask({ authorization: 'Bearer good' }))).toBe(others[0]?.id);
    expect(migrations()).toEqual(['crash unauthorized', 'crash migrated']);
    const mine = async (headers?: Record<string, string>) => (await ask(headers)).status;
    await until('it is bound', async () => (await mine()) === 404);
    expect(await mine({ authorization: jwt('mallory') })).toBe(404);
    expect(await mine({ authorization: 'Bearer good' })).toBe(200);
  });

  test.each<Welcome>([
    { status: 429, headers: { 'retry-after': '60' } },
    { status: 503 },
    { status: 500 },
    { status: 421, headers: { 'mcp-affinity-mark': 'draining' } },
  ])('a new home says $status: another takes the session', async (welcome) => {
    const { home, others, where, migrations, proxy } = await begin(3);
    const refused = oneRefuses(others, welcome);
    await home.close();
    const next = await where();
    expect(next).toBe(others.find((one) => one !== refused())?.id);
    expect(migrations()).toEqual(['crash failed', 'crash migrated']);
    // And no new client is sent to who refused.
    await rawOpen(proxy.url);
    expect(refused()?.sessions.size).toBe(0);
  });

  test.each<Welcome>([{ result: { protocolVersion: '2025-06-18' } }, { result: { capabilities: {} } }])(
    'the new home is another kind of server: the session has ended %o',
    async (welcome) => {
      const { home, others, ask, migrations } = await begin(2);
      for (const one of others) one.welcome = () => welcome;
      await home.close();
      for (const answer of [await ask(), await ask()]) {
        expect(answer.status).toBe(404);
        expect(answer.message).toMatchObject({ id: 1, error: { code: -32001 } });
      }
      expect(migrations()).toEqual(['crash incompatible']);
      await until('the new home may forget it', () => others[0]?.sessions.size === 0);
    },
  );

  test('the session ends though it only listens: so does its stream', async () => {
    const story = await begin(2);
    story.others.forEach((one) => (one.welcome = () => ({ result: { capabilities: {} } })));
    await listen(story);
    await story.home.close();
    await until('it has ended', async () => (await story.ask()).status === 404);
    const closed = () => story.proxy.events.some((one) => one.type === 'stream' && one.change === 'closed');
    expect(await until('the stream is closed', closed)).toBe(true);
  });

  test('no home yet: the request is held, and served when one comes', async () => {
    const { home, others, where, proxy } = await begin(2);
    await Promise.all([home, ...others].map((one) => one.close()));
    const held = where();
    await until('nobody was there', () => metDead(proxy));
    await others[0]?.open();
    expect(await held).toBe(others[0]?.id);
  });

  test('no home at all: 503 and when to try again, and the session lives', async () => {
    const { home, others, ask, where } = await begin(2, ['--hold-seconds', '0.3']);
    await Promise.all([home, ...others].map((one) => one.close()));
    const { status, headers } = await ask();
    expect([status, headers.get('retry-after')]).toEqual([503, '1']);
    await home.open();
    expect(await where()).toBe(home.id);
  });
});

describe('the home drains', () => {
  test.each<Welcome>([
    { result: { protocolVersion: '2025-06-18' } },
    { result: { capabilities: {} } },
    { status: 401 },
    { status: 403 },
    { status: 503 },
  ])('no other can take the session: it stays and works %o', async (welcome) => {
    const story = await begin(2);
    const { home, others, where, migrations } = story;
    for (const one of others) one.welcome = () => welcome;
    expect(await drain(story)).toBe(202);
    expect([await where(), await where()]).toEqual([home.id, home.id]);
    expect(migrations()).toHaveLength(1);
    await until('the other may forget it', () => others[0]?.sessions.size === 0);
  });

  test.each<Welcome>([{ status: 429 }, { status: 503 }, { status: 421, headers: { 'mcp-affinity-mark': 'draining' } }])(
    'one new home says $status: another takes the session',
    async (welcome) => {
      const story = await begin(3);
      const refused = oneRefuses(story.others, welcome);
      await drain(story);
      expect(await story.where()).toBe(story.others.find((one) => one !== refused())?.id);
      expect(story.migrations()).toEqual(['drain failed', 'drain migrated']);
    },
  );

  test('the new home is a newer version: the client hears that its lists may differ', async () => {
    const story = await begin(2);
    const capabilities = { tools: { listChanged: true }, prompts: {} };
    for (const one of story.others) {
      one.welcome = () => ({ result: { capabilities, serverInfo: { name: 'home', version: '2' } } });
    }
    const heard = await listen(story);
    await drain(story);
    await until('it hears', () => heard().includes('notifications/tools/list_changed'));
    expect(heard()).not.toContain('prompts');
    expect(await story.where()).toBe(story.others[0]?.id);
  });

  test('and drains no more: nobody leaves', async () => {
    const story = await begin(2);
    await drain(story);
    expect(await undrain(story)).toBe(202);
    expect([await story.where(), await story.where()]).toEqual([story.home.id, story.home.id]);
    expect(story.migrations()).toEqual([]);
  });
});

test('a person orders it: the session migrates at its next exchange, once', async () => {
  const { id, home, others, order, where, migrations } = await begin(2);
  expect(await order('POST', `/sessions/${createHash('sha256').update(id).digest('hex')}/migrate`)).toBe(202);
  expect(migrations()).toEqual([]);
  expect([await where(), await where()]).toEqual([others[0]?.id, others[0]?.id]);
  expect(migrations()).toEqual(['manual migrated']);
  await until('the old home may forget it', () => home.sessions.size === 0);
});

test('a DELETE is no reason to migrate', async () => {
  const story = await begin(2);
  await drain(story);
  expect(await rawStatus(story.proxy.url, 'DELETE', story.id)).toBe(200);
  expect(story.migrations()).toEqual([]);
  expect(story.home.sessions.size).toBe(0);
});
