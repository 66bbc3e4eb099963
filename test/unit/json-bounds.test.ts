/** What of a JSON text is parsed: all of a short one, of a long one no more than routing needs. */

import { assert, dictionary, integer, jsonValue, oneof, property, string } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MOST_DEPTH, MOST_MEMBERS, MOST_MESSAGES, WHOLE_TEXT, skim } from '../../proxy/json-bounds.ts';
import { parseMessages } from '../../proxy/jsonrpc.ts';

const LONG = 'x'.repeat(WHOLE_TEXT);
const CALL = { jsonrpc: '2.0', id: 1, method: 'tools/call' } as const;
const batch = (length: number): string => JSON.stringify(Array.from({ length }, () => CALL));
const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

/** What the text comes to, in a word, or the text that is to be parsed. */
function skimmed(text: string | Buffer): string {
  const found = skim(Buffer.from(text));
  if (found.kind === 'text') return found.text;
  return found.kind === 'beyond' ? found.bound : found.kind;
}
/** A message as it is read where the objects and arrays within its params are empty. */
function emptied(value: unknown, levels: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (levels === 0) return Array.isArray(value) ? [] : {};
  if (Array.isArray(value)) return value.map((one) => emptied(one, levels - 1));
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, emptied(one, levels - 1)]));
}

describe('a short text', () => {
  test.each(['', '{', ']', '{"a":[1,{"b":"]\\""}]}', 'no JSON at all', '"', '[{}}'])(
    '%j is parsed as it came',
    (text) => {
      expect(skimmed(text)).toBe(text);
    },
  );

  test('loses its byte order mark', () => {
    expect(skimmed('\uFEFF{}')).toBe('{}');
  });

  test.each([
    [`${MOST_DEPTH} levels`, nested(MOST_DEPTH), 'passes'],
    ['a level more', nested(MOST_DEPTH + 1), 'depth'],
    ['a level more that never ends', '['.repeat(MOST_DEPTH + 1), 'depth'],
    ['a level more of both kinds', '{"a":['.repeat(MOST_DEPTH / 2) + '{', 'depth'],
    ['brackets in a string', `["${'['.repeat(1000)}\\"[["]`, 'passes'],
    [`a batch of ${MOST_MESSAGES}`, batch(MOST_MESSAGES), 'passes'],
    ['a batch of one more', batch(MOST_MESSAGES + 1), 'batch'],
    ['a list in an object', JSON.stringify({ a: Array(1000).fill(0) }), 'passes'],
    ['commas in a string', JSON.stringify([','.repeat(1000)]), 'passes'],
  ])('of %s', (_what, text, verdict) => {
    expect(skimmed(text)).toBe(verdict === 'passes' ? text : verdict);
  });
});

describe('a long text', () => {
  test.each([
    ['a call', { ...CALL, params: { name: 'x', arguments: { text: LONG, list: [[1], { a: 2 }] } } }],
    ['a call with long params', { ...CALL, params: { name: LONG, arguments: { a: [1] } } }],
    ['params that are a list', { ...CALL, params: [LONG, [1], { a: 1 }] }],
    ['an answer', { jsonrpc: '2.0', id: 'q', result: { roots: [{ uri: LONG }], a: { b: 1 } } }],
    ['an error', { jsonrpc: '2.0', id: 2, error: { code: 1, message: 'no', data: [LONG] } }],
  ])('is read as far as its members: %s', (_what, message) => {
    expect(JSON.parse(skimmed(JSON.stringify(message)))).toEqual(emptied(message, 2));
    expect(JSON.parse(skimmed(JSON.stringify([message, CALL])))).toEqual([emptied(message, 2), CALL]);
  });

  test.each([
    ['a string that does not end', `{"a":"${LONG}`],
    ['an object that does not end', `{"a":{"b":{"c":"${LONG}"}`],
    ['an array that a brace ends', `{"a":{"b":["${LONG}"}}`],
    ['a brace that a bracket ends', `{"a":"${LONG}"]`],
    ['an end before a beginning', `}${LONG}`],
    ['more ends than beginnings', `{"a":"${LONG}"}}`],
    ['a quote that is escaped', `{"a":"${LONG}\\"}`],
  ])('that is no JSON: %s', (_what, text) => {
    expect(skimmed(text)).toBe('not-json');
  });

  test.each([
    ['members', `{${Array.from({ length: MOST_MEMBERS + 1 }, (_, at) => `"${at}":"${'x'.repeat(20)}"`).join(',')}}`],
    ['members of its params', `{"params":{${`"${'x'.repeat(20)}":1,`.repeat(MOST_MEMBERS + 1)}"a":1}}`],
    ['objects', `{"params":[${'{}'.repeat(WHOLE_TEXT)}]}`],
    ['objects beside each other', `[${'{}'.repeat(WHOLE_TEXT)}]`],
    ['digits', `{"id":${'1'.repeat(WHOLE_TEXT + 9)}}`],
    ['blanks', `{${' '.repeat(WHOLE_TEXT + 9)}}`],
  ])('has too many %s', (_what, text) => {
    expect(skimmed(text)).toBe('members');
  });

  test('its strings keep their bytes', () => {
    const text = `{"id":"\u00E9\\"\uD83D\uDE00","params":{"a":{"b":"${LONG}\\\\"}}}`;
    expect(skimmed(text)).toBe('{"id":"\u00E9\\"\uD83D\uDE00","params":{"a":{}}}');
  });

  test('whatever it is, it reads as its members do', () => {
    const params = dictionary(string(), jsonValue({ maxDepth: 4 }), { maxKeys: 8 });
    assert(
      property(params, oneof(string(), integer()), string(), (some, id, method) => {
        const message = { jsonrpc: '2.0', id, method, params: { ...some, last: { text: LONG } } };
        const text = JSON.stringify(message, undefined, 1);
        const messages = [emptied(JSON.parse(text), 2)];
        expect(parseMessages(skimmed(text))).toEqual({ kind: 'messages', messages });
      }),
      { numRuns: 50 },
    );
  });
});
