/** What the status page shows, folded from events and looks, with the time advanced by hand. */

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Backend } from '../../proxy/contract.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type BoardOptions, newBoard } from '../../proxy/status/board.ts';

const NO_STREAMS: ReadonlyMap<string, number> = new Map();

function board(options: Partial<BoardOptions> = {}) {
  const clock = { at: 1_800_000_000_000 };
  const made = newBoard({ version: '1', registry: 'memory', discovery: 'dns', now: () => clock.at, ...options });
  /** `a`, `a draining`, `a suspect`, with `:` and how many sessions it has. */
  const shown = (...words: readonly string[]) => {
    const parsed = words.map((word) => /^(\S+?)(?: (\w+))?(?::(\d+))?$/.exec(word) ?? []);
    const listed = parsed.filter(([, , state]) => state !== 'unlisted');
    return {
      backends: listed.map(([, id = '', state]): Backend => {
        return { id, origin: `http://${id}`, draining: state === 'draining', suspect: state === 'suspect' };
      }),
      counts: new Map(parsed.map(([, id = '', , sessions = '0']) => [id, Number(sessions)])),
    };
  };
  const exchange = (more: Partial<Extract<RoutingEvent, { type: 'exchange' }>> = {}) =>
    made.record({ type: 'exchange', verb: 'post', status: 200, outcome: 'answered', seconds: 0.01, ...more });
  return {
    record: (event: RoutingEvent) => made.record(event),
    exchange,
    look: (...words: readonly string[]) => made.look(shown(...words)),
    sample: (...words: readonly string[]) => made.sample(shown(...words)),
    pass: (ms: number) => void (clock.at += ms),
    now: () => clock.at,
    status: () => made.status(true, NO_STREAMS),
    states: () => made.status(true, NO_STREAMS).backends.map(({ id, state }) => `${id} ${state}`),
    said: () => made.status(true, NO_STREAMS).notices.map(({ text }) => text),
  };
}

test('rates are of the last ten seconds, in all and by backend; what the client could not help is an error', () => {
  const { sample, exchange, pass, status } = board();
  sample('a', 'b');
  for (let second = 0; second < 10; second += 1) {
    exchange({ backend: 'a' });
    exchange({ backend: 'a', outcome: 'lost', status: 502 });
    exchange({ backend: 'b', status: 404 });
    exchange({ outcome: 'refused', status: 503 });
    pass(1_000);
  }
  const { exchangesPerSecond, errorsPerSecond, backends } = status();
  expect([exchangesPerSecond, errorsPerSecond]).toEqual([4, 2]);
  expect(backends.map((one) => [one.id, one.exchangesPerSecond, one.errorsPerSecond])).toEqual([
    ['a', 2, 1],
    ['b', 1, 0],
  ]);
  pass(20_000);
  expect(status()).toMatchObject({ exchangesPerSecond: 0, errorsPerSecond: 0 });
});

test('fifteen minutes of history, in steps of five seconds, and null before the start', () => {
  const { sample, exchange, pass, status } = board();
  for (let step = 0; step < 3; step += 1) {
    for (let count = 0; count < 10; count += 1) exchange();
    sample(`a:${step}`);
    pass(5_000);
  }
  const { history } = status();
  expect(history.stepSeconds).toBe(5);
  expect(history.sessions).toHaveLength(180);
  expect(history.sessions.slice(-4)).toEqual([null, 0, 1, 2]);
  expect(history.exchangesPerSecond.slice(-4)).toEqual([null, 2, 2, 2]);
  expect(history.errorsPerSecond.slice(-4)).toEqual([null, 0, 0, 0]);
  expect(history.migrations.slice(-4)).toEqual([null, 0, 0, 0]);
});

test('a drain, as it is seen: how many it began with, how many have left, and that it is empty', () => {
  const { look, pass, status, said } = board();
  look('a:3', 'b:0');
  pass(1_000);
  look('a draining:3', 'b:0');
  pass(1_000);
  look('a draining:1', 'b:2');
  expect(status().backends[0]).toMatchObject({ id: 'a', state: 'draining', sessions: 1, drainingFrom: 3 });
  look('a draining:0', 'b:3');
  look('b:3');
  expect(said()).toEqual(['a has left', 'a is empty: its last session has left', 'a drains']);
});

test('a drain is told with whose word it is', () => {
  const { look, record, status, said } = board();
  look('a', 'b', 'c');
  for (const [backend, by] of [
    ['a', 'order'],
    ['b', 'discovery'],
    ['c', 'backend'],
  ] as const) {
    record({ type: 'drain', backend, state: 'begun', by });
  }
  look('a draining', 'b draining', 'c draining');
  expect(status().backends.map(({ drainingBy }) => drainingBy)).toEqual(['order', 'discovery', 'backend']);
  expect(said()).toEqual([
    'c drains, as it says itself',
    'b drains, as discovery or its check says',
    'a drains, by order',
  ]);
  record({ type: 'drain', backend: 'a', state: 'undone' });
  look('a', 'b draining', 'c draining');
  expect(status().backends[0]).not.toHaveProperty('drainingBy');
});

