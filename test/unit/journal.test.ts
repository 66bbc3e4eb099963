/** What a session remembers of its messages, what a new home is told, and what may be sent twice. */

import { describe, expect, test } from 'vitest';
import type { JsonRpcMessage, JsonRpcResponse, Session } from '../../proxy/contract.ts';
import { fold, incompatibility, opened, remembered, replay } from '../../proxy/journal.ts';
import { mayReplay } from '../../proxy/replay-safety.ts';
import { newSession } from '../house/sessions.ts';

const request = (method: string, params = {}) => ({ jsonrpc: '2.0', id: 1, method, params }) as const;
const OK: JsonRpcResponse = { jsonrpc: '2.0', id: 1, result: {} };
const NO: JsonRpcResponse = { jsonrpc: '2.0', id: 1, error: { code: -32602, message: 'no' } };
const DONE = { jsonrpc: '2.0', method: 'notifications/initialized' } as const;
const subscribe = (uri: string) => request('resources/subscribe', { uri });
const unsubscribe = (uri: string) => request('resources/unsubscribe', { uri });
const fresh = newSession({ journal: { initialize: {}, initialized: false, subscriptions: [] }, safeTools: [] });
const after = (...steps: Parameters<typeof fold>[1][]): Session =>
  steps.reduce((session, step) => fold(session, step, OK), fresh);

describe('a session', () => {
  test('opens with what was asked and what was agreed', () => {
    const initialize = {
      jsonrpc: '2.0',
      id: 1,
      method: 'initialize',
      params: { capabilities: { roots: {} }, own: 1 },
    } as const;
    const result = { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'x' } };
    const home = { id: 'a', origin: 'http://a', draining: false, suspect: false };
    expect(opened(initialize, { ...OK, id: 1, result }, { id: 's', home, revision: 'r', now: 5, text: '' })).toEqual({
      id: 's',
      backendSessionId: 's',
      home: { id: 'a', origin: 'http://a' },
      epoch: 0,
      revision: 'r',
      changes: 0,
      createdAt: 5,
      ...result,
      journal: { initialize: initialize.params, initialized: false, subscriptions: [] },
      safeTools: [],
    });
  });

  test.each<[string, string, boolean]>([
    ['as JSON.stringify writes it', '{"protocolVersion":"v","a":[1,"é"]}', false],
    ['with a large number', '{"protocolVersion":"v","a":9007199254740993}', true],
    ['with another form of a number', '{"protocolVersion":"v","a":1.0}', true],
    ['with a repeated key', '{"protocolVersion":"v","a":1,"a":1}', true],
    ['with white space', '{"protocolVersion":"v", "a":1}', true],
    ['without a version', '{"a":1.0}', false],
    ['that is long', `{"protocolVersion":"v","a":1.0,"b":"${'x'.repeat(8192)}"}`, false],
    ['that is deep', `{"protocolVersion":"v","a":${'['.repeat(20_000)}${']'.repeat(20_000)}}`, false],
  ])('keeps the text of an initialize %s: %s', (_what, params, kept) => {
    const text = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":${params}}`;
    const home = { id: 'a', origin: 'http://a', draining: false, suspect: false };
    const initialize = { ...request('initialize'), params: JSON.parse(params) };
    const { journal } = opened(
      initialize,
      { ...OK, id: 1, result: {} },
      { id: 's', home, revision: 'r', now: 5, text },
    );
    expect(journal.initializeText).toBe(kept ? text : undefined);
  });

  test('remembers what succeeded, once, and forgets what was taken back', () => {
    const { journal } = after(
      DONE,
      request('logging/setLevel', { level: 'debug' }),
      subscribe('x'),
      subscribe('y'),
      subscribe('x'),
      unsubscribe('y'),
    );
    expect(journal).toEqual({ initialize: {}, initialized: true, level: 'debug', subscriptions: ['x'] });
  });

  test('is the same object where nothing changes', () => {
    const session = after(DONE, subscribe('x'));
    for (const [message, answer] of [
      [DONE, undefined],
      [subscribe('x'), OK],
      [subscribe('y'), NO],
      [unsubscribe('z'), OK],
      [request('ping'), OK],
    ] as const) {
      expect(fold(session, message, answer)).toBe(session);
    }
  });

  test('knows its safe tools by their hints, page by page', () => {
    const tool = (name: string, annotations = {}) => ({ name, annotations });
    const list = (tools: unknown, params = {}) =>
      fold(listed, request('tools/list', params), { ...OK, id: 1, result: { tools } });
    let listed = fresh;
    listed = list([tool('read', { readOnlyHint: true }), tool('set', { idempotentHint: true }), tool('add')]);
    expect(listed.safeTools).toEqual(['read', 'set']);
    listed = list([tool('more', { readOnlyHint: true }), tool('set')], { cursor: '2' });
    expect(listed.safeTools).toEqual(['read', 'more']);
    expect(list([tool('add')]).safeTools).toEqual([]);
    expect(list('nonsense').safeTools).toEqual([]);
  });

  test('is busy while a task lives, the one that lives longest', () => {
    const call = request('tools/call', { name: 'x', task: { ttl: 60_000 } });
    const task = (ttl: number | null, createdAt: unknown = '2026-11-21T00:00:00.000Z') => ({
      ...OK,
      result: { task: { taskId: 't', status: 'working', ttl, createdAt, lastUpdatedAt: createdAt } },
    });
    const noon = Date.parse('2026-11-21T00:00:00.000Z');
    const long = fold(fresh, call, task(60_000));
    expect(long.busyUntil).toBe(noon + 60_000);
    expect(fold(long, call, task(1_000))).toBe(long);
    expect(fold(long, call, task(null)).busyUntil).toBe(noon + 86_400_000);
    expect([fold(fresh, call, OK), fold(fresh, call, task(5, 'never')), fold(fresh, call, task(5, 7))]).toEqual([
      fresh,
      fresh,
      fresh,
    ]);
    expect([remembered(call), remembered(request('tools/call'))]).toEqual(['knowledge', undefined]);
  });
});

