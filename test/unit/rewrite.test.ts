/** After a migration only ids, tokens and cursors change, in the bytes; whatever else is in the text stays as it came. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { unansweredPart } from '../../proxy/address.ts';
import type { Exchange } from '../../proxy/contract.ts';
import { parseMessages } from '../../proxy/jsonrpc.ts';
import { type Sent, toClient, toHome } from '../../proxy/rewrite.ts';
import { eventSplitter } from '../../proxy/sse.ts';

/** A JSON text in parts, one character per byte: those that are objects are the ids that are to change. */
type Part = string | { readonly name: string };
type Text = readonly Part[];

const AT = 3;
/** As the client is shown it: what is ours stands around the home's own text. */
const shownAs = (raw: string): string => (raw.startsWith('"') ? `"e${AT}|s|${raw.slice(1)}` : `"e${AT}|n|${raw}"`);
const asItIs = (raw: string): string => raw;
const written = (text: Text, write: (raw: string) => string): string =>
  text.map((one) => (typeof one === 'string' ? one : write(one.name))).join('');

const space = fc.constantFrom('', '', ' ', '\n', '\t \n');
const number = fc.constantFrom('7', '-0', '1.0', '1e400', '1E+2', '-0.10e-3', '9007199254740993', '0');
/** Escapes, marks of JSON and of ours, UTF-8, and bytes that are none. */
const piece = fc.constantFrom(
  'a',
  '\\u0041',
  '\\/',
  '\\"',
  '\\\\',
  '\\n',
  '\\ud83d',
  '{',
  ']',
  ',',
  'Ã¤',
  '\xff',
  'e3|n|0',
);
const string = fc.array(piece, { maxLength: 5 }).map((pieces) => `"${pieces.join('')}"`);
const scalar = fc.oneof(number, string, fc.constantFrom('true', 'false', 'null'));
/** Keys that mean something elsewhere must not here. */
const anyKey = fc.constantFrom(
  '"id"',
  '"params"',
  '"_meta"',
  '"progressToken"',
  '"requestId"',
  '"method"',
  '"a"',
  '""',
);

const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    scalar,
    fc
      .tuple(space, fc.array(fc.tuple(space, tie('value'), space), { maxLength: 3 }))
      .map(([before, members]) =>
        members.length === 0 ? `[${before}]` : `[${members.map((one) => one.join('')).join(',')}]`,
      ),
    fc
      .array(fc.tuple(space, anyKey, space, space, tie('value'), space), { maxLength: 3 })
      .map((members) => `{${members.map(([a, key, b, c, of, d]) => `${a}${key}${b}:${c}${of}${d}`).join(',')}}`),
  ),
}));

const id = fc.oneof(number, string).map((name): Text => [{ name }]);
const plain = (of: fc.Arbitrary<string>): fc.Arbitrary<Text> => of.map((text) => [text]);
type Member = readonly [key: string, value: fc.Arbitrary<Text>];

/** An object of these members, each once or twice, in any order, among others. */
function object(members: readonly Member[]): fc.Arbitrary<Text> {
  const each = [...members, ['"x"', plain(value)] as const].flatMap(([key, of]) => {
    const member = fc.tuple(space, fc.constantFrom(key, escaped(key)), space, of, space);
    return [member.map((one) => [one]), fc.array(member, { maxLength: 1 })];
  });
  return fc
    .tuple(...each)
    .chain((all) => fc.shuffledSubarray(all.flat(), { minLength: all.flat().length }))
    .map((all) => ['{', all.map(([a, key, b, of, c], at) => [at > 0 ? ',' : '', a, key, b, ':', of, c]), '}'].flat(3));
}

/** The same key, its second letter written as an escape. */
function escaped(key: string): string {
  const code = key.charCodeAt(2).toString(16).padStart(4, '0');
  return key.length < 4 ? key : `${key.slice(0, 2)}\\u${code}${key.slice(3)}`;
}

const constant = (text: string): fc.Arbitrary<Text> => fc.constant([text]);
const VERSION: Member = ['"jsonrpc"', constant('"2.0"')];
const request = object([
  VERSION,
  ['"id"', id],
  ['"method"', constant('"sampling/createMessage"')],
  [
    '"params"',
    object([
      ['"_meta"', object([['"progressToken"', id]])],
      ['"progressToken"', plain(scalar)],
    ]),
  ],
]);
const cancelled = object([
  VERSION,
  ['"method"', constant('"notifications/cancelled"')],
  [
    '"params"',
    object([
      ['"requestId"', id],
      ['"_meta"', object([['"progressToken"', plain(scalar)]])],
    ]),
  ],
]);
const notification = object([
  VERSION,
  ['"method"', constant('"notifications/progress"')],
  ['"params"', object([['"progressToken"', plain(scalar)]])],
]);
const result = object([VERSION, ['"id"', id], ['"result"', object([['"id"', plain(value)]])]]);
const failure = object([
  VERSION,
  ['"id"', id],
  [
    '"error"',
    object([
      ['"code"', constant('1')],
      ['"message"', plain(string)],
    ]),
  ],
]);
const progress = object([
  VERSION,
  ['"method"', constant('"notifications/progress"')],
  [
    '"params"',
    object([
      ['"progressToken"', id],
      ['"_meta"', object([['"progressToken"', plain(scalar)]])],
    ]),
  ],
]);

