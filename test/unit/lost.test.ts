/** What a proxy makes of the others' answers about a session that the registry has lost. */

import { beforeEach, describe, expect, test } from 'vitest';
import { type Answers, type JsonObject, type Peers, SessionsUnavailable } from '../../proxy/contract.ts';
import type { LinkedSessions } from '../../proxy/sessions/cached.ts';
import { hashOf } from '../../proxy/sessions/changes.ts';
import { newEndings } from '../../proxy/sessions/endings.ts';
import { TOPIC, newLostSessions } from '../../proxy/sessions/lost.ts';
import { newSession } from '../house/sessions.ts';

const session = newSession();
const { id, createdAt } = session;
const hash = hashOf(id);

let at: number;
/** What was asked, by topic, and what was ended. */
let calls: string[];
/** The others' answers to who knows. */
let said: Answers | Promise<Answers>;
let handlers: Map<string, (message: JsonObject) => unknown>;
let secured: string[];
let facts: unknown[];
beforeEach(() => {
  at = 0;
  [calls, secured, facts] = [[], [], []];
  handlers = new Map();
  said = { answers: [{}, {}], complete: true };
});

const peers: Peers = {
  ask: async (topic, message) => {
    calls.push(topic === TOPIC.whoKnows ? 'who knows' : 'put back');
    expect(Object.keys(message)).toEqual(['hash']);
    return said;
  },
  tell() {},
  on: (topic, f) => (handlers.set(topic, f), () => handlers.delete(topic)),
  close() {},
};

function newLost({ ended = false, down = false, alone = false, known = true } = {}) {
  const never = () => Promise.reject(new Error('not used here'));
  const unheard = () => () => {};
  const store: LinkedSessions = {
    find: never,
    create: never,
    replace: never,
    restore: never,
    countByBackend: never,
    close: never,
    onChange: unheard,
    onEnd: unheard,
    onLink: unheard,
    forget() {},
    idOf: (one) => (one === hash ? id : undefined),
    hasEnded: async () => {
      if (down) throw new SessionsUnavailable('down');
      return ended;
    },
    end: async () => void calls.push('end'),
  };
  const endings = newEndings({ lifeMs: 100_000, most: 2, now: () => at });
  const lost = newLostSessions({
    peers: alone ? undefined : peers,
    store,
    endings,
    vouched: () => (known ? session : undefined),
    secure: async (one) => void secured.push(one),
    onAnswers: (answers) => facts.push(...answers),
    now: () => at,
  });
  return { ...lost, endings };
}