test('the messages that change a session are known before they are answered', () => {
  const methods = [
    'ping',
    'tools/list',
    'logging/setLevel',
    'resources/subscribe',
    'resources/unsubscribe',
    'tools/call',
  ];
  expect(methods.map((method) => remembered(request(method)))).toEqual([
    undefined,
    'knowledge',
    'promise',
    'promise',
    'promise',
    undefined,
  ]);
  expect([remembered(DONE), remembered(OK)]).toEqual(['promise', undefined]);
});

describe('a new home', () => {
  const words = (steps: ReturnType<typeof replay>) =>
    steps.map(({ method, params }) => [method, ...Object.values(params ?? {})].join(' '));
  const { journal } = after(DONE, request('logging/setLevel', { level: 'info' }), subscribe('x'), subscribe('y'));

  test('is told everything, in order', () => {
    expect(words(replay(journal, undefined))).toEqual([
      'notifications/initialized',
      'logging/setLevel info',
      'resources/subscribe x',
      'resources/subscribe y',
    ]);
  });

  test('is told the difference, when the session changed meanwhile', () => {
    const later = { ...journal, level: 'debug', subscriptions: ['y', 'z'] };
    expect(words(replay(later, journal))).toEqual([
      'logging/setLevel debug',
      'resources/subscribe z',
      'resources/unsubscribe x',
    ]);
    expect(replay(journal, journal)).toEqual([]);
  });

  test.each<[string, Partial<Pick<Session, 'protocolVersion' | 'capabilities'>>, string | undefined]>([
    ['the same', {}, undefined],
    [
      'more',
      { capabilities: { tools: { listChanged: true }, resources: { subscribe: true }, logging: {} } },
      undefined,
    ],
    ['another version', { protocolVersion: '2025-03-26' }, 'protocol version 2025-06-18 became 2025-03-26'],
    ['a capability less', { capabilities: { tools: { listChanged: true } } }, 'capability resources is gone'],
    [
      'a part of one less',
      { capabilities: { tools: {}, resources: { subscribe: true } } },
      'capability tools.listChanged is gone',
    ],
  ])('that offers %s', (_what, offered, why) => {
    const session = {
      ...fresh,
      protocolVersion: '2025-06-18',
      capabilities: { tools: { listChanged: true }, resources: { subscribe: true } },
    };
    expect(incompatibility(session, { ...session, ...offered })).toBe(why);
  });
});

describe('what may be sent twice', () => {
  const call = (name: string) => request('tools/call', { name });
  test.each<[string, readonly JsonRpcMessage[], boolean]>([
    ['a ping', [request('ping')], true],
    ['every list', [request('tools/list'), request('resources/templates/list')], true],
    ['a read', [request('resources/read')], true],
    ['a subscription', [subscribe('x')], true],
    ['initialize', [request('initialize')], true],
    ['a notification, an answer', [DONE, OK], true],
    ['a safe tool', [call('read')], true],
    ['another tool', [call('add')], false],
    ['a call of nothing', [request('tools/call')], false],
    ['a method that nobody knows', [request('orders/place')], false],
    ['a batch by its strictest', [call('read'), call('add')], false],
  ])('%s', (_what, messages, expected) => {
    expect(mayReplay(messages, ['read'], 'safe')).toBe(expected);
    expect(mayReplay(messages, ['read'], 'never')).toBe(false);
    expect(mayReplay(messages, ['read'], 'always')).toBe(true);
  });
});
