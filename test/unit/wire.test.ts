/** Events and ids on the wire: however they are cut, and whatever epoch they belong to. */

import { createParser } from 'eventsource-parser';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JsonRpcMessage, SseEvent } from '../../proxy/contract.ts';
import { cursorToHome, toClient, toHome } from '../../proxy/rewrite.ts';
import type { Sent } from '../../proxy/rewrite.ts';
import { eventSplitter, formatEvent, readEvent } from '../../proxy/sse.ts';

const line = fc.oneof(
  fc.string({ maxLength: 12 }).map((text) => `data: ${text.replaceAll(/[\r\n]/g, '')}`),
  fc.constantFrom('data', 'data:', ': comment', 'event: message', 'id: 7', 'id', 'retry: 10', 'other: 1', 'dataset: x'),
);
const end = fc.constantFrom('\n', '\r\n', '\r');
const event = fc
  .tuple(fc.array(line, { minLength: 1, maxLength: 4 }), end)
  .map(([lines, eol]) => lines.join(eol) + eol + eol);
const stream = fc.array(event, { maxLength: 6 }).map((events) => Buffer.from(events.join('')));

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const points = [...at.map((n) => n % (bytes.length + 1)), 0, bytes.length].toSorted((a, b) => a - b);
  return points.slice(1).map((to, index) => bytes.subarray(points[index], to));
}

describe('an event stream', () => {
  test('is the same bytes and the same events, however it is cut', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 8 }), (bytes, at) => {
        const splitter = eventSplitter(1_000_000);
        const raws = cut(bytes, at).flatMap((chunk) => splitter.feed(chunk).map(({ raw }) => raw));
        expect(Buffer.concat([...raws, splitter.rest()]).equals(bytes)).toBe(true);
        const whole = eventSplitter(1_000_000)
          .feed(bytes)
          .map(({ raw }) => readEvent(raw));
        expect(raws.map((raw) => readEvent(raw))).toEqual(whole);
      }),
    );
  });

  test('says what another parser reads in it', () => {
    fc.assert(
      fc.property(stream, (bytes) => {
        const expected: string[] = [];
        createParser({ onEvent: ({ data }) => void expected.push(data) }).feed(`${bytes.toString('utf8')}:\n`);
        const read = eventSplitter(1_000_000)
          .feed(bytes)
          .map(({ raw }) => readEvent(raw).data);
        expect(read.filter((data) => data !== undefined && data !== '')).toEqual(
          expected.filter((data) => data !== ''),
        );
      }),
    );
  });

  test('over the bound comes in pieces, and the next event is whole', () => {
    const splitter = eventSplitter(16);
    const long = Buffer.from(`data: ${'x'.repeat(40)}\n\ndata: y\n\n`);
    const splits = cut(long, [10, 20, 30]).flatMap((chunk) => splitter.feed(chunk));
    expect(splits.at(-1)).toEqual({ kind: 'event', raw: Buffer.from('data: y\n\n') });
    expect(new Set(splits.slice(0, -1).map(({ kind }) => kind))).toEqual(new Set(['piece']));
    expect(Buffer.concat(splits.map(({ raw }) => raw)).equals(long)).toBe(true);
  });
});

const id = fc.oneof(fc.integer(), fc.string(), fc.constantFrom('e1|n|0', 'e2|s|', '0'));
const epoch = fc.integer({ min: 1, max: 9 });

describe('a question of the server', () => {
  const question = (asked: string | number): JsonRpcMessage => ({
    jsonrpc: '2.0',
    id: asked,
    method: 'elicitation/create',
    params: { _meta: { progressToken: asked } },
  });
  const answer = (to: string | number): JsonRpcMessage => ({ jsonrpc: '2.0', id: to, result: {} });
  const sent = (...messages: readonly JsonRpcMessage[]): Sent => ({
    body: Buffer.from(JSON.stringify(messages)),
    messages,
  });
  const eventOf = (message: JsonRpcMessage): SseEvent => ({ raw: formatEvent(message), messages: [message] });
  const shownId = (asked: string | number, at: number): string => {
    const [shown] = toClient(eventOf(question(asked)), at).messages;
    return shown !== undefined && 'method' in shown && 'id' in shown ? String(shown.id) : '';
  };

  test('is answered under the id that its home gave it, of the same type', () => {
    fc.assert(
      fc.property(id, epoch, (asked, at) => {
        const shown = shownId(asked, at);
        const progress = (token: string | number): JsonRpcMessage => ({
          jsonrpc: '2.0',
          method: 'notifications/progress',
          params: { progressToken: token, progress: 1 },
        });
        expect(toHome(sent(answer(shown), progress(shown)), at)).toEqual({
          kind: 'renamed',
          to: sent(answer(asked), progress(asked)),
        });
      }),
    );
  });

  test('of an older home is answered to nobody, of a later one makes us look again', () => {
    fc.assert(
      fc.property(id, epoch, (asked, at) => {
        const shown = shownId(asked, at);
        expect(toHome(sent(answer(shown)), at + 1)).toEqual({ kind: 'renamed', to: sent() });
        expect(toHome(sent(answer(shown)), at - 1)).toEqual({ kind: 'later' });
      }),
    );
    expect(toHome(sent(answer(0)), 1)).toEqual({ kind: 'renamed', to: sent() });
  });

  test('at epoch 0 passes as it is', () => {
    const asked = eventOf(question(0));
    expect(toClient(asked, 0)).toBe(asked);
    expect(toHome(sent(answer(0)), 0)).toEqual({ kind: 'as-is' });
  });

  test('is cancelled under the id that it was shown by', () => {
    const cancelled: JsonRpcMessage = {
      jsonrpc: '2.0',
      method: 'notifications/cancelled',
      params: { requestId: 0, reason: 'late' },
    };
    const shown = { ...cancelled, params: { requestId: 'e2|n|0', reason: 'late' } };
    expect(toClient(eventOf(cancelled), 2)).toEqual(eventOf(shown));
  });
});

test('a cursor goes back to the home of its epoch alone', () => {
  const cursors = fc.string({ minLength: 1 }).filter((cursor) => !/^ |[\r\n]/.test(cursor));
  fc.assert(
    fc.property(cursors, epoch, (cursor, at) => {
      const raw = Buffer.from(`id: ${cursor}\ndata: \n\n`);
      const shown = readEvent(toClient({ raw, id: cursor, messages: [] }, at).raw).id ?? '';
      expect(shown).toBe(`e${at}|${cursor}`);
      expect(cursorToHome(shown, at)).toEqual({ kind: 'renamed', to: cursor });
      expect(cursorToHome(shown, at + 1)).toEqual({ kind: 'renamed', to: undefined });
      expect(cursorToHome(shown, at - 1)).toEqual({ kind: 'later' });
    }),
  );
  expect(cursorToHome('7', 0)).toEqual({ kind: 'as-is' });
});