/** One of them, or a batch of some. */
function oneOrMore(of: fc.Arbitrary<Text>): fc.Arbitrary<Text> {
  const batch = fc.array(fc.tuple(space, of, space), { minLength: 1, maxLength: 3 });
  return fc.oneof(
    fc.tuple(space, of, space).map((all): Text => all.flat()),
    batch.map((all): Text => ['[', all.map((one, at) => [at > 0 ? ',' : '', ...one.flat()]), ']'].flat(2)),
  );
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
function sent(text: string): Sent {
  const parsed = parseMessages(bytes(text).toString('utf8'));
  if (parsed.kind !== 'messages') throw new Error(`${parsed.kind}: ${text}`);
  return { body: bytes(text), messages: parsed.messages };
}

test("a client's answers and progress go back in the bytes that they came in", () => {
  fc.assert(
    fc.property(oneOrMore(fc.oneof(result, failure, progress)), (text) => {
      const home = written(text, asItIs);
      const renamed = toHome(sent(written(text, shownAs)), AT);
      expect(renamed).toEqual({ kind: 'renamed', to: sent(home) });
      expect(toHome(sent(home), 0).kind).not.toBe('renamed');
    }),
    { numRuns: 300 },
  );
});

const event = fc.record({
  text: oneOrMore(
    fc.oneof(
      request,
      cancelled,
      notification.map((text): Text => [written(text, asItIs)]),
    ),
  ),
  eol: fc.constantFrom('\n', '\r\n', '\r'),
  before: fc.constantFrom<readonly string[]>([], ['event: message'], [': id: 7', 'retry: 5'], ['id', 'id:']),
  cursor: fc.constantFrom(undefined, '7', 'e3\xff', '{"id":1}'),
  after: fc.constantFrom<readonly string[]>([], ['other: 1', 'dataset: x', ': data: x']),
  space: fc.constantFrom('', ' '),
  mark: fc.constantFrom('', '\xef\xbb\xbf'),
});

test("a home's questions are shown in the bytes that they came in", () => {
  fc.assert(
    fc.property(event, ({ text, eol, before, cursor, after, space: gap, mark }) => {
      const inBytes = (write: typeof asItIs, prefix: string): Buffer => {
        const data = written(text, write)
          .split('\n')
          .map((line) => `data:${gap}${line}`);
        const named = cursor === undefined ? [] : [`id:${gap}${prefix}${cursor}`];
        return bytes(`${mark}${[...before, ...data, ...named, ...after, '', ''].join(eol)}`);
      };
      const raw = inBytes(asItIs, '');
      const { messages } = sent(written(text, asItIs));
      const shown = toClient({ raw, ...(cursor !== undefined && { id: cursor }), messages }, AT);
      const expected = inBytes(shownAs, `e${AT}|`);
      expect(shown.raw.toString('latin1')).toBe(expected.toString('latin1'));
      expect(shown.messages).toEqual(sent(written(text, shownAs)).messages);
      expect(toClient({ raw, messages }, 0).raw).toBe(raw);
      expect(eventSplitter(1e6).feed(shown.raw)).toHaveLength(1);
    }),
    { numRuns: 300 },
  );
});

describe('of a batch', () => {
  const exchange = (body: string): Exchange => ({
    method: 'POST',
    target: '/mcp',
    headers: [],
    body: bytes(body),
    intent: { kind: 'continue', id: 's', verb: 'post', messages: sent(body).messages },
    signal: new AbortController().signal,
  });
  const call = (of: string): string => `{ "id":${of},"jsonrpc":"2.0", "method":"x","params":{"id":1.0,"id":1e400}}`;
  const said = '{"jsonrpc":"2.0","method":"notifications/x"}';

  test.each<[string, string, readonly (string | number)[], string]>([
    ['the first', `[ ${call('1')} ,\n${call('2')} ]`, [1], `[ ${call('1')} ]`],
    ['the last', `[ ${call('1')} ,\n${call('2')} ]`, [2], `[ ${call('2')} ]`],
    ['the middle', `[${call('1')}, ${call('"a"')} ,${call('3')}]`, ['a'], `[${call('"a"')}]`],
    ['all but the middle', `[${call('1')}, ${call('2')} ,${call('3')}]`, [1, 3], `[${call('1')} ,${call('3')}]`],
    ['none of the requests', `[${call('1')},${said},\t${call('2')}]`, [], `[${said}]`],
    ['one whose id is no integer', `[${call('1.50')},${call('1e2')}]`, [100], `[${call('1e2')}]`],
  ])('%s that is left goes out as it came', (_what, body, unanswered, expected) => {
    const rest = unansweredPart(exchange(body), unanswered);
    expect(rest.body?.toString('latin1')).toBe(expected);
    expect(rest.intent).toMatchObject({ messages: sent(expected).messages });
  });

  test('all that is left is the same exchange', () => {
    const whole = exchange(`[${call('1')},${said}]`);
    expect(unansweredPart(whole, [1])).toBe(whole);
  });

  test('an answer to a dead question is left out, and the rest is mapped', () => {
    const answer = (to: string): string => `{"id": ${to} ,"jsonrpc":"2.0","result":{"n":9007199254740993}}`;
    const body = `[${answer('"e2|n|1"')}, ${answer('"e3|n|1.0"')},${said} , ${answer('0')}]`;
    const expected = `[${answer('1.0')},${said}]`;
    expect(toHome(sent(body), 3)).toEqual({ kind: 'renamed', to: sent(expected) });
  });
});

describe('an id that no home gave', () => {
  const answer = (to: string): string => `{"jsonrpc":"2.0","id":${to},"result":{}}`;

  test.each([
    '"e3|n|"',
    '"e3|n|1,\\"x\\":2"',
    '"e3|n|01"',
    '"e3|n|NaN"',
    '"e3|n| 1"',
    '"e3|n|1\\n"',
    '"e3|x|1"',
    'null,"id":1',
  ])('%s is answered to nobody', (made) => {
    expect(toHome(sent(answer(made)), 3)).toMatchObject({ kind: 'renamed', to: { messages: [] } });
  });

  test.each([
    ['escaped', '"\\u0065\\u0033|\\u006e|7"', '7'],
    ['escaped in part', '"e3\\u007cs\\u007ca\\u0041\\/"', '"a\\u0041\\/"'],
    ['empty', '"e3|s|"', '""'],
    ['like one of ours', '"e3|s|e3|s|1"', '"e3|s|1"'],
  ])('%s is read by its value', (_what, made, expected) => {
    expect(toHome(sent(answer(made)), 3)).toEqual({ kind: 'renamed', to: sent(answer(expected)) });
  });

  test('twice, of two epochs, is answered to nobody', () => {
    expect(toHome(sent(answer('"e2|n|7","id":"e3|n|7"')), 3)).toMatchObject({ to: { messages: [] } });
    expect(toHome(sent(answer('"e4|n|7","id":"e3|n|7"')), 3)).toEqual({ kind: 'later' });
  });
});

describe('hostile text', () => {
  const start = '{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":';
  const SIZE = 4_000_000;
  test.each<[string, string]>([
    ['20,000 deep', `${'['.repeat(20_000)}${']'.repeat(20_000)}`],
    ['deep objects', `${'{"_meta":'.repeat(20_000)}1${'}'.repeat(20_000)}`],
    ['brackets', `${'['.repeat(SIZE / 2)}${']'.repeat(SIZE / 2)}`],
    ['one string', `"${'x'.repeat(SIZE)}"`],
    ['escaped quotes', `"${'\\"'.repeat(SIZE / 2)}"`],
    ['backslashes', `"${'\\'.repeat(SIZE)}"`],
    ['one number', `1${'0'.repeat(SIZE)}`],
    ['white space', `${' '.repeat(SIZE)}1`],
    ['many keys', `{${Array.from({ length: 200_000 }, (_, at) => `"progressToken":${at}`).join(',')}}`],
    ['many ids', `1},${'"id":2,'.repeat(200_000)}"params":{"a":1`],
    ['many lines', `[\n${'1,\n'.repeat(200_000)}1]`],
  ])('%s takes time in proportion to its length', (_what, inner) => {
    const data = `${start}${inner}}}`;
    const raw = bytes(`data: ${data.replaceAll('\n', '\ndata: ')}\n\n`);
    const { messages } = sent(data);
    const began = performance.now();
    const shown = toClient({ raw, messages }, 1);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(shown.raw.length).toBeGreaterThan(raw.length);
    expect(shown.messages).toHaveLength(1);
  });

  test('a batch with each id on a line of its own takes time in proportion to its length', () => {
    const members = Array.from({ length: 60_000 }, (_, at) => `{"jsonrpc":"2.0",\n"id":${at},\n"method":"x"}`);
    const data = `[${members.join(',\n')}]`;
    const raw = bytes(`data: ${data.replaceAll('\n', '\ndata: ')}\n\n`);
    const began = performance.now();
    expect(toClient({ raw, messages: sent(data).messages }, 1).raw.includes('"id":"e1|n|59999"')).toBe(true);
    const answers = bytes(`[${members.map((one) => one.replace('"method":"x"', '"result":{}')).join(',')}]`);
    expect(toHome(sent(answers.toString('latin1')), 1)).toMatchObject({ to: { messages: [] } });
    expect(performance.now() - began).toBeLessThan(5000);
  });
});