describe('who knows it?', () => {
  test('a proxy alone asks nobody', async () => {
    expect(await newLost({ alone: true }).find(id)).toBe('unknown');
    expect(calls).toEqual([]);
  });

  test('a session that the registry knows to have ended is not asked for', async () => {
    expect(await newLost({ ended: true }).find(id)).toBe('unknown');
    expect(calls).toEqual([]);
  });

  test('a registry that cannot be asked is said to be so', async () => {
    await expect(newLost({ down: true }).find(id)).rejects.toThrow(SessionsUnavailable);
  });

  test('one does: it is to put it back, each time that it is lost', async () => {
    said = { answers: [{}, { known: createdAt }], complete: false };
    const lost = newLost();
    expect([await lost.find(id), await lost.find(id)]).toEqual(['put back', 'put back']);
    expect(calls).toEqual(['who knows', 'put back', 'who knows', 'put back']);
  });

  test('none does: for a second nobody is asked again', async () => {
    const lost = newLost();
    const asked: number[] = [];
    for (at of [0, 999, 1_000, 1_500]) {
      expect(await lost.find(id)).toBe('unknown');
      asked.push(calls.length);
    }
    expect(asked).toEqual([1, 1, 2, 2]);
  });

  test('not all have answered: unsure once in ten seconds, unknown otherwise', async () => {
    said = { answers: [{}], complete: false };
    const lost = newLost();
    const verdicts: string[] = [];
    for (at of [0, 500, 1_000, 2_000, 13_000]) verdicts.push(await lost.find(id));
    expect(verdicts).toEqual(['unsure', 'unsure', 'unknown', 'unknown', 'unsure']);
  });

  test.each([[{ known: true }], [{ known: 'x' }], [{ ended: '1' }], [{ known: null, ended: null }]])(
    '%j is no answer',
    async (answer) => {
      said = { answers: [answer], complete: true };
      expect(await newLost().find(id)).toBe('unknown');
      expect(calls).toEqual(['who knows']);
    },
  );

  test('one knows that it ended, another has not heard: it ends', async () => {
    said = { answers: [{ known: createdAt }, { ended: createdAt }], complete: false };
    const lost = newLost();
    expect(await lost.find(id)).toBe('unknown');
    expect(calls).toEqual(['who knows', 'end']);
    expect(lost.hasEnded(session)).toBe(true);
    expect(lost.hasEnded({ ...session, createdAt: createdAt + 1 })).toBe(false);
  });

  test('one knows that another of the same id ended, long ago: it lives', async () => {
    said = { answers: [{ known: createdAt, ended: createdAt - 1 }], complete: true };
    expect(await newLost().find(id)).toBe('put back');
  });

  test('those who ask at the same time share a question; beyond 64 they wait, and beyond that nobody is asked', async () => {
    const { promise, resolve } = Promise.withResolvers<Answers>();
    said = promise;
    const lost = newLost();
    const open = Array.from({ length: 1_088 }, (_, one) => [lost.find(`${one}`), lost.find(`${one}`)]).flat();
    expect(await lost.find('one more')).toBe('unsure');
    expect(calls).toHaveLength(64);
    resolve({ answers: [], complete: true });
    expect(new Set(await Promise.all(open))).toEqual(new Set(['unknown']));
    expect(calls).toHaveLength(1_088);
    expect(await lost.find('one more')).toBe('unknown');
  });

  test('so it is with putting back', async () => {
    const { promise, resolve } = Promise.withResolvers<Answers>();
    said = promise;
    const lost = newLost();
    const open = Array.from({ length: 64 }, (_, one) => [lost.putBack(`${one}`), lost.putBack(`${one}`)]).flat();
    expect(await lost.putBack('one more')).toBe(false);
    resolve({ answers: [{ known: true }, {}], complete: true });
    expect(new Set(await Promise.all(open))).toEqual(new Set([true]));
    expect(calls).toHaveLength(64);
    expect(await newLost({ alone: true }).putBack(id)).toBe(false);
  });

  test('further facts in the answers are heard', async () => {
    said = { answers: [{ issuesIds: false }], complete: true };
    await newLost().find(id);
    expect(facts).toEqual([{ issuesIds: false }]);
  });
});

describe('what others are told', () => {
  const handle = (topic: string, message: JsonObject) => handlers.get(topic)?.(message);

  test('of a session that is known, that has ended, or neither', async () => {
    const { endings } = newLost();
    expect(handle(TOPIC.whoKnows, { hash })).toEqual({ known: createdAt });
    endings.add(hash, 7);
    expect(handle(TOPIC.whoKnows, { hash })).toEqual({ known: createdAt, ended: 7 });
    for (const other of ['x', 7, undefined, null, {}]) expect(handle(TOPIC.whoKnows, { hash: other })).toEqual({});
  });

  test('what is known is put back, when asked to', async () => {
    newLost();
    expect(await handle(TOPIC.putBack, { hash })).toEqual({ known: true });
    expect(await handle(TOPIC.putBack, { hash: 'x' })).toEqual({ known: false });
    newLost({ known: false });
    expect(await handle(TOPIC.putBack, { hash })).toEqual({ known: false });
    expect(secured).toEqual([id]);
  });

  test('nothing after the end', () => {
    newLost().close();
    expect(handlers.size).toBe(0);
  });
});

test('endings are forgotten after an idle life, and the oldest beyond their number', () => {
  const endings = newEndings({ lifeMs: 100, most: 2, now: () => at });
  for (const [index, one] of ['a', 'b', 'c'].entries()) {
    at = index;
    endings.add(one, index);
  }
  expect(['a', 'b', 'c'].map(endings.of)).toEqual([undefined, 1, 2]);
  at = 101;
  expect(['b', 'c'].map(endings.of)).toEqual([undefined, 2]);
  endings.forget('c');
  expect(endings.of('c')).toBeUndefined();
});
