/** Where an exchange goes, as a table and as laws. */

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { balance } from '../../proxy/balance.ts';
import type { Backend, Fate, Intent } from '../../proxy/contract.ts';
import { type Circumstances, decide } from '../../proxy/decide.ts';
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

function given(more: Partial<Circumstances> & { fates?: Record<string, Fate> } = {}): Circumstances {
  const { fates = {}, ...rest } = more;
  return {
    backends: [backend('a'), backend('b')],
    tried: new Map(Object.entries(fates)),
    held: new Map(),
    draw: () => 0,
    onSessionLost: 'migrate',
    ...rest,
  };
}
const words = (decision: ReturnType<typeof decide>): string =>
  decision.kind === 'refuse'
    ? String(decision.status)
    : 'to' in decision
      ? `${decision.kind} ${decision.to.id}`
      : decision.kind;

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
    ['ends without its home', END, { fates: { a: 'unsent' } }, 'end'],
    ['is not found when it may not migrate', POST, { fates: { a: 'gone' }, onSessionLost: 'not-found' }, '404'],
    [
      'waits for its home when it may not migrate',
      POST,
      { fates: { a: 'unsent' }, onSessionLost: 'not-found' },
      'wait',
    ],
  ])('%s', (_what, intent, circumstances, expected) => {
    expect(words(decide(intent, atA, given(circumstances)))).toBe(expected);
  });
});

test.each<[string, Wish, Parameters<typeof given>[0], string]>([
  ['an unknown session', POST, {}, '404'],
  ['a new session', OPEN, { held: new Map([['a', 3]]) }, 'forward b'],
  ['a new session after a refusal', OPEN, { fates: { a: 'unsent' } }, 'forward b'],
  ['a new session where all refuse', OPEN, { fates: { a: 'unsent', b: 'lost' } }, 'wait'],
  ['a request without a session', ANY, { backends: [backend('b')] }, 'forward b'],
])('%s', (_what, intent, circumstances, expected) => {
  expect(words(decide(intent, undefined, given(circumstances)))).toBe(expected);
});

const names = fc.constantFrom('a', 'b', 'c', 'd');
const anyBackends = fc.uniqueArray(
  fc.record({ id: names, draining: fc.boolean(), suspect: fc.boolean() }).map(({ id, ...is }) => backend(id, is)),
  { selector: ({ id }) => id },
);
const anyGiven = fc.record({
  backends: anyBackends,
  tried: fc
    .dictionary(names, fc.constantFrom<Fate>('unsent', 'gone', 'lost'))
    .map((fates) => new Map(Object.entries(fates))),
  held: fc.dictionary(names, fc.nat(50)).map((counts) => new Map(Object.entries(counts))),
  draw: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }).map((drawn) => () => drawn),
  onSessionLost: fc.constantFrom('migrate' as const, 'not-found' as const),
});

describe('laws', () => {
  test('nothing is forwarded to where it was gone or refused, nor a session to a stranger; waiting means nobody is left', () => {
    fc.assert(
      fc.property(anyGiven, fc.constantFrom(OPEN, ANY, POST, END), (circumstances, intent) => {
        const ofSession = intent.kind === 'continue';
        const decision = decide(intent, ofSession ? atA : undefined, circumstances);
        const { backends, tried, onSessionLost } = circumstances;
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
          case 'end':
            return intent === END;
          case 'refuse':
            return ofSession && onSessionLost === 'not-found';
        }
      }),
    );
  });

  test('balance draws one of the candidates, and of two never the fuller', () => {
    fc.assert(
      fc.property(anyGiven, ({ backends, held, draw }) => {
        const chosen = balance(backends, held, draw);
        if (chosen === undefined) return backends.length === 0;
        const loads = backends.map(({ id }) => held.get(id) ?? 0);
        return (
          backends.includes(chosen) && (backends.length !== 2 || (held.get(chosen.id) ?? 0) === Math.min(...loads))
        );
      }),
    );
  });

  test('balance spreads evenly', () => {
    const held = new Map<string, number>();
    const all = ['a', 'b', 'c'].map((id) => backend(id));
    for (let at = 0; at < 300; at += 1) {
      const { id } = balance(all, held, Math.random) ?? backend('nobody');
      held.set(id, (held.get(id) ?? 0) + 1);
    }
    expect(Math.max(...held.values()) - Math.min(...held.values())).toBeLessThanOrEqual(10);
  });
});