test('a drain that is undone leaves no trace in the row', () => {
  const { look, status } = board();
  look('a:3');
  look('a draining:1');
  look('a:1');
  expect(status().backends[0]).not.toHaveProperty('drainingFrom');
});

test('since when it is known, and in its state', () => {
  const { look, pass, status, now } = board();
  const start = now();
  look('a');
  pass(5_000);
  look('a suspect');
  pass(5_000);
  look('a suspect');
  expect(status().backends[0]).toMatchObject({ since: start, stateSince: start + 5_000, state: 'suspect' });
});

test('a dead one is shown until it lives', () => {
  const { look, record, states, said } = board();
  look('a', 'b');
  record({ type: 'backend', backend: 'a', state: 'dead', cause: 'refused' });
  look('b');
  expect(states()).toEqual(['b ready', 'a dead']);
  record({ type: 'backend', backend: 'a', state: 'alive' });
  look('a', 'b');
  expect(states()).toEqual(['a ready', 'b ready']);
  expect(said()).toEqual(['a is ready', 'a is dead']);
});

test('a dead one that discovery may have forgotten goes out of sight; one of a fixed list never does', () => {
  const seen = (['dns', 'static'] as const).map((discovery) => {
    const { look, record, pass, states } = board({ discovery });
    look('a', 'b');
    record({ type: 'backend', backend: 'a', state: 'dead' });
    look('b');
    pass(16 * 60_000);
    look('b');
    return states();
  });
  expect(seen).toEqual([['b ready'], ['b ready', 'a dead']]);
});

test('one that came back in another guise is not called dead again when it leaves', () => {
  const { look, record, states } = board();
  look('a');
  record({ type: 'backend', backend: 'a', state: 'dead' });
  look('b');
  look('a', 'b');
  look('b');
  expect(states()).toEqual(['b ready']);
});

test('while the checks are doubted a dead one is a suspect, and dead again after that', () => {
  const { look, record, states } = board();
  look('a', 'b');
  record({ type: 'backend', backend: 'a', state: 'dead' });
  look('a suspect', 'b suspect');
  expect(states()).toEqual(['a suspect', 'b suspect']);
  look('b');
  expect(states()).toEqual(['b ready', 'a dead']);
});

test('a home that is not listed any more is shown while sessions are registered there', () => {
  const { look, states, status, said } = board();
  look('a:2', 'b');
  look('a unlisted:2', 'b');
  expect(states()).toEqual(['b ready', 'a gone']);
  expect(status().sessions).toBe(2);
  look('a unlisted:0', 'b:2');
  expect(states()).toEqual(['b ready']);
  expect(said()).toEqual(['a has left', 'a is gone, and sessions are registered there still']);
});

test('migrations: the last fifty, the newest first, by the hash of their session', () => {
  const { record, status, pass } = board();
  for (let count = 0; count < 60; count += 1) {
    const told = { session: `secret-${count}`, from: 'a', to: 'b', seconds: 0.0126 };
    const failed = { outcome: 'failed', cause: 'refused' } as const;
    const ending = count === 59 ? failed : ({ outcome: 'migrated' } as const);
    record({ type: 'migration', reason: 'drain', ...told, ...ending });
  }
  const { migrations } = status();
  const short = createHash('sha256').update('secret-59').digest('hex').slice(0, 8);
  expect(migrations).toHaveLength(50);
  expect(migrations[0]).toMatchObject({ session: short, outcome: 'failed', cause: 'refused', ms: 13 });
  expect(JSON.stringify(status())).not.toContain('secret');
  pass(5_000);
  expect(status().history.migrations.at(-1)).toBe(59);
});

test('what the proxy depends on: up until it is heard not to be, and since when', () => {
  const { record, pass, status, said, now } = board({ registry: 'redis' });
  expect(status().registry).toMatchObject({ kind: 'redis', up: true });
  pass(1_000);
  record({ type: 'registry', state: 'down', cause: 'ETIMEDOUT' });
  pass(1_000);
  record({ type: 'registry', state: 'down', cause: 'ECONNREFUSED' });
  record({ type: 'discovery', state: 'down', cause: 'SERVFAIL', since: 0 });
  record({ type: 'checks', state: 'ignored' });
  expect(status()).toMatchObject({
    registry: { up: false, since: now() - 1_000, cause: 'ECONNREFUSED' },
    discovery: { kind: 'dns', up: false },
    checks: { up: false },
  });
  record({ type: 'registry', state: 'up' });
  expect(status().registry).toEqual({ kind: 'redis', up: true, since: now() });
  expect(said()).toHaveLength(4);
});

test('streams are counted', () => {
  const { record, status } = board();
  for (const change of ['opened', 'opened', 'reattached', 'closed'] as const) record({ type: 'stream', change });
  expect(status().streams).toBe(1);
});

test('memory stays bounded, whoever comes and goes', () => {
  const { sample, exchange, record, pass, status } = board();
  for (let task = 0; task < 3_000; task += 1) {
    exchange({ backend: `task-${task}` });
    record({ type: 'backend', backend: `task-${task}`, state: 'dead' });
    pass(5_000);
    sample('a');
  }
  const { backends, notices, migrations } = status();
  expect(backends.length).toBeLessThan(200);
  expect([notices.length <= 30, migrations.length <= 50]).toEqual([true, true]);
});
