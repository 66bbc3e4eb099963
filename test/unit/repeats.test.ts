/** An outage of the servers is said once and then with counts, in virtual time. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type Repeats, newRepeats } from '../../proxy/telemetry/repeats.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';

const failed = (to: string, session = 's', cause = 'refused'): RoutingEvent => ({
  type: 'migration',
  reason: 'crash',
  outcome: 'failed',
  session,
  from: 'a:1',
  to,
  seconds: 0.01,
  cause,
});
const MIGRATED: RoutingEvent = {
  type: 'migration',
  reason: 'crash',
  outcome: 'migrated',
  session: 's',
  from: 'a:1',
  to: 'b:1',
  seconds: 0.01,
};

describe('what is counted', () => {
  let at = 0;
  let repeats: Repeats;
  beforeEach(() => {
    at = 0;
    repeats = newRepeats({ now: () => at });
  });
  const said = (from: ReturnType<Repeats['due']>) =>
    from.map(({ last, count, seconds }) => `${last.type} ${'cause' in last ? last.cause : ''} ${count} ${seconds}`);

  test('the first of each kind passes, the others are counted for ten seconds', () => {
    expect([failed('b'), failed('b'), failed('c'), failed('c')].map((one) => repeats.isFirst(one))).toEqual([
      true,
      false,
      true,
      false,
    ]);
    repeats.isFirst(failed('b', 't', 'late'));
    at = 9_999;
    expect(repeats.due()).toEqual([]);
    at = 10_000;
    expect(said(repeats.due())).toEqual(['migration late 2 10', 'migration refused 1 10']);
    at = 20_000;
    expect(repeats.due()).toEqual([]);
    expect(repeats.idle).toBe(true);
    expect(repeats.isFirst(failed('b'))).toBe(true);
  });

  test('an outage that goes on is said every ten seconds', () => {
    const lines: string[] = [];
    for (at = 0; at <= 60_000; at += 100) {
      if (repeats.isFirst(failed('b'))) lines.push('first');
      lines.push(...said(repeats.due()));
    }
    expect(lines).toEqual(['first', ...Array.from({ length: 6 }, () => 'migration refused 100 10')]);
  });

  test.each<[string, RoutingEvent, boolean]>([
    ['a suspect', { type: 'suspect', backend: 'b', cause: 'refused' }, true],
    ['a lost call', { type: 'replay', verdict: 'unknown' }, true],
    ['a lost session', { type: 'session', change: 'lost', cause: 'policy' }, true],
    ['a fault', { type: 'fault', error: new Error('no ports left') }, true],
    ['what went well', MIGRATED, false],
    ['a session that is opened', { type: 'session', change: 'opened' }, false],
    ['a state', { type: 'backend', backend: 'b', state: 'dead' }, false],
    ['the registry', { type: 'registry', state: 'down' }, false],
    ['an order', { type: 'order', order: 'drain', backend: 'b' }, false],
  ])('%s', (_what, event, counted) => {
    expect([repeats.isFirst(event), repeats.isFirst(event)]).toEqual([true, !counted]);
  });

  test('kinds are bounded: beyond that only the type is told apart', () => {
    for (let one = 0; one < 500; one += 1) repeats.isFirst(failed(`b${one}`));
    const suspects = Array.from({ length: 5 }, (_, one) => ({
      type: 'suspect' as const,
      backend: `b${one}`,
      cause: 'refused',
    }));
    expect(suspects.map((one) => repeats.isFirst(one))).toEqual([true, false, false, false, false]);
    at = 10_000;
    expect(said(repeats.due())).toEqual(['migration refused 299 10', 'suspect refused 4 10']);
  });

  test('of one backend, or of all, it is said at once when the outage ends', () => {
    for (const to of ['b', 'b', 'c', 'c', 'c']) repeats.isFirst(failed(to));
    at = 3_000;
    expect(said(repeats.flush('b'))).toEqual(['migration refused 1 3']);
    expect(said(repeats.flush())).toEqual(['migration refused 2 3']);
    expect([repeats.idle, repeats.flush()]).toEqual([true, []]);
  });
});

describe('log lines', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function begin(level: 'info' | 'debug' = 'info') {
    const text: string[] = [];
    const made = createTelemetry({ level, listens: false, destination: { write: (line) => void text.push(line) } });
    return { ...made, lines: () => text.map((line): Record<string, unknown> => JSON.parse(line)) };
  }
  /** 40 sessions, each of which tries both backends every 150 ms. */
  async function outage(telemetry: ReturnType<typeof begin>, seconds: number): Promise<number> {
    let attempts = 0;
    for (let at = 0; at < seconds * 1000; at += 150) {
      for (let session = 0; session < 40; session += 1) {
        for (const to of ['b:1', 'c:1']) {
          attempts += 1;
          telemetry.record(failed(to, `session-${session}`));
        }
      }
      await vi.advanceTimersByTimeAsync(150);
    }
    return attempts;
  }

  test('of 40 sessions without a backend are a few in ten seconds, and count each attempt', async () => {
    const telemetry = begin();
    const attempts = await outage(telemetry, 30);
    telemetry.close();
    const lines = telemetry.lines();
    expect(lines.length).toBeLessThanOrEqual(10);
    expect(lines.reduce((sum, { count }) => sum + Number(count), 0)).toBe(attempts);
    expect(lines[0]).toMatchObject({ msg: 'migration', level: 'warn', session: expect.any(String), count: 1 });
    expect(lines[2]).toEqual({
      level: 'warn',
      time: expect.any(String),
      msg: 'migration',
      outcome: 'failed',
      to: 'b:1',
      cause: 'refused',
      count: expect.any(Number),
      period: expect.closeTo(10, 0),
    });
    const text = await telemetry.metrics();
    expect(text).toContain(`mcp_affinity_migrations_total{reason="crash",outcome="failed"} ${attempts}`);
  });

  test('that were counted come before the one that says that the backend is back', async () => {
    const telemetry = begin();
    await outage(telemetry, 1);
    telemetry.record({ type: 'backend', backend: 'b:1', state: 'alive' });
    telemetry.record(MIGRATED);
    expect(telemetry.lines().map(({ msg, to, backend, count }) => [msg, to ?? backend, count])).toEqual([
      ['migration', 'b:1', 1],
      ['migration', 'c:1', 1],
      ['migration', 'b:1', expect.any(Number)],
      ['backend', 'b:1', undefined],
      ['migration', 'b:1', undefined],
    ]);
  });

  test('at debug are all of them', async () => {
    const telemetry = begin('debug');
    const attempts = await outage(telemetry, 1);
    expect(telemetry.lines()).toHaveLength(attempts);
  });

  test('a destination that fails ends nothing', async () => {
    let full = false;
    const write = (): void => {
      if (full) throw new Error('the disk is full');
    };
    const telemetry = createTelemetry({ level: 'info', listens: false, destination: { write } });
    for (const to of ['b:1', 'b:1']) telemetry.record(failed(to));
    full = true;
    await vi.advanceTimersByTimeAsync(20_000);
    telemetry.record(failed('b:1'));
    telemetry.record(failed('b:1'));
    expect(() => telemetry.close()).not.toThrow();
  });
});
