/** What a request wants, in both eras, and every shape that is none. */

import { describe, expect, test } from 'vitest';
import { classify } from '../../proxy/classify.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const PING = { jsonrpc: '2.0', id: 1, method: 'ping' };
const INITIALIZE = { jsonrpc: '2.0', id: 0, method: 'initialize', params: {} };
const DONE = { jsonrpc: '2.0', method: 'notifications/initialized' };
const ANSWER = { jsonrpc: '2.0', id: 'q', result: {} };

function wants(method: string, headers: Record<string, string>, body?: unknown) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return classify(method, (name) => headers[name], body === undefined ? undefined : Buffer.from(text));
}
function words(...request: Parameters<typeof wants>): string {
  const intent = wants(...request);
  if (intent.kind === 'continue') return `${intent.verb} ${intent.id}`;
  return intent.kind === 'malformed' ? `${intent.status} ${intent.code}` : intent.kind;
}

test.each<[string, string, Record<string, string>, unknown, string]>([
  ['initialize', 'POST', JSON_TYPE, INITIALIZE, 'open'],
  ['initialize with a stale session', 'POST', { ...JSON_TYPE, 'mcp-session-id': 's' }, INITIALIZE, 'open'],
  ['initialize in a batch of one', 'POST', JSON_TYPE, [INITIALIZE], 'open'],
  ['a request of a session', 'POST', { ...JSON_TYPE, 'mcp-session-id': 's' }, PING, 'post s'],
  ['a batch of a session', 'POST', { ...JSON_TYPE, 'mcp-session-id': 's' }, [PING, DONE, ANSWER], 'post s'],
  ['a request without a session', 'POST', JSON_TYPE, PING, 'any'],
  ['a type with parameters', 'POST', { 'content-type': 'Application/JSON; charset=utf-8' }, PING, 'any'],
  [
    'a sessionless revision',
    'POST',
    { ...JSON_TYPE, 'mcp-session-id': 's', 'mcp-protocol-version': '2026-07-28' },
    PING,
    'any',
  ],
  [
    'a later revision',
    'POST',
    { ...JSON_TYPE, 'mcp-session-id': 's', 'mcp-protocol-version': '2027-01-01' },
    PING,
    'any',
  ],
  [
    'a sessionful revision',
    'POST',
    { ...JSON_TYPE, 'mcp-session-id': 's', 'mcp-protocol-version': '2025-11-25' },
    PING,
    'post s',
  ],
  ['an array of params', 'POST', JSON_TYPE, { ...PING, params: [] }, 'any'],
  ['no params, said so', 'POST', JSON_TYPE, { ...DONE, params: null }, 'any'],
  ['initialize with an array of params', 'POST', JSON_TYPE, { ...INITIALIZE, params: [1] }, 'open'],
  ['a result that is null', 'POST', JSON_TYPE, { ...ANSWER, result: null }, 'any'],
  ['an error that is text', 'POST', JSON_TYPE, { jsonrpc: '2.0', id: 1, error: 'no' }, 'any'],
  ['a stream', 'GET', { 'mcp-session-id': 's' }, undefined, 'listen s'],
  ['a stream without a session', 'GET', {}, undefined, 'any'],
  ['the end of a session', 'DELETE', { 'mcp-session-id': 's' }, undefined, 'end s'],
  ['a preflight', 'OPTIONS', {}, undefined, 'any'],
  ['a HEAD', 'HEAD', {}, undefined, 'any'],
])('%s', (_what, method, headers, body, expected) => {
  expect(words(method, headers, body)).toBe(expected);
});

describe('malformed', () => {
  const session = (id: string) => ({ ...JSON_TYPE, 'mcp-session-id': id });
  test.each<[string, string, Record<string, string>, unknown, string]>([
    ['no JSON', 'POST', JSON_TYPE, '{', '400 -32700'],
    ['nothing', 'POST', JSON_TYPE, undefined, '400 -32700'],
    ['no JSON-RPC', 'POST', JSON_TYPE, { hello: 1 }, '400 -32600'],
    ['an older JSON-RPC', 'POST', JSON_TYPE, { ...PING, jsonrpc: '1.0' }, '400 -32600'],
    ['an empty batch', 'POST', JSON_TYPE, [], '400 -32600'],
    ['a batch with a stranger', 'POST', JSON_TYPE, [PING, 1], '400 -32600'],
    ['a null id', 'POST', JSON_TYPE, { ...PING, id: null }, '400 -32600'],
    ['a method that is no text', 'POST', JSON_TYPE, { ...PING, method: 1, params: null }, '400 -32600'],
    ['a result without an id', 'POST', JSON_TYPE, { jsonrpc: '2.0', result: null }, '400 -32600'],
    ['initialize in company', 'POST', JSON_TYPE, [INITIALIZE, PING], '400 -32600'],
    ['another type', 'POST', { 'content-type': 'text/plain' }, PING, '415 -32000'],
    ['no type', 'POST', {}, PING, '415 -32000'],
    ['another method', 'PUT', JSON_TYPE, PING, '405 -32000'],
    ['an empty session id', 'POST', session(''), PING, '400 -32600'],
    ['two session ids', 'POST', session('a, b'), PING, '400 -32600'],
    ['a long session id', 'POST', session('x'.repeat(48 * 1024 + 1)), PING, '400 -32600'],
    ['a session id of other letters', 'GET', session('ü'), undefined, '400 -32600'],
  ])('%s', (_what, method, headers, body, expected) => {
    expect(words(method, headers, body)).toBe(expected);
  });

  test('the longest session id is none of it', () => {
    expect(words('GET', session('~'.repeat(48 * 1024)))).toBe(`listen ${'~'.repeat(48 * 1024)}`);
  });

  test('another method is told which there are', () => {
    expect(wants('PUT', {})).toMatchObject({ allow: 'GET, POST, DELETE, OPTIONS, HEAD' });
  });
});
