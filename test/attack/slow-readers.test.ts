/** Clients that read slowly while their backend ends, or resets, the connection: the process lives, and what came is shown. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Backend } from '../../proxy/contract.ts';
import { createUpstream } from '../../proxy/upstream.ts';
import { type Nasty, type NastyRequest, startNasty } from '../house/nasty.ts';
import { RecordingSink, call, posting } from '../house/recording.ts';
import { newSession } from '../house/sessions.ts';
import { soon, until } from '../house/until.ts';

const PIECE = `data: ${'x'.repeat(50_000)}\n\n`;
const PIECES = 8;
const BYTES = PIECE.length * PIECES;

let rotations = 0;
const upstream = createUpstream({
  answerSeconds: undefined,
  async onRotation() {
    // Long enough for the rest of the answer to come.
    const seen = a.connections;
    await until('the backend has gone', () => a.connections < seen, 500).catch(() => {});
    rotations += 1;
  },
});
let a: Nasty;
beforeAll(async () => {
  a = await startNasty();
});
afterAll(async () => {
  await upstream.close();
  await a.close();
});

async function send(session = newSession()) {
  const sink = new RecordingSink();
  const home: Backend = { id: 'a', origin: a.origin, draining: false, suspect: false };
  const attempt = upstream.send(posting(call(1), { session }), session, home, sink);
  return { sink, attempt: soon('the end of the attempt', attempt), it: await a.next() };
}

/** Lets through what is there, and is full again at the next part, until nothing more comes. */
async function sip(sink: RecordingSink, ended: () => boolean): Promise<void> {
  for (let seen = -1; seen !== sink.bytes || !ended();) {
    seen = sink.bytes;
    sink.drain();
    sink.fill();
    await until('more has come', () => sink.bytes > seen || ended(), 100).catch(() => {});
  }
}

const ENDS: readonly (readonly [string, (it: NastyRequest) => void])[] = [
  [
    'by the end of the connection',
    (it) => {
      it.head(200, [
        ['content-type', 'text/event-stream'],
        ['connection', 'close'],
      ]);
      for (let at = 0; at < PIECES; at += 1) it.write(PIECE);
    },
  ],
  [
    'by its length, and the connection ends',
    (it) => {
      it.head(200, [
        ['content-type', 'text/event-stream'],
        ['connection', 'close'],
        ['content-length', String(BYTES)],
      ]);
      for (let at = 0; at < PIECES; at += 1) it.write(PIECE);
    },
  ],
  [
    'by the last chunk, and the connection ends',
    (it) => {
      it.stream([['connection', 'close']]);
      for (let at = 0; at < PIECES; at += 1) it.chunk(PIECE);
      it.end();
    },
  ],
];

describe('an answer that ends', () => {
  test.each(ENDS)('%s is shown whole', async (_how, answer) => {
    for (let round = 0; round < 5; round += 1) {
      const { sink, attempt, it } = await send();
      sink.fill();
      answer(it);
      it.die();
      let over = false;
      void attempt.finally(() => (over = true));
      await sip(sink, () => over);
      expect(sink.bytes).toBe(BYTES);
      await attempt;
    }
  });
});

test('a connection that is reset is the end of its answer, and of nothing else', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { sink, attempt, it } = await send();
    sink.fill();
    ENDS[0]![1](it);
    await until('something is shown', () => sink.bytes > 0);
    it.reset();
    let over = false;
    void attempt.finally(() => (over = true));
    await sip(sink, () => over);
    expect(['lost', 'answered']).toContain((await attempt).kind);
  }
});

test.each(['die', 'reset'] as const)(
  'so it is while another id of the session is stored, and the backend is gone (%s)',
  async (how) => {
    for (let round = 0; round < 5; round += 1) {
      const before = rotations;
      const { sink, attempt, it } = await send();
      it.answer(200, { jsonrpc: '2.0', id: 1, result: {} }, [
        ['content-type', 'application/json'],
        ['connection', 'close'],
        ['mcp-session-id', `another-${how}-${round}`],
      ]);
      it[how]();
      await attempt;
      expect(rotations - before).toBeLessThanOrEqual(1);
      expect(sink.ending).not.toBe('cut');
    }
  },
);
