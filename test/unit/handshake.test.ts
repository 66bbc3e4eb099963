/** A handshake that comes to nothing: why, and which sessions the backend has opened all the same. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Attempt, Backend, Exchange, RawHeaders, Sink, Upstream } from '../../proxy/contract.ts';
import { createHandshake } from '../../proxy/handshake.ts';
import { newSession } from '../house/sessions.ts';

const A: Backend = { id: 'a', origin: 'http://a', draining: false, suspect: false };
const EXCHANGE: Exchange = {
  method: 'POST',
  target: '/mcp',
  headers: ['authorization', 'Bearer x'],
  body: Buffer.alloc(9),
  intent: { kind: 'any', messages: [] },
  signal: new AbortController().signal,
};
const HEAD: RawHeaders = ['content-type', 'application/json', 'mcp-session-id', 'opened'];
const RESULT = Buffer.from('{"jsonrpc":"2.0","id":"x","result":{"protocolVersion":"2025-11-25","capabilities":{}}}');
const CUT: Attempt = { kind: 'lost', cause: new Error('ECONNRESET'), unanswered: [] };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A head after so many milliseconds, the rest after more, and how it ends. */
function begin(headAfter: number, restAfter: number, ends: Attempt = { kind: 'answered', status: 200 }) {
  const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  async function answer(sink: Sink): Promise<Attempt> {
    await wait(headAfter);
    sink.heard?.(HEAD);
    await wait(restAfter);
    if (ends.kind !== 'answered') return ends;
    sink.head(200, HEAD);
    sink.chunk(RESULT);
    sink.end();
    return ends;
  }
  const upstream: Upstream = {
    send: (exchange, _session, _to, sink) =>
      Promise.race([
        answer(sink),
        new Promise<Attempt>((resolve) => {
          exchange.signal.addEventListener('abort', () => resolve({ kind: 'abandoned' }), { once: true });
        }),
      ]),
  };
  const orphans: string[] = [];
  const handshake = createHandshake(upstream);
  const ended = handshake.initialize(newSession({}), A, EXCHANGE, (id) => void orphans.push(id), 10_000);
  return { ended, orphans };
}

describe('initialize', () => {
  test('in time', async () => {
    const { ended, orphans } = begin(5_000, 1_000);
    await vi.advanceTimersByTimeAsync(6_000);
    expect([(await ended).kind, orphans]).toEqual(['said', []]);
  });

  test('answered after 10 s: the next home is tried at once, and the session is closed when it is there', async () => {
    const { ended, orphans } = begin(15_000, 5_000);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await ended).toMatchObject({ kind: 'failed', reached: true });
    expect(orphans).toEqual([]);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(orphans).toEqual(['opened']);
  });

  test('whose head alone comes in time, and which is cut much later', async () => {
    const { ended, orphans } = begin(100, 50_000, CUT);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await ended).toMatchObject({ kind: 'failed', reached: true });
    await vi.advanceTimersByTimeAsync(50_000);
    expect(orphans).toEqual(['opened']);
  });

  test('that is cut after its head', async () => {
    const { ended, orphans } = begin(100, 100, CUT);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await ended).toMatchObject({ kind: 'failed', reached: true });
    expect(orphans).toEqual(['opened']);
  });
});
