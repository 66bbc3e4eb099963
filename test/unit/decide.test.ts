/** Where an exchange goes, as a table and as laws. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Load, SLOW_START_MS, balance, newest } from '../../proxy/balance.ts';
import type { Backend, Fate, Intent } from '../../proxy/contract.ts';
import { type Circumstances, UNHEARD_MS, decide } from '../../proxy/decide.ts';
import { newSession } from '../house/sessions.ts';

const backend = (id: string, is: Partial<Backend> = {}): Backend => ({
  id,
  origin: `http://${id}`,
  draining: false,
  suspect: false,
  ...is,
});
type Wish = Exclude<Intent, { kind: 'malformed' }>;
const OPEN: Wish = { kind: 'open', initialize: { jsonrpc: '2.0', id: 1, method: 'initialize' } };
const POST: Wish = { kind: 'continue', id: 's', verb: 'post', messages: [] };
const END: Wish = { kind: 'continue', id: 's', verb: 'end', messages: [] };
const ANY: Wish = { kind: 'any', messages: [] };
const atA = newSession({ home: { id: 'a', origin: 'http://a' } });

type Given = Partial<Circumstances> & { fates?: Record<string, Fate>; held?: ReadonlyMap<string, number> };
const loaded = (more: Partial<Load> = {}): Load => ({
  held: new Map(),
  opening: new Map(),
  running: new Map(),
  zone: undefined,
  now: 0,
  draw: () => 0,
  ...more,
});

function given({ fates = {}, held = new Map(), ...rest }: Given = {}): Circumstances {
  return {
    backends: [backend('a'), backend('b')],
    tried: new Map(Object.entries(fates)),
    load: loaded({ held }),
    maxSessions: Infinity,
    onSessionLost: 'migrate',
    spent: undefined,
    issuesIds: true,
    issuer: undefined,
    heard: () => true,
    endable: true,
    ...rest,
  };
}
const words = (decision: ReturnType<typeof decide>): string =>
  decision.kind === 'refuse'
    ? String(decision.status)
    : 'to' in decision
      ? `${decision.kind} ${decision.to.id}`
      : decision.kind;

describe('a session that its homes forget', () => {
  const at = (now: number, ...forgottenAt: readonly number[]): string => {
    const session = newSession({ home: { id: 'a', origin: 'http://a' }, forgottenAt });
    return words(decide(POST, session, given({ fates: { a: 'gone' }, load: loaded({ now }) })));
  };
  test.each([
    ['for the first time', 1_000, [], 'migrate a'],
    ['for the second time', 2_000, [1_000], 'migrate a'],
    ['for the third time within a minute', 59_000, [1_000, 2_000], '404'],
    ['twice, and again when it has lived for over a minute', 62_000, [1_000, 2_000], 'migrate a'],
    ['twice, and again when the first of them is long ago', 61_500, [1_000, 2_000], 'migrate a'],
    ['often, but never thrice within a minute', 200_000, [60_000, 130_000, 160_000], 'migrate a'],
    ['thrice within a minute after others', 200_000, [60_000, 160_000, 170_000], '404'],
  ] as const)('%s', (_what, now, forgottenAt, words_) => {
    expect(at(now, ...forgottenAt)).toBe(words_);
  });

  test('is not lost while its home only refuses', () => {
    const session = newSession({ home: { id: 'a', origin: 'http://a' }, forgottenAt: [1, 2, 3] });
    expect(words(decide(POST, session, given({ fates: { a: 'unsent' } })))).toBe('migrate b');
  });
});

describe('a session at home in a', () => {
  test.each<[string, Wish, Parameters<typeof given>[0], string]>([
    ['goes home', POST, {}, 'forward a'],
    ['goes home again when the attempt was lost', POST, { fates: { a: 'lost' } }, 'forward a'],
    ['migrates when home refused', POST, { fates: { a: 'unsent' } }, 'migrate b'],
    ['migrates when home has left', POST, { backends: [backend('b')] }, 'migrate b'],
    [
      'may migrate to where it was, when home forgot it',
      POST,
      { backends: [backend('a')], fates: { a: 'gone' } },
      'migrate a',
    ],
    ['waits when nobody is left', POST, { fates: { a: 'unsent', b: 'unsent' } }, 'wait'],
    ['goes to a home that drains', POST, { backends: [backend('a', { draining: true }), backend('b')] }, 'forward a'],
    [
      'avoids a suspect',
      POST,
      { backends: [backend('b', { suspect: true }), backend('c')], held: new Map([['c', 9]]) },
      'migrate c',
    ],
    ['takes a suspect before nobody', POST, { backends: [backend('b', { suspect: true })] }, 'migrate b'],
    [
      'migrates to where there is room',
      POST,
      {
        backends: [backend('b'), backend('c')],
        held: new Map([
          ['b', 5],
          ['c', 4],
        ]),
        maxSessions: 5,
      },
      'migrate c',
    ],
    [
      'migrates all the same where there is none',
      POST,
      { backends: [backend('b')], held: new Map([['b', 5]]), maxSessions: 5 },
      'migrate b',
    ],
    ['ends without its home', END, { fates: { a: 'unsent' } }, 'end'],
    ['ends at a new home, that says whose it is', END, { fates: { a: 'unsent' }, endable: false }, 'migrate b'],
    ['is not found when it may not migrate', POST, { fates: { a: 'gone' }, onSessionLost: 'not-found' }, '404'],
    [
      'waits for its home when it may not migrate',
      POST,
      { fates: { a: 'unsent' }, onSessionLost: 'not-found' },
      'wait',
    ],
    [
      'waits while discovery has named nobody, when it may not migrate',
      POST,
      { backends: [], onSessionLost: 'not-found' },
      'wait',
    ],
  ])('%s', (_what, intent, circumstances, expected) => {
    expect(words(decide(intent, atA, given(circumstances)))).toBe(expected);
  });
});

describe('a session that another proxy gave a home which discovery has not named here yet', () => {
  const now = 100_000;
  const atC = newSession({ home: { id: 'c', origin: 'http://c' }, createdAt: now - 1 });
  const later = loaded({ now: now + UNHEARD_MS });
  test.each<[string, typeof atC, Parameters<typeof given>[0], string]>([
    ['goes there', atC, {}, 'forward c'],
    ['goes there when it has migrated since', { ...atC, createdAt: 0, homedAt: now }, {}, 'forward c'],
    ['migrates when that refuses', atC, { fates: { c: 'unsent' } }, 'migrate a'],
    [
      'is not found when that refuses and it may not migrate',
      atC,
      { fates: { c: 'unsent' }, onSessionLost: 'not-found' },
      '404',
    ],
    ['migrates when that was named once', atC, { heard: () => true }, 'migrate a'],
    ['migrates when another is at its address', atC, { backends: [backend('a', { origin: 'http://c' })] }, 'migrate a'],
    ['migrates a minute later', atC, { load: later }, 'migrate a'],
  ])('%s', (_what, session, circumstances, expected) => {
    const all = given({ heard: () => false, load: loaded({ now }), ...circumstances });
    expect(words(decide(POST, session, all))).toBe(expected);
  });
});

test.each<[string, Wish, Parameters<typeof given>[0], string]>([
  ['an unknown session', POST, {}, '404'],
  ['a new session', OPEN, { held: new Map([['a', 3]]) }, 'forward b'],
  ['a new session after a refusal', OPEN, { fates: { a: 'unsent' } }, 'forward b'],
  ['a new session where all refuse', OPEN, { fates: { a: 'unsent', b: 'lost' } }, 'wait'],
  ['a new session where some are full', OPEN, { held: new Map([['a', 3]]), maxSessions: 3 }, 'forward b'],
  [
    'a new session where all are full',
    OPEN,
    {
      held: new Map([
        ['a', 3],
        ['b', 4],
      ]),
      maxSessions: 3,
    },
    '503',
  ],
  [
    'a new session where all that stay are full',
    OPEN,
    { backends: [backend('a'), backend('b', { draining: true })], held: new Map([['a', 3]]), maxSessions: 3 },
    '503',
  ],
  ['a new session where the registry has room for one', OPEN, { room: 1 }, 'forward a'],
  ['a new session where the registry has no room', OPEN, { room: 0 }, '503'],
  ['what is no new session, where the registry has no room', ANY, { room: 0 }, 'forward a'],
  ['a request without a session', ANY, { backends: [backend('b')] }, 'forward b'],
  [
    'a request without a session, whoever is full',
    ANY,
    {
      maxSessions: 1,
      held: new Map([
        ['a', 1],
        ['b', 1],
      ]),
    },
    'forward a',
  ],
  [
    'a request without a session where fewer exchanges run',
    ANY,
    {
      load: loaded({
        held: new Map([['b', 9]]),
        running: new Map([
          ['a', 2],
          ['b', 1],
        ]),
      }),
    },
    'forward b',
  ],
  ['what brings a requestState back', ANY, { issuer: 'b' }, 'forward b'],
  [
    'what brings it back to a suspect that runs more',
    ANY,
    {
      issuer: 'b',
      backends: [backend('a'), backend('b', { suspect: true })],
      load: loaded({ running: new Map([['b', 9]]) }),
    },
    'forward b',
  ],
  [
    'what brings it back to one that drains',
    ANY,
    { issuer: 'b', backends: [backend('a'), backend('b', { draining: true })] },
    'forward b, stay',
  ],
  ['what brings it back to one that says it drains', ANY, { issuer: 'b', fates: { b: 'draining' } }, 'forward b, stay'],
  ['what brings it back to one that refused', ANY, { issuer: 'b', fates: { b: 'unsent' } }, 'forward a'],
  ['what brings it back to one that lost it', ANY, { issuer: 'b', fates: { b: 'lost' } }, 'forward a'],
  ['what brings it back to another task there', ANY, { issuer: 'b', fates: { b: 'misdirected' } }, 'forward a'],
  ['what brings it back to one that has left', ANY, { issuer: 'c', backends: [backend('a')] }, 'forward a'],
  ['a new session, whoever issued what', OPEN, { issuer: 'b' }, 'forward a'],
])('%s', (_what, intent, circumstances, expected) => {
  const decision = decide(intent, undefined, given(circumstances));
  const stays = decision.kind === 'forward' && decision.stay === true ? ', stay' : '';
  expect(words(decision) + stays).toBe(expected);
});

const names = fc.constantFrom('a', 'b', 'c', 'd');
const anyBackends = fc.uniqueArray(
  fc
    .record({ id: names, draining: fc.boolean(), suspect: fc.boolean() }, { noNullPrototype: true })
    .chain((one) => fc.constantFrom(one, { ...one, release: 1 }, { ...one, release: 2 }))
    .map(({ id, ...is }) => backend(id, is)),
  { selector: ({ id }) => id },
);
const counts = fc.dictionary(names, fc.nat(50)).map((of) => new Map(Object.entries(of)));
const anyLoad: fc.Arbitrary<Load> = fc.record({
  held: counts,
  opening: fc.constant(new Map()),
  running: counts,
  zone: fc.constantFrom(undefined, 'x', 'y'),
  now: fc.nat(2 * SLOW_START_MS),
  draw: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }).map((drawn) => () => drawn),
});
const anyGiven: fc.Arbitrary<Circumstances> = fc.record({
  backends: anyBackends,
  tried: fc
    .dictionary(names, fc.constantFrom<Fate>('unsent', 'gone', 'lost'))
    .map((fates) => new Map(Object.entries(fates))),
  load: anyLoad,
  maxSessions: fc.constantFrom(Infinity, 1, 25),
  onSessionLost: fc.constantFrom('migrate' as const, 'not-found' as const),
  spent: fc.constantFrom(undefined, 'migrated' as const, 'failed' as const),
  issuesIds: fc.constant(true),
  issuer: fc.constantFrom(undefined, 'a', 'b', 'c', 'gone'),
  heard: fc.constant(() => true),
  endable: fc.boolean(),
});

describe('laws', () => {
  test('nothing is forwarded to where it was gone or refused, nor a session to a stranger; waiting means nobody is left', () => {
    fc.assert(
      fc.property(anyGiven, fc.constantFrom(OPEN, ANY, POST, END), (circumstances, intent) => {
        const ofSession = intent.kind === 'continue';
        const decision = decide(intent, ofSession ? atA : undefined, circumstances);
        const { backends, tried, onSessionLost, load, maxSessions } = circumstances;
        const able = backends.filter(({ id }) => (ofSession ? tried.get(id) !== 'unsent' : !tried.has(id)));
        switch (decision.kind) {
          case 'forward': {
            const { id } = decision.to;
            const fate = tried.get(id);
            return (
              backends.includes(decision.to) &&
              (ofSession ? id === 'a' && fate !== 'gone' && fate !== 'unsent' : fate === undefined)
            );
          }
          case 'migrate':
            return able.includes(decision.to) && onSessionLost === 'migrate';
          case 'wait':
            return able.length === 0 || (ofSession && onSessionLost === 'not-found');
          case 'spent':
            return ofSession && circumstances.spent !== undefined;
          case 'end':
            return intent === END;
          case 'refuse':
            return ofSession
              ? onSessionLost === 'not-found' || (circumstances.spent === 'migrated' && tried.get('a') === 'gone')
              : intent === OPEN &&
                  able.every(({ id, draining }) => draining || (load.held.get(id) ?? 0) >= maxSessions);
        }
      }),
    );
  });
});

describe('releases', () => {
  const at = (id: string, release?: number) => backend(id, release === undefined ? {} : { release });
  test.each<[string, readonly Backend[], readonly string[]]>([
    ['nobody says: all are as good', [at('a'), at('b')], ['a', 'b']],
    ['the newest, by number', [at('a', 9), at('b', 10), at('c', 10)], ['b', 'c']],
    ['who says nothing may be newer', [at('a', 9), at('b'), at('c', 10)], ['b', 'c']],
    ['nobody', [], []],
  ])('%s', (_what, all, expected) => {
    expect(newest(all).map(({ id }) => id)).toEqual(expected);
  });

  test('a new session goes to an older one only where each newer one is full, suspect, draining or tried', () => {
    fc.assert(
      fc.property(anyGiven, (circumstances) => {
        const decision = decide(OPEN, undefined, circumstances);
        if (decision.kind !== 'forward') return true;
        const { backends, tried, load, maxSessions } = circumstances;
        const { release = Infinity, draining, suspect } = decision.to;
        return backends
          .filter((one) => (one.release ?? -Infinity) > release)
          .every(
            (one) =>
              tried.has(one.id) ||
              (load.held.get(one.id) ?? 0) >= maxSessions ||
              (one.draining && !draining) ||
              (one.suspect && !suspect && !draining),
          );
      }),
    );
  });

  test('they make no difference where nothing is opened, nor where all are equal', () => {
    fc.assert(
      fc.property(anyGiven, fc.constantFrom(OPEN, ANY), (circumstances, intent) => {
        const plain = circumstances.backends.map(({ id, draining, suspect }) => backend(id, { draining, suspect }));
        const equal = plain.map((one) => Object.assign({ release: 7 }, one));
        const without = words(decide(intent, undefined, { ...circumstances, backends: plain }));
        const compared = intent === ANY ? circumstances.backends : equal;
        return words(decide(intent, undefined, { ...circumstances, backends: compared })) === without;
      }),
    );
  });

  test('a session that migrates goes to the newest', () => {
    const backends = [at('b', 1), at('c', 2)];
    const held = new Map([['c', 9]]);
    expect(words(decide(POST, atA, given({ backends, held })))).toBe('migrate c');
    expect(words(decide(POST, atA, given({ backends, held, maxSessions: 5 })))).toBe('migrate b');
  });
});

describe('balance', () => {
  const even = { since: fc.constantFrom(undefined, 0, SLOW_START_MS), zone: fc.constantFrom('x', 'y') };
  const candidates = fc.uniqueArray(
    fc
      .record({ id: names, ...even })
      .map(({ id, zone, since }) => backend(id, { zone, ...(since !== undefined && { since }) })),
    { selector: ({ id }) => id },
  );

  test('takes one of the candidates where there is one', () => {
    fc.assert(
      fc.property(candidates, anyLoad, (all, load) => {
        const chosen = balance(all, load);
        return chosen === undefined ? all.length === 0 : all.includes(chosen);
      }),
    );
  });

  test('of two never the fuller, and of two as full never the busier', () => {
    fc.assert(
      fc.property(anyLoad, (load) => {
        const [a, b] = [backend('a'), backend('b')];
        const chosen = balance([a, b], { ...load, zone: undefined });
        const other = chosen === a ? b : a;
        const more = (of: ReadonlyMap<string, number>) => (of.get(chosen?.id ?? '') ?? 0) - (of.get(other.id) ?? 0);
        return more(load.held) < 0 || (more(load.held) === 0 && more(load.running) <= 0);
      }),
    );
  });

  /** Numbers as if drawn, the same ones each time (Park and Miller's generator). */
  function draws(): () => number {
    let state = 1;
    return () => {
      state = (state * 48_271) % 2_147_483_647;
      return state / 2_147_483_647;
    };
  }

  /** Sessions that are opened one after the other, by where they went. */
  function open(count: number, all: readonly Backend[], load: Load): Record<string, number> {
    const held = new Map(load.held);
    const draw = draws();
    for (let at = 0; at < count; at += 1) {
      const { id } = balance(all, { ...load, held, draw }) ?? backend('nobody');
      held.set(id, (held.get(id) ?? 0) + 1);
    }
    return Object.fromEntries(held);
  }

  test('spreads evenly', () => {
    const spread = Object.values(
      open(
        300,
        ['a', 'b', 'c'].map((id) => backend(id)),
        loaded(),
      ),
    );
    expect(Math.max(...spread) - Math.min(...spread)).toBeLessThanOrEqual(10);
  });

  test('stays in its zone while that carries less than twice as much', () => {
    const all = [backend('a', { zone: 'x' }), backend('b', { zone: 'x' }), backend('c', { zone: 'y' })];
    const { a = 0, b = 0, c = 0 } = open(500, all, loaded({ zone: 'x' }));
    expect(a + b + c).toBe(500);
    expect(c).toBeGreaterThan(50);
    expect(Math.min(a, b)).toBeGreaterThan(c);
    expect(open(20, all, loaded({ zone: 'nowhere' }))).not.toEqual({ a: 20 });
  });

  test.each([
    ['two others', ['a', 'b', 'c']],
    ['one other', ['a', 'c']],
  ])('a new backend beside %s is filled step by step, until it holds what they do', (_what, ids) => {
    const held = new Map([
      ['a', 100],
      ['b', 100],
    ]);
    const all = ids.map((id) => backend(id, id === 'c' ? { since: 0 } : {}));
    const taken = [0.03, 1 / 3, 1].map((age) => open(90, all, loaded({ held, now: age * SLOW_START_MS }))['c'] ?? 0);
    const [first = 0, later = 0, last = 0] = taken;
    expect(first).toBeLessThan(30);
    expect(later).toBeGreaterThan(first + 10);
    expect(later).toBeLessThan(70);
    expect(last).toBeGreaterThan(later);
  });

  test('a place that is being taken may be given back, so that nobody is refused for it', () => {
    const all = [backend('a')];
    const taking = loaded({ opening: new Map([['a', 2]]) });
    expect(words(decide(OPEN, undefined, given({ backends: all, load: taking, maxSessions: 2 })))).toBe('wait');
    const taken = loaded({ held: new Map([['a', 2]]) });
    expect(words(decide(OPEN, undefined, given({ backends: all, load: taken, maxSessions: 2 })))).toBe('503');
  });

  test('so it is with the room in the registry, at whatever backend it is being taken', () => {
    const load = loaded({ opening: new Map([['a', 2]]) });
    const decided = [3, 2, 0].map((room) => words(decide(OPEN, undefined, given({ load, room }))));
    expect(decided).toEqual(['forward b', 'wait', '503']);
  });

  test('sessions that are being opened count', () => {
    const [a, b] = [backend('a'), backend('b')];
    const opening = new Map([['a', 2]]);
    expect(balance([a, b], loaded({ held: new Map([['b', 1]]), opening }))).toBe(b);
  });

  test('backends that are all new are none of them held back', () => {
    const all = ['a', 'b'].map((id) => backend(id, { since: 0 }));
    const { a = 0, b = 0 } = open(100, all, loaded({ now: 1 }));
    expect(Math.abs(a - b)).toBeLessThanOrEqual(2);
  });
});
