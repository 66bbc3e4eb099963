/** Which parts of an answer wait for the registry, and what it is told then. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Exchange, JsonRpcMessage, Session } from '../../proxy/contract.ts';
import { type Part, createKeeper } from '../../proxy/keeper.ts';
import { memorySessions } from '../../proxy/sessions/memory.ts';
import { formatEvent } from '../../proxy/sse.ts';
import { posting } from '../house/recording.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

const HOME = { id: 'a', origin: 'http://a', draining: false, suspect: false };
const LEVEL = { jsonrpc: '2.0', id: 1, method: 'logging/setLevel', params: { level: 'error' } } as const;
const LIST = { jsonrpc: '2.0', id: 2, method: 'tools/list' } as const;
const DONE = { jsonrpc: '2.0', method: 'notifications/initialized' } as const;
const INITIALIZE = { jsonrpc: '2.0', id: 0, method: 'initialize', params: {} } as const;
const answer = (id: string | number, result = {}) => ({ jsonrpc: '2.0', id, result }) as const;
const refusal = (id: string | number | null) => ({ jsonrpc: '2.0', id, error: { code: -1, message: 'no' } }) as const;

const head = (status: number, type: 'json' | 'sse' | 'none', id?: string): Part => ({
  kind: 'head',
  status,
  headers: [
    ...(type === 'none' ? [] : ['Content-Type', type === 'sse' ? 'text/event-stream' : 'application/json']),
    ...(id === undefined ? [] : ['Mcp-Session-Id', id]),
  ],
});
const chunk = (text: string): Part => ({ kind: 'chunk', bytes: Buffer.from(text) });
const event = (...messages: readonly JsonRpcMessage[]): Part => ({
  kind: 'event',
  event: { raw: formatEvent(messages[0]), messages },
});
const END: Part = { kind: 'end' };

const unknown = newSession({ journal: { initialize: {}, initialized: false, subscriptions: [] }, safeTools: [] });
const DELETE: Exchange = { ...posting(DONE), intent: { kind: 'continue', id: 's', verb: 'end', messages: [] } };
const OPEN: Exchange = { ...posting(INITIALIZE), intent: { kind: 'open', initialize: INITIALIZE } };

async function keeping(exchange: Exchange | 'in session', ...messages: readonly JsonRpcMessage[]) {
  const sessions = memorySessions({ ttlSeconds: 60 });
  const session = { ...unknown };
  await sessions.create(session);
  let count = 0;
  const rooms = { sessions, token: () => `token ${(count += 1)}`, now: () => 0, stored() {} };
  const asked = exchange === 'in session' ? posting(messages, { session }) : exchange;
  return { keeper: createKeeper(asked, session, HOME, rooms), sessions, session };
}
const wish = (wanted: ReturnType<ReturnType<typeof createKeeper>['wants']>): string =>
  typeof wanted === 'string' ? wanted : `store ${wanted.answers.length}`;

describe('what waits', () => {
  const inSession = (...messages: readonly JsonRpcMessage[]): Parameters<typeof keeping> => ['in session', ...messages];
  test.each<[string, Parameters<typeof keeping>, readonly Part[], string]>([
    ['the head of initialize', [OPEN], [head(200, 'json', 'x')], 'more'],
    ['half a body', [OPEN], [head(200, 'json', 'x'), chunk('{"jsonrpc"')], 'more'],
    ['a whole body', [OPEN], [head(200, 'json', 'x'), chunk(JSON.stringify(answer(0))), END], 'store 1'],
    ['a stream before its answer', [OPEN], [head(200, 'sse', 'x'), event(DONE)], 'more'],
    ['a stream with its answer', [OPEN], [head(200, 'sse', 'x'), event(DONE), event(answer(0))], 'store 1'],
    ['a stream that ended', [OPEN], [head(200, 'sse', 'x'), END], 'store 0'],
    ['initialize without a session', [OPEN], [head(200, 'json')], 'more'],
    ['initialize refused', [OPEN], [head(401, 'json', 'x')], 'nothing'],
    ['a session ended by its home', [DELETE], [head(200, 'none')], 'store 0'],
    [
      'an end that is not found: a ping has shown that the home knows the session',
      [DELETE],
      [head(404, 'json')],
      'nothing',
    ],
    ['an end that the home does not allow', [DELETE], [head(405, 'none')], 'nothing'],
    ['a level in a body', inSession(LEVEL), [head(200, 'json')], 'more'],
    ['a level in a stream: its head', inSession(LEVEL), [head(200, 'sse')], 'nothing'],
    ['a level in a stream: another event', inSession(LEVEL), [event(answer(7))], 'nothing'],
    ['a level in a stream: its answer', inSession(LEVEL), [event(answer(1))], 'store 1'],
    ['a level refused', inSession(LEVEL), [head(400, 'json')], 'nothing'],
    ['a notification taken', inSession(DONE), [head(202, 'none'), END], 'store 0'],
    ['a notification beside a stream: its head', inSession(DONE, LIST), [head(200, 'sse')], 'store 0'],
  ])('%s', async (_what, [exchange, ...messages], queue, expected) => {
    const { keeper } = await keeping(exchange, ...messages);
    expect(wish(keeper.wants(queue))).toBe(expected);
  });
});

test('nothing is stored twice, whatever the home answered', async () => {
  const said = fc.oneof(
    fc.constantFrom('', '{', 'garbage', '[]', 'null'),
    fc.constantFrom(0, 1, '1', 2, 3).map((id) => JSON.stringify(answer(id))),
    fc.constantFrom(1, null).map((id) => JSON.stringify(refusal(id))),
    fc.constant(JSON.stringify([answer(1), answer(2)])),
  );
  const asked = fc.constantFrom<Parameters<typeof keeping>>(
    [OPEN],
    [DELETE],
    ['in session', LEVEL],
    ['in session', LEVEL, LIST, DONE],
    ['in session', DONE],
  );
  await fc.assert(
    fc.asyncProperty(asked, said, fc.constantFrom(200, 202), async (exchange, body, status) => {
      const { keeper } = await keeping(...exchange);
      const queue = [head(status, 'json', 'x'), chunk(body), END];
      const wanted = keeper.wants(queue);
      expect(wish(wanted)).toMatch(/^store/);
      if (typeof wanted !== 'string') await keeper.store(wanted);
      expect(wish(keeper.wants(queue))).toBe('nothing');
    }),
  );
});

describe('what is stored', () => {
  const stored = async (kept: Awaited<ReturnType<typeof keeping>>, ...answers: ReturnType<typeof answer>[]) => {
    const { kind } = await kept.keeper.store({ answers, headers: [] });
    return { kind, now: await kept.sessions.find(kept.session.id) };
  };

  test('a level, on top of what another exchange stored meanwhile', async () => {
    const kept = await keeping('in session', LEVEL);
    const other = { ...changed(kept.session), safeTools: ['read'] };
    await kept.sessions.replace(kept.session, other);
    expect(await stored(kept, answer(1))).toMatchObject({
      kind: 'stored',
      now: { journal: { level: 'error' }, safeTools: ['read'] },
    });
  });

  test('no promise to a home that has been left', async () => {
    const kept = await keeping('in session', LEVEL);
    const elsewhere = migrated(kept.session, 'b');
    await kept.sessions.replace(kept.session, elsewhere);
    expect(await stored(kept, answer(1))).toEqual({ kind: 'superseded', now: elsewhere });
  });

  test('knowledge of the tools, though the session has left', async () => {
    const kept = await keeping('in session', LIST);
    await kept.sessions.replace(kept.session, migrated(kept.session, 'b'));
    const tools = [{ name: 'read', annotations: { readOnlyHint: true } }];
    expect(await stored(kept, answer(2, { tools }))).toMatchObject({
      kind: 'stored',
      now: { home: { id: 'b' }, safeTools: ['read'] },
    });
  });

  test('nothing of a session that has ended', async () => {
    const kept = await keeping('in session', LEVEL);
    await kept.sessions.end(kept.session.id);
    expect(await stored(kept, answer(1))).toEqual({ kind: 'stored', now: undefined });
  });

  test('nothing that was refused', async () => {
    const kept = await keeping('in session', LEVEL);
    const { session, sessions, keeper } = kept;
    await keeper.store({ answers: [refusal(1)], headers: [] });
    const now: Session | undefined = await sessions.find(session.id);
    expect(now).toEqual(session);
  });
});
