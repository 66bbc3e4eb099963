/** How many sessions a backend may hold: what happens when there is no room, and when there is again. */

import { describe, expect, onTestFinished, test } from 'vitest';
import { type Flow, type FlowOptions, startFlow } from '../house/flow.ts';
import { rawOpen, rawPing, rawStatus } from '../house/by-hand.ts';
import { INITIALIZE, startEdge } from '../house/edge.ts';
import { post } from '../house/raw.ts';
import { soon, until } from '../house/until.ts';

async function flowWith(options: FlowOptions): Promise<Flow> {
  const flow = await startFlow({ ...options, flags: ['--max-sessions-per-backend', '2'] });
  onTestFinished(() => flow.close());
  return flow;
}

describe.each<[string, FlowOptions]>([
  ['in memory', {}],
  ['in Redis', { redis: true }],
])('with sessions %s', (_where, options) => {
  test('the one too many is refused at once, and taken when another has ended', async () => {
    const flow = await flowWith({ backends: ['a', 'b'], ...options });
    const ids: string[] = [];
    for (let at = 0; at < 4; at += 1) ids.push((await rawOpen(flow.url)).id);
    expect([await flow.sessionsAt('a'), await flow.sessionsAt('b')]).toEqual([2, 2]);

    const refused = await rawOpen(flow.url);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    expect(refused.message).toEqual({
      jsonrpc: '2.0',
      id: 0,
      error: {
        code: -32000,
        message: 'Service unavailable: every server holds as many sessions as it may, try again',
      },
    });

    expect(await rawStatus(flow.url, 'DELETE', ids[0]!)).toBe(200);
    const taken = await until('there is room', async () => {
      const opened = await rawOpen(flow.url);
      return opened.status === 200 && opened;
    });
    expect(taken.id).not.toBe('');
    expect([await flow.sessionsAt('a'), await flow.sessionsAt('b')]).toEqual([2, 2]);
  });
});

describe('in memory, in all', () => {
  test('the one too many is refused before any server is asked, and taken when another has ended', async () => {
    const flow = await startFlow({ backends: ['a', 'b'], flags: ['--max-sessions-in-memory', '3'] });
    onTestFinished(() => flow.close());
    const opened = await Promise.all(Array.from({ length: 3 }, () => rawOpen(flow.url)));
    expect(opened.map(({ status }) => status)).toEqual([200, 200, 200]);

    const refused = await rawOpen(flow.url);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    expect(refused.message).toMatchObject({
      id: 0,
      error: {
        code: -32000,
        message: 'Service unavailable: the proxy holds as many sessions as it may, try again',
      },
    });
    expect((await flow.sessionsAt('a')) + (await flow.sessionsAt('b'))).toBe(3);
    // Those that are there go on.
    for (const { id } of opened) expect((await rawPing(flow.url, id)).status).toBe(200);

    expect(await rawStatus(flow.url, 'DELETE', opened[0]!.id)).toBe(200);
    const many = await Promise.all(Array.from({ length: 5 }, () => rawOpen(flow.url)));
    expect(many.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(many.filter(({ status }) => status === 503)).toHaveLength(4);
    expect((await flow.sessionsAt('a')) + (await flow.sessionsAt('b'))).toBe(3);
  });
});

test('two proxies keep to it together, but for what they have not counted yet', async () => {
  const flow = await flowWith({ backends: ['a', 'b'], proxies: 2 });
  const [one, other] = flow.proxies.map(({ url }) => url);
  for (let at = 0; at < 4; at += 1) expect((await rawOpen(one!)).status).toBe(200);
  await until('the other proxy has counted', async () => (await rawOpen(other!)).status === 503);
  expect((await rawOpen(one!)).status).toBe(503);
});

test('a session that has lost its home is crowded in rather than lost', async () => {
  const flow = await flowWith({ backends: ['a', 'b'] });
  const talks = [await flow.talk(), await flow.talk(), await flow.talk(), await flow.talk()];
  for (const talk of talks) await talk.count();
  await flow.kill('a');
  for (const talk of talks) expect(await talk.count()).toMatch(/^b/);
  expect(await flow.sessionsAt('b')).toBe(4);
});

test('those that waited for a backend do not all get in at once', async () => {
  const flow = await flowWith({ backends: ['a'] });
  await flow.kill('a');
  const waiting = Array.from({ length: 8 }, () => rawOpen(flow.url));
  await until('they have tried it', () => flow.events().some((event) => event.type === 'suspect'));
  await flow.backend('a').restart();
  const opened = await Promise.all(waiting);
  expect(opened.filter(({ status }) => status === 200)).toHaveLength(2);
  expect(opened.filter(({ status }) => status === 503)).toHaveLength(6);
  expect(await flow.sessionsAt('a')).toBe(2);
});

test('a session counts once, though the answer that opens it goes on', async () => {
  const edge = await startEdge({ flags: ['--max-sessions-per-backend', '2'] });
  onTestFinished(() => edge.close());
  const result = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 'nasty', version: '1' } };
  for (const id of ['one', 'two']) {
    const client = await edge.dial();
    client.send(post(INITIALIZE));
    const opening = await soon(`${id} to be asked for`, edge.a.next());
    opening.stream([['mcp-session-id', id]]).event({ jsonrpc: '2.0', id: INITIALIZE.id, result });
    expect(await client.saw(id)).toMatch(/^HTTP\/1.1 200/);
  }
  // The third is one too many.
  const client = await edge.dial();
  client.send(post(INITIALIZE));
  expect((await client.answer()).status).toBe(503);
});
