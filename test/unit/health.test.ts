/** What checks make of a list of backends, by scripted findings; the clock is fake. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Finding } from '../../proxy/backends/checks.ts';
import { type CheckOptions, checkedBackends } from '../../proxy/backends/health.ts';
import { type Members, createMembers } from '../../proxy/backends/members.ts';
import type { Backends } from '../../proxy/contract.ts';
import type { RoutingEvent } from '../../proxy/events.ts';

const EVERY = 1000;
const FINDINGS: Record<string, Finding> = {
  well: { kind: 'well' },
  unwell: { kind: 'unwell', cause: 'status 503' },
  refused: { kind: 'refused', cause: 'ECONNREFUSED' },
  silent: { kind: 'silent', cause: 'no answer' },
  unknown: { kind: 'unknown' },
};

let inner: Members;
let backends: Backends;
let now: Record<string, keyof typeof FINDINGS>;
let events: RoutingEvent[];
let hung: string[];
let lists: string[];
let checks: number;
beforeEach(() => {
  vi.useFakeTimers();
  inner = createMembers();
  now = {};
  events = [];
  hung = [];
  lists = [];
  checks = 0;
});
afterEach(async () => {
  await backends.close();
  vi.useRealTimers();
});

const members = (...ids: string[]) => inner.set(ids.map((id) => ({ id, origin: `http://${id}` })));

function begin(options: CheckOptions = { path: '/health' }, ...ids: string[]): void {
  members(...(ids.length > 0 ? ids : ['a', 'b']));
  backends = checkedBackends(inner, {
    everyMs: EVERY,
    draw: () => 0.5,
    record: (event) => void events.push(event),
    onHung: (origin) => void hung.push(origin),
    check: async (origin) => {
      checks += 1;
      return FINDINGS[now[origin.slice(7)] ?? 'well']!;
    },
    ...options,
  });
  backends.onChange(() => lists.push(seen()));
}

/** As in `a b? (c)`: b is suspect, c is draining. */
const seen = () =>
  backends
    .list()
    .map(({ id, draining, suspect }) => `${draining ? `(${id})` : id}${suspect ? '?' : ''}`)
    .join(' ');
const rounds = (count: number) => vi.advanceTimersByTimeAsync(count * EVERY);
const said = () =>
  events.map((event) => {
    if (event.type === 'backend') return `${event.backend} ${event.state}`;
    return event.type === 'checks' ? event.state : event.type;
  });

describe('a backend', () => {
  test('that was dead and is back is new, and no other', async () => {
    begin();
    now['a'] = 'refused';
    await rounds(3);
    expect(seen()).toBe('b');
    now['a'] = 'well';
    await rounds(3);
    const { a, b } = Object.fromEntries(backends.list().map(({ id, since }) => [id, since]));
    expect(a).toBeGreaterThan(Date.now() - 4 * EVERY);
    expect(b).toBeUndefined();
  });

  test('that does not answer twice is left out and what runs there severed; once well, it is back', async () => {
    begin();
    now['a'] = 'silent';
    await rounds(1);
    expect(seen()).toBe('a b');
    await rounds(1);
    expect(seen()).toBe('b');
    now['a'] = 'well';
    await rounds(1);
    expect([lists, said(), hung]).toEqual([['b', 'a b'], ['a dead', 'a alive'], ['http://a']]);
    expect(events[0]).toMatchObject({ cause: 'no answer' });
  });

  test('that refuses twice is left out, and what runs there goes on', async () => {
    begin();
    now['a'] = 'refused';
    await rounds(2);
    expect([seen(), hung]).toEqual(['b', []]);
    now['a'] = 'silent';
    await rounds(2);
    expect([seen(), hung, said()]).toEqual(['b', ['http://a'], ['a dead']]);
  });

  test('that answers badly twice is draining; when it falls silent, it is dead', async () => {
    begin();
    now['a'] = 'unwell';
    await rounds(1);
    expect(seen()).toBe('a b');
    await rounds(1);
    expect([seen(), hung]).toEqual(['(a) b', []]);
    now['a'] = 'silent';
    await rounds(2);
    expect([seen(), hung]).toEqual(['b', ['http://a']]);
    now['a'] = 'unwell';
    await rounds(1);
    now['a'] = 'well';
    await rounds(1);
    expect(said()).toEqual(['a draining', 'a dead', 'a draining', 'a alive']);
  });

  test('that was dead and answers an exchange is no longer, though others are found well first', async () => {
    begin({});
    now = { a: 'refused', b: 'refused' };
    await rounds(2);
    expect(seen()).toBe('a? b?');
    backends.answers?.('a');
    now = { a: 'unknown', b: 'well' };
    await rounds(2);
    expect(seen()).toBe('a b');
    now['a'] = 'refused';
    await rounds(2);
    expect(seen()).toBe('b');
  });

  test('that answers badly stays what it is, whatever it answers to others', async () => {
    begin();
    now['a'] = 'unwell';
    await rounds(2);
    backends.answers?.('a');
    expect(seen()).toBe('(a) b');
  });

  test.each(['silent', 'refused', 'unwell'])('that is %s every other time is well', async (trouble) => {
    begin();
    for (let turn = 0; turn < 4; turn += 1) {
      now['a'] = trouble;
      await rounds(1);
      now['a'] = 'well';
      await rounds(1);
    }
    expect([lists, events]).toEqual([[], []]);
  });

  test('is not blamed for our own trouble', async () => {
    begin();
    now['a'] = 'unknown';
    await rounds(5);
    expect([seen(), events]).toEqual(['a b', []]);
  });

  test('that is suspected is checked early, though not at each suspicion', async () => {
    begin();
    await rounds(1.2);
    const before = checks;
    for (let turn = 0; turn < 15; turn += 1) {
      backends.suspect('a', new Error('refused'));
      await vi.advanceTimersByTimeAsync(20);
    }
    expect(checks).toBe(before + 1);
  });
});

