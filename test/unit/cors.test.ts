/** What a page of another origin is told, by a table: own answers, servers with CORS and without, preflights. */

import { describe, expect, test } from 'vitest';
import { type Cors, corsOf, preflightFields, withCors } from '../../proxy/cors.ts';
import type { GuardRules } from '../../proxy/guard.ts';

const APP = 'https://app.example.com';
const OTHER = 'https://other.example.com';
const OPEN: GuardRules = { host: '0.0.0.0', allowedHosts: undefined, allowedOrigins: [OTHER], cors: [APP] };
const PLAIN: GuardRules = { ...OPEN, allowedOrigins: undefined, cors: undefined };
const LOOPBACK: GuardRules = { ...PLAIN, host: '127.0.0.1' };

const asked = (origin: string | undefined, more: Record<string, string> = {}, method = 'POST') => ({
  method,
  headers: { host: 'mcp.example.com', ...(origin !== undefined && { origin }), ...more },
});
const fields = (...pairs: [string, string][]) => pairs.flat();
/** By lower-case name; a field that is there twice is a list. */
function read(headers: readonly string[] | undefined): Record<string, string | string[]> {
  const found: Record<string, string | string[]> = {};
  for (let at = 0; at + 1 < (headers?.length ?? 0); at += 2) {
    const name = headers![at]!.toLowerCase();
    const before = found[name];
    found[name] = before === undefined ? headers![at + 1]! : [before, headers![at + 1]!].flat();
  }
  return found;
}

describe('whose page asks', () => {
  test.each<[string, GuardRules, string | undefined, Partial<Cors> | undefined]>([
    ['nobody', PLAIN, undefined, undefined],
    ['nobody, where another would be told more', OPEN, undefined, { origin: undefined, listed: true }],
    ['one that is listed', OPEN, APP, { origin: APP, listed: true }],
    ['one that is listed, in capitals', OPEN, 'HTTPS://APP.example.com', { listed: true }],
    ['one that is allowed', OPEN, OTHER, { origin: OTHER, listed: false }],
    ['a stranger', OPEN, 'https://evil.example', undefined],
    ['a page without an origin', OPEN, 'null', undefined],
    ['the same host', PLAIN, 'http://mcp.example.com', { listed: false }],
    ['another port of it', PLAIN, 'http://mcp.example.com:81', undefined],
    ['a loopback page, where we are on loopback', LOOPBACK, 'http://localhost:5173', { listed: false }],
    ['a loopback page, where we are not', PLAIN, 'http://localhost:5173', undefined],
  ])('%s', (_what, rules, origin, expected) => {
    const cors = corsOf(asked(origin), rules);
    expect(cors === undefined).toBe(expected === undefined);
    expect(cors ?? {}).toMatchObject(expected ?? {});
  });
});

const LISTED: Cors = { origin: APP, listed: true, preflight: undefined };
const ALLOWED: Cors = { origin: OTHER, listed: false, preflight: undefined };
const EXPOSED = 'Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, WWW-Authenticate, Allow';

describe('an answer', () => {
  const json = fields(['content-type', 'application/json']);
  test.each<[string, readonly string[], Cors | undefined, boolean, Record<string, string | string[]>]>([
    ['of ours to nobody in particular', json, undefined, true, {}],
    ['of a server to nobody in particular', json, undefined, false, {}],
    [
      'of ours to an allowed origin',
      json,
      ALLOWED,
      true,
      { 'access-control-allow-origin': OTHER, 'access-control-expose-headers': EXPOSED, vary: 'Origin' },
    ],
    ['of a server to an allowed origin is its own affair', json, ALLOWED, false, {}],
    [
      'of a server without CORS to a listed one',
      json,
      LISTED,
      false,
      { 'access-control-allow-origin': APP, 'access-control-expose-headers': EXPOSED, vary: 'Origin' },
    ],
    [
      'of a server with CORS: nothing is doubled, what is missing is exposed',
      fields(
        ['Access-Control-Allow-Origin', APP],
        ['Access-Control-Allow-Credentials', 'true'],
        ['Access-Control-Expose-Headers', 'mcp-session-id, X-More'],
        ['Vary', 'Accept, origin'],
      ),
      LISTED,
      false,
      {
        'access-control-allow-origin': APP,
        'access-control-allow-credentials': 'true',
        'access-control-expose-headers': [
          'mcp-session-id, X-More',
          'Mcp-Protocol-Version, Retry-After, WWW-Authenticate, Allow',
        ],
        vary: 'Accept, origin',
      },
    ],
    [
      'of a server that lets in and exposes all',
      fields(['access-control-allow-origin', '*'], ['access-control-expose-headers', '*']),
      LISTED,
      false,
      { 'access-control-allow-origin': '*', 'access-control-expose-headers': '*', vary: 'Origin' },
    ],
    [
      'of a server that lets in another origin',
      fields(['access-control-allow-origin', OTHER], ['access-control-allow-credentials', 'true'], ['vary', '*']),
      LISTED,
      false,
      { 'access-control-allow-origin': APP, 'access-control-expose-headers': EXPOSED, vary: '*' },
    ],
    [
      'of a server that says it twice',
      fields(['access-control-allow-origin', APP], ['access-control-allow-origin', APP]),
      LISTED,
      false,
      { 'access-control-allow-origin': APP, 'access-control-expose-headers': EXPOSED, vary: 'Origin' },
    ],
    ['to no page, where another would be told more', json, { ...LISTED, origin: undefined }, false, { vary: 'Origin' }],
  ])('%s', (_what, headers, cors, own, expected) => {
    const { 'content-type': _type, ...found } = read(withCors(headers, cors, own));
    expect(found).toEqual(expected);
  });
});

