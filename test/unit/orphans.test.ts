/** A backend session that is nobody's home is closed, however long its backend takes to hear of it. */

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Attempt, Backend, Exchange } from '../../proxy/contract.ts';
import { createOrphans } from '../../proxy/orphans.ts';
import { newSession } from '../house/sessions.ts';

const A: Backend = { id: 'a', origin: 'http://a', draining: false, suspect: false };
const REFUSED: Attempt = { kind: 'unsent', cause: new Error('ECONNREFUSED'), blame: 'backend' };
const CUT: Attempt = { kind: 'lost', cause: new Error('ECONNRESET'), unanswered: [] };
const said = (status: number): Attempt => ({ kind: 'answered', status });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** What the backend answers, one after the other, and then 200. */
function begin(...answers: readonly Attempt[]) {
  const asked: Exchange[] = [];
  const at: number[] = [];
  let listed: readonly Backend[] = [A];
  const upstream = {
    async send(exchange: Exchange, _session: unknown, _to: Backend, sink: { head(code: number, fields: []): void }) {
      const answer = answers[asked.length] ?? said(200);
      asked.push(exchange);
      at.push(Date.now());
      if (answer.kind === 'answered') sink.head(answer.status, []);
      return answer;
    },
  };
  const orphans = createOrphans(upstream, { list: () => listed }, Date.now);
  const exchange: Exchange = {
    method: 'POST',
    target: '/mcp?x=1',
    headers: ['authorization', 'Bearer x', 'content-length', '999', 'mcp-session-id', 'other'],
    body: Buffer.alloc(999),
    intent: { kind: 'any', messages: [] },
    signal: AbortSignal.abort(),
  };
  const start = Date.now();
  return {
    asked,
    /** Seconds after the start at which it was asked. */
    times: () => at.map((one) => (one - start) / 1000),
    close: () => orphans.close(newSession({ id: 'orphan', home: A }), A, exchange),
    stop: () => orphans.stop(),
    list: (backends: readonly Backend[]) => {
      listed = backends;
    },
  };
}

test.each([
  ['503 three times', [said(503), said(503), said(503)]],
  ['429', [said(429), said(500), said(502)]],
  ['refused for a while', [REFUSED, REFUSED, REFUSED]],
  ['connections that break', [CUT, REFUSED, CUT]],
])('%s: it is asked again, after longer and longer pauses', async (_what, answers) => {
  const { close, times } = begin(...answers);
  close();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(times()).toEqual([0, 0.5, 1.5, 3.5]);
});

test.each([200, 202, 204, 400, 401, 403, 404, 405])('%i is an answer', async (status) => {
  const { close, asked } = begin(said(status));
  close();
  await vi.advanceTimersByTimeAsync(120_000);
  expect(asked).toHaveLength(1);
});

test('one that the checks call dead is asked when it is back', async () => {
  const { close, list, times } = begin(REFUSED);
  close();
  list([]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(times()).toEqual([0]);
  list([A]);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(times()).toHaveLength(2);
});

test('another at its address is not asked, and after ten minutes nobody is', async () => {
  const { close, list, times } = begin(REFUSED);
  close();
  list([{ ...A, id: 'b' }]);
  await vi.advanceTimersByTimeAsync(700_000);
  list([A]);
  await vi.advanceTimersByTimeAsync(700_000);
  expect(times()).toEqual([0]);
});

test('the DELETE has the credentials of the exchange and nothing else of it', async () => {
  const { close, asked } = begin();
  close();
  await vi.advanceTimersByTimeAsync(0);
  expect(asked[0]).toMatchObject({ method: 'DELETE', target: '/mcp?x=1', body: undefined });
  expect(asked[0]?.headers).toEqual(['authorization', 'Bearer x', 'accept', 'application/json']);
  expect(asked[0]?.signal.aborted).toBe(false);
});

test('nothing is asked after the end', async () => {
  const { close, stop, times } = begin(REFUSED);
  close();
  await vi.advanceTimersByTimeAsync(0);
  stop();
  await vi.advanceTimersByTimeAsync(60_000);
  close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(times()).toEqual([0]);
});
