/** Which questions of a server are open, read from bytes cut anywhere. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { eventSplitter, readEvent } from '../../proxy/sse.ts';
import { type Asking, answersIn, questionReader } from '../../server/questions.ts';

const IDS = fc.oneof(fc.integer(), fc.string({ unit: 'grapheme', maxLength: 8 }));
const EOLS = fc.constantFrom('\n', '\r\n', '\r');
type Told = { readonly text: string; readonly found: readonly Asking[] };

const messages: fc.Arbitrary<{ readonly message: unknown; readonly found: readonly Asking[] }> = fc.oneof(
  IDS.map((id) => ({
    message: { jsonrpc: '2.0', id, method: 'elicitation/create', params: { message: 'ä\n💬' } },
    found: [{ kind: 'asked' as const, question: questionOf(id) }],
  })),
  IDS.map((id) => ({
    message: { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } },
    found: [{ kind: 'cancelled' as const, question: questionOf(id) }],
  })),
  fc.constant({ message: { jsonrpc: '2.0', method: 'notifications/message', params: {} }, found: [] }),
  IDS.map((id) => ({ message: { jsonrpc: '2.0', id, result: { text: '"method"' } }, found: [] })),
  fc.constantFrom('', 'no JSON "method"', '{"method":', 'null').map((message) => ({ message, found: [] })),
);

function questionOf(id: string | number): Asking['question'] {
  return typeof id === 'string' ? `string:${id}` : `number:${id}`;
}

/** One event: its data over one line or, pretty-printed, over many; sometimes an id, a comment, or a batch. */
const events: fc.Arbitrary<Told> = fc
  .record({
    said: fc.array(messages, { minLength: 1, maxLength: 3 }),
    eol: EOLS,
    indent: fc.constantFrom(undefined, 2),
    before: fc.constantFrom([], ['id: 7'], [': note'], ['event: message']),
    space: fc.constantFrom('', ' '),
  })
  .map(({ said, eol, indent, before, space }) => {
    const [only] = said;
    const body = said.length === 1 ? only?.message : said.map(({ message }) => message);
    const data = typeof body === 'string' ? body : JSON.stringify(body, undefined, indent);
    const lines = [...before, ...data.split('\n').map((line) => `data:${space}${line}`), '', ''];
    return { text: lines.join(eol), found: said.flatMap(({ found }) => found) };
  });

const streams = fc.array(events, { maxLength: 6 }).chain((told) =>
  fc.record({
    told: fc.constant(told),
    cuts: fc.array(fc.nat({ max: Buffer.byteLength(told.map(({ text }) => text).join('')) }), { maxLength: 12 }),
  }),
);

describe('the reader', () => {
  test('finds the same however the bytes are cut, and when a buffer is used again', () => {
    const property = fc.property(streams, ({ told, cuts }) => {
      const bytes = Buffer.from(told.map(({ text }) => text).join(''));
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      const reader = questionReader();
      const found = at.slice(1).flatMap((to, index) => {
        const chunk = Buffer.from(bytes.subarray(at[index], to));
        const read = reader.read(chunk);
        chunk.fill('x');
        return read;
      });
      expect(found).toEqual(told.flatMap((one) => one.found));
      expect(reader.whole).toBe(true);
    });
    fc.assert(property, { numRuns: 500 });
  });

  test('finds the same byte by byte', () => {
    const property = fc.property(fc.array(events, { maxLength: 3 }), (told) => {
      const reader = questionReader();
      const bytes = Buffer.from(told.map(({ text }) => text).join(''));
      const found = [...bytes].flatMap((byte) => reader.read(Buffer.of(byte)));
      expect(found).toEqual(told.flatMap((one) => one.found));
    });
    fc.assert(property);
  });

  test.each([
    ['', true],
    ['data: x', false],
    ['data: x\n', false],
    ['data: x\r\n', false],
    ['data: x\n\n', true],
    ['data: x\r\n\r\n', true],
    ['data: x\r\r', true],
    [': comment\n\n', true],
    ['data: x\n\ndata', false],
  ])('after %j is whole: %s', (text, whole) => {
    const reader = questionReader();
    reader.read(Buffer.from(text));
    expect(reader.whole).toBe(whole);
  });

  test.each([65_536, 4_000_000, 6_000_000])('passes over an event that is too long, in chunks of %i bytes', (size) => {
    const reader = questionReader();
    const long = { id: 1, method: 'x', params: { text: 'x'.repeat(5 * 1024 * 1024) } };
    const bytes = Buffer.from(`data: ${JSON.stringify(long)}\n\ndata: {"id":2,"method":"x"}\n\n`);
    const found = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => {
      const read = reader.read(bytes.subarray(at * size, (at + 1) * size));
      expect(reader.whole).toBe((at + 1) * size >= bytes.length);
      return read;
    });
    expect(found.flat()).toEqual([{ kind: 'asked', question: 'number:2' }]);
  });
});