describe('a preflight', () => {
  const wants = (names: string, origin = APP) =>
    corsOf(
      asked(origin, { 'access-control-request-method': 'POST', 'access-control-request-headers': names }, 'OPTIONS'),
      OPEN,
    );
  const NO_ANSWER = { status: 503, headers: [], own: true };
  const allowedBy = (names: string, answer = NO_ANSWER) =>
    read(preflightFields(wants(names)!, answer))['access-control-allow-headers'];

  test('is OPTIONS with what it asks for', () => {
    expect(wants('')?.preflight).toEqual([]);
    expect(corsOf(asked(APP, {}, 'OPTIONS'), OPEN)?.preflight).toBeUndefined();
    expect(corsOf(asked(APP, { 'access-control-request-method': 'POST' }), OPEN)?.preflight).toBeUndefined();
  });

  test('is allowed what MCP needs, and no other field', () => {
    const base = 'Content-Type, Accept, Authorization, Last-Event-ID, Mcp-Session-Id, Mcp-Protocol-Version';
    expect(allowedBy('')).toBe(base);
    expect(allowedBy('content-type,mcp-session-id')).toBe(base);
    expect(allowedBy('Mcp-Method, mcp-name,x-api-key, cookie')).toBe(`${base}, mcp-method, mcp-name`);
    expect(allowedBy('mcp-affinity-session, mcp-a\r\nb, mcp-,')).toBe(base);
    const many = Array.from({ length: 100 }, (_, at) => `mcp-${at}`).join(',');
    expect(String(allowedBy(many)).split(', ')).toHaveLength(6 + 32);
  });

  test.each<[string, string, { status: number; headers: readonly string[]; own: boolean }, boolean]>([
    ['no backend', APP, NO_ANSWER, true],
    ['no backend, for one that is only allowed', OTHER, NO_ANSWER, true],
    ['405', APP, { status: 405, headers: [], own: false }, true],
    ['404', APP, { status: 404, headers: [], own: false }, true],
    ['405, for one that is only allowed', OTHER, { status: 405, headers: [], own: false }, false],
    ['204 without CORS', APP, { status: 204, headers: [], own: false }, true],
    ['204 for another origin', APP, { status: 204, headers: ['access-control-allow-origin', OTHER], own: false }, true],
    ['204 with CORS', APP, { status: 204, headers: ['access-control-allow-origin', APP], own: false }, false],
    ['405 with CORS', APP, { status: 405, headers: ['access-control-allow-origin', '*'], own: false }, true],
  ])('%s', (_what, origin, answer, ours) => {
    const answered = preflightFields(wants('mcp-session-id', origin)!, answer);
    expect(answered !== undefined).toBe(ours);
    if (answered === undefined) return;
    expect(read(answered)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'GET, POST, DELETE',
      'access-control-max-age': origin === APP ? '7200' : '0',
      vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
    });
  });

  test('that a server answers passes as it is', () => {
    const answer = fields(['access-control-allow-origin', APP]);
    expect(withCors(answer, wants(''), false)).toBe(answer);
  });
});