describe('by TCP', () => {
  test('the first failure is a suspicion', async () => {
    begin({});
    now['a'] = 'refused';
    await rounds(1);
    expect(seen()).toBe('a? b');
    await rounds(1);
    expect(seen()).toBe('b');
  });
});

describe('when nobody is well', () => {
  test('all that answer are suspects, said once', async () => {
    begin();
    now = { a: 'unwell', b: 'unwell' };
    await rounds(5);
    // Never one as draining while the other is yet to fail for the second time: its sessions would leave it.
    expect(lists).not.toContain('(a) b');
    expect([seen(), said()]).toEqual(['a? b?', ['a draining', 'ignored', 'b draining']]);
    now = {};
    await rounds(1);
    expect([seen(), said().slice(3)]).toEqual(['a b', ['a alive', 'believed', 'b alive']]);
  });

  test('one that hangs is left out while another answers, however badly', async () => {
    begin();
    now = { a: 'unwell', b: 'silent' };
    await rounds(3);
    expect([seen(), hung]).toEqual(['a?', ['http://b']]);
  });

  test('and nobody answers, all are suspects; severed is who stays silent when another comes back', async () => {
    begin();
    now = { a: 'silent', b: 'silent' };
    await rounds(5);
    expect([seen(), hung]).toEqual(['a? b?', ['http://a']]);
    now = { a: 'silent' };
    await rounds(1);
    expect([seen(), hung]).toEqual(['b', ['http://a', 'http://a']]);
  });

  test('a single backend is never left out', async () => {
    begin({ path: '/health' }, 'a');
    now['a'] = 'silent';
    await rounds(5);
    expect([seen(), hung]).toEqual(['a?', []]);
  });
});

describe('with a discovery that changes', () => {
  test('who comes is checked, who has gone is not', async () => {
    begin();
    now = { a: 'refused', c: 'silent' };
    members('b', 'c');
    inner.suspect('a', new Error('refused'));
    await rounds(3);
    expect([seen(), said()]).toEqual(['b', ['c dead']]);
  });

  test('who has departed stays draining until it is dead', async () => {
    begin({});
    members('b');
    now['a'] = 'refused';
    await rounds(1);
    expect(seen()).toBe('(a) b');
    await rounds(1);
    expect([seen(), inner.list().map(({ id }) => id)]).toEqual(['b', ['b']]);
  });

  test.each([
    ['times out', 'UND_ERR_CONNECT_TIMEOUT', ['http://a']],
    ['refuses', 'ECONNREFUSED', []],
  ])('who has departed and %s is dropped, and severed only if its host is gone', (_how, code, severed) => {
    begin();
    members('b');
    backends.suspect('a', Object.assign(new Error(code), { code }));
    expect([seen(), hung]).toEqual(['b', severed]);
  });

  test('who has lost its address to another is severed, after it has left the list', async () => {
    begin();
    backends.onChange(() => lists.push(`${seen()} ${hung.length}`));
    inner.set([
      { id: 'a2', origin: 'http://a' },
      { id: 'b', origin: 'http://b' },
    ]);
    expect([lists, hung]).toEqual([['b a2', 'b a2 0'], ['http://a']]);
  });

  test('a new task at an old id is not judged by the last one', async () => {
    begin();
    now['a'] = 'silent';
    await rounds(2);
    inner.set(['a', 'b'].map((id) => ({ id, origin: `http://${id}:2` })));
    expect(seen()).toBe('a b');
  });
});

test('few are checked at once', async () => {
  const ids = Array.from({ length: 160 }, (_, at) => `s${at}`);
  let running = 0;
  let most = 0;
  const ends: (() => void)[] = [];
  const check = async (): Promise<Finding> => {
    running += 1;
    most = Math.max(most, running);
    await new Promise<void>((resolve) => ends.push(resolve));
    running -= 1;
    checks += 1;
    return { kind: 'well' };
  };
  begin({ check }, ...ids);
  await vi.advanceTimersByTimeAsync(EVERY / 10);
  while (checks < ids.length) {
    ends.shift()?.();
    await vi.advanceTimersByTimeAsync(0);
  }
  expect(most).toBe(64);
});

test('many that hang do not hold up the checks of the others', async () => {
  const hanging = Array.from({ length: 300 }, (_, at) => `s${at}`);
  const asked: Record<string, number> = {};
  const check = async (origin: string): Promise<Finding> => {
    const id = origin.slice(7);
    asked[id] = (asked[id] ?? 0) + 1;
    if ((id === 'a' || id === 'b') && now[id] !== 'silent') return { kind: 'well' };
    await new Promise((resolve) => setTimeout(resolve, 2 * EVERY));
    return FINDINGS['silent']!;
  };
  begin({ check, path: '/health' }, 'a', ...hanging, 'b');
  await rounds(30);
  asked['a'] = 0;
  await rounds(10);
  expect(asked['a']).toBe(10);
  expect(seen()).toBe('a b');
  now['a'] = 'silent';
  await rounds(5);
  expect(seen()).toBe('b');
});