describe('a byte order mark', () => {
  const asked = (id: number) => JSON.stringify({ jsonrpc: '2.0', id, method: 'ping' });

  test.each(['\n', '\r\n', '\r'])('before an event is passed over, with lines that end in %j', (eol) => {
    const text = [1, 2, 3].map((id) => `\uFEFFdata: ${asked(id)}${eol}${eol}`).join('');
    expect(questionReader().read(Buffer.from(text))).toHaveLength(3);
  });

  test('anywhere is read as the proxy reads it, however the bytes are cut', () => {
    const marks = fc.constantFrom('', '\uFEFF');
    const lines = fc.tuple(marks, fc.constantFrom('data: ', 'data:', 'da\uFEFFta: '), marks, marks, EOLS);
    const stream = fc.array(lines, { minLength: 1, maxLength: 5 });
    const property = fc.property(stream, fc.array(fc.nat(), { maxLength: 8 }), (told, cuts) => {
      const texts = told.map(([a, field, b, c, eol], id) => `${a}${field}${b}${asked(id)}${c}${eol}${eol}`);
      const bytes = Buffer.from(texts.join(''));
      const at = [0, ...cuts.map((cut) => cut % bytes.length).toSorted((a, b) => a - b), bytes.length];
      const reader = questionReader();
      const splitter = eventSplitter(bytes.length);
      for (const [index, to] of at.slice(1).entries()) {
        const chunk = bytes.subarray(at[index], to);
        const passed = splitter.feed(chunk).map(({ raw }) => readEvent(raw).data);
        const questions = passed.filter((data) => told.some((_one, id) => data === asked(id)));
        expect(reader.read(chunk)).toEqual(
          questions.map((data) => ({ kind: 'asked', question: `number:${JSON.parse(data ?? '').id}` })),
        );
      }
    });
    fc.assert(property, { numRuns: 500 });
  });
});

describe('answers', () => {
  const reply = { jsonrpc: '2.0', id: 1, result: {} };
  test.each<[string, unknown, readonly string[]]>([
    ['an object', reply, ['number:1']],
    ['an error', { jsonrpc: '2.0', id: '1', error: { code: 1, message: '' } }, ['string:1']],
    ['a batch', [reply, { jsonrpc: '2.0', id: 2, method: 'ping' }], ['number:1']],
    ['text', JSON.stringify(reply), ['number:1']],
    ['bytes', Buffer.from(JSON.stringify(reply)), ['number:1']],
    ['a request', { jsonrpc: '2.0', id: 1, method: 'ping', params: { result: 1 } }, []],
    ['no JSON', '{', []],
    ['nothing', undefined, []],
    ['null', [null, 1, 'x'], []],
    ['a list, whatever it bears', [Object.assign([], reply)], []],
  ])('in %s', (_what, body, found) => {
    expect(answersIn(body)).toEqual(found);
  });
});
