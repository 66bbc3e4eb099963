/** The rules of the cache, over a registry that answers when the test says so. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Session, type Sessions, SessionsUnavailable } from '../../proxy/contract.ts';
import { cachedSessions, type LinkedSessions } from '../../proxy/sessions/cached.ts';
import { type Ending, hashOf } from '../../proxy/sessions/changes.ts';
import { newListeners } from '../../proxy/listeners.ts';
import { changed, migrated, newSession } from '../house/sessions.ts';

const ttlSeconds = 100;
const TENTH = 10_000;

/** What the registry was asked, in words; each call waits for its answer while `held`. */
function newStore() {
  const changes = newListeners<string>();
  const endings = newListeners<Ending>();
  const links = newListeners<boolean>();
  const stored = new Map<string, Session>();
  const calls: string[] = [];
  const forgotten: string[] = [];
  const waiting: (() => void)[] = [];
  const state = {
    down: false,
    held: false,
    counts: new Map<string, number>(),
    ended: new Set<string>(),
    memory: 'first',
  };

  /** What is read or changed is so at once; its answer comes later. */
  async function answer<T>(call: string, outcome: () => T): Promise<T> {
    calls.push(call);
    const { down } = state;
    const result = down ? undefined : { value: outcome() };
    if (state.held) await new Promise<void>((resolve) => waiting.push(resolve));
    if (!result) throw new SessionsUnavailable('down');
    return result.value;
  }
  const store: LinkedSessions = {
    find: (id) => answer('find', () => stored.get(id)),
    create: (session) =>
      answer('create', () => {
        if (stored.has(session.id)) return 'taken';
        stored.set(session.id, session);
        return 'created';
      }),
    replace: (from, to) =>
      answer('replace', () => {
        if (stored.get(from.id)?.revision === from.revision) stored.set(to.id, to);
        return stored.get(from.id);
      }),
    end: (id) =>
      answer('end', () => {
        stored.delete(id);
        state.ended.add(id);
        return undefined;
      }),
    onChange: changes.add,
    onEnd: endings.add,
    idOf: (hash) => (hashOf(one.id) === hash ? one.id : undefined),
    hasEnded: (id) => answer('has it ended', () => state.ended.has(id)),
    onLink: links.add,
    forget: (id) => void forgotten.push(id),
    restore: (known) =>
      answer('restore', () => {
        const there = stored.get(known.id);
        if (state.ended.has(known.id) || (there && there.changes >= known.changes)) return there;
        stored.set(known.id, known);
        return known;
      }),
    countByBackend: () => answer('count', () => state.counts),
    async memory() {
      if (state.down) throw new SessionsUnavailable('down');
      return state.memory;
    },
    close: () => answer('close', () => {}),
  };
  return {
    store,
    stored,
    calls,
    forgotten,
    state,
    link: links.tell,
    /** Another proxy changes or ends the session. */
    elsewhere(id: string, to?: Session) {
      if (to) stored.set(id, to);
      else {
        stored.delete(id);
        state.ended.add(id);
      }
    },
    tell: changes.tell,
    /** Says that another proxy has ended the session, which the registry has forgotten already, in whole or not. */
    tellEnd({ id, createdAt }: Session) {
      endings.tell({ hash: hashOf(id), createdAt });
      changes.tell(id);
    },
    /** Lets the oldest call that waits have its answer. */
    async release() {
      waiting.shift()?.();
      await settle();
    },
  };
}

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

let at: number;
let registry: ReturnType<typeof newStore>;
let cached: Sessions;
let one: Session;

beforeEach(() => {
  at = 0;
  registry = newStore();
  cached = cachedSessions(registry.store, { ttlSeconds, now: () => at, maxEntries: 3 });
  registry.link(true);
  one = newSession();
  registry.stored.set(one.id, one);
});

describe('a hit', () => {
  test('asks nobody', async () => {
    for (let i = 0; i < 3; i += 1) expect(await cached.find(one.id)).toEqual(one);
    expect(registry.calls).toEqual(['find']);
  });

  test('renews the idle life once per tenth of it, and does not wait for that', async () => {
    await cached.find(one.id);
    at += TENTH - 1;
    await cached.find(one.id);
    expect(registry.calls).toEqual(['find']);
    at += 1;
    registry.state.held = true;
    for (let i = 0; i < 3; i += 1) expect(await cached.find(one.id)).toEqual(one);
    expect(registry.calls).toEqual(['find', 'find']);
    await registry.release();
    at += TENTH - 1;
    await cached.find(one.id);
    expect(registry.calls).toEqual(['find', 'find']);
  });

  test('learns from the renewal what it had not heard of', async () => {
    const two = changed(one);
    await cached.find(one.id);
    registry.elsewhere(one.id, two);
    at += TENTH;
    expect(await cached.find(one.id)).toEqual(one);
    await settle();
    expect(await cached.find(one.id)).toEqual(two);
  });

  test('a renewal that fails harms nobody, and is tried again in the next tenth', async () => {
    await cached.find(one.id);
    registry.state.down = true;
    for (let tenth = 0; tenth < 3; tenth += 1) {
      at += TENTH;
      for (let i = 0; i < 3; i += 1) expect(await cached.find(one.id)).toEqual(one);
      await settle();
    }
    expect(registry.calls).toEqual(['find', 'find', 'find', 'find']);
  });

  test('a session that was idle for its whole life is asked for', async () => {
    await cached.find(one.id);
    at += ttlSeconds * 1_000;
    registry.elsewhere(one.id);
    expect(await cached.find(one.id)).toBeUndefined();
  });
});

describe('a miss', () => {
  test('is one read for all who ask at the same time', async () => {
    registry.state.held = true;
    const asked = [cached.find(one.id), cached.find(one.id), cached.find(one.id)];
    await registry.release();
    expect(await Promise.all(asked)).toEqual([one, one, one]);
    expect(registry.calls).toEqual(['find']);
  });

  test('an unknown session is asked for each time, and leaves nothing behind', async () => {
    expect([await cached.find('x'), await cached.find('x')]).toEqual([undefined, undefined]);
    expect(registry.calls).toEqual(['find', 'find']);
    expect(registry.forgotten).toEqual(['x', 'x']);
  });

  test('fails while the registry is down, and only then', async () => {
    registry.state.down = true;
    await expect(cached.find(one.id)).rejects.toThrow(SessionsUnavailable);
    registry.state.down = false;
    expect(await cached.find(one.id)).toEqual(one);
  });
});

describe('fresh', () => {
  test('asks the registry, and what it says is kept', async () => {
    const two = changed(one);
    await cached.find(one.id);
    registry.elsewhere(one.id, two);
    expect(await cached.find(one.id, { fresh: true })).toEqual(two);
    expect(await cached.find(one.id)).toEqual(two);
    expect(registry.calls).toEqual(['find', 'find']);
  });

  test('is not served by a read that began before it', async () => {
    const two = changed(one);
    registry.state.held = true;
    const before = cached.find(one.id);
    registry.elsewhere(one.id, two);
    const fresh = cached.find(one.id, { fresh: true });
    await registry.release();
    await registry.release();
    expect([await before, await fresh]).toEqual([one, two]);
    expect(await cached.find(one.id)).toEqual(two);
  });

  test('never falls back on what is known', async () => {
    await cached.find(one.id);
    registry.state.down = true;
    await expect(cached.find(one.id, { fresh: true })).rejects.toThrow(SessionsUnavailable);
    expect(await cached.find(one.id)).toEqual(one);
  });
});

describe('a change of another proxy', () => {
  test('drops what is known, and is passed on', async () => {
    const heard: string[] = [];
    cached.onChange((id) => heard.push(id));
    const two = migrated(one, 'b');
    await cached.find(one.id);
    registry.elsewhere(one.id, two);
    registry.tell(one.id);
    expect(heard).toEqual([one.id]);
    expect(await cached.find(one.id)).toEqual(two);
  });

  test('makes what was read before it no knowledge, and no answer to who asks later', async () => {
    const two = migrated(one, 'b');
    registry.state.held = true;
    const early = cached.find(one.id);
    registry.elsewhere(one.id, two);
    registry.tell(one.id);
    const late = cached.find(one.id);
    await registry.release();
    expect(await early).toEqual(one);
    await registry.release();
    expect(await late).toEqual(two);
    expect(await cached.find(one.id)).toEqual(two);
    expect(registry.calls).toEqual(['find', 'find']);
  });

  test('overtakes a change of our own whose answer is on its way', async () => {
    const [two, three] = [changed(one), migrated(one, 'c')];
    registry.state.held = true;
    const ours = cached.replace(one, two);
    registry.elsewhere(one.id, three);
    registry.tell(one.id);
    await registry.release();
    expect(await ours).toEqual(two);
    registry.state.held = false;
    expect(await cached.find(one.id)).toEqual(three);
  });
});

describe('the end of a session, of which the registry knows nothing any more', () => {
  test('it is not put back', async () => {
    await cached.find(one.id);
    registry.stored.clear();
    registry.tellEnd(one);
    expect(await cached.find(one.id)).toBeUndefined();
    expect(registry.calls).not.toContain('restore');
  });

  test('nor while a read of it is on its way', async () => {
    registry.state.held = true;
    const reading = cached.find(one.id);
    await settle();
    registry.stored.clear();
    registry.tellEnd(one);
    registry.state.held = false;
    await registry.release();
    expect(await reading).toBeUndefined();
    expect(await cached.find(one.id)).toBeUndefined();
  });

  test('it ends again where the registry brings it back, as an older copy too; another of its id lives', async () => {
    await cached.find(one.id);
    registry.tellEnd(one);
    expect(await cached.find(one.id)).toBeUndefined();
    expect(registry.calls).toEqual(['find', 'find', 'end']);
    const other = newSession({ id: one.id, createdAt: one.createdAt + 1 });
    registry.stored.set(one.id, other);
    expect(await cached.find(one.id)).toEqual(other);
  });
});

describe('that a session has ended is forgotten after an hour', () => {
  const HOUR = 3_600_000;
  const used = new Set<string>();
  beforeEach(async () => {
    vi.useFakeTimers();
    await cached.close();
    cached = cachedSessions(registry.store, {
      ttlSeconds: 86_400,
      now: () => at,
      maxEntries: 3,
      serving: { has: (id) => used.has(id), calls: () => false },
    });
    registry.link(true);
    await cached.find(one.id);
    registry.calls.length = 0;
  });
  afterEach(async () => {
    used.clear();
    await cached.close();
    vi.useRealTimers();
  });
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += HOUR / 20) {
      at += HOUR / 20;
      await vi.advanceTimersByTimeAsync(HOUR / 20);
    }
  };
  /** Another proxy has ended it while this one could not hear, and that is forgotten. */
  const endedAndForgotten = () => {
    registry.elsewhere(one.id);
    registry.state.ended.clear();
  };

  test('who could not hear of it for so long does not put it back', async () => {
    registry.link(false);
    registry.state.down = true;
    await pass(HOUR);
    endedAndForgotten();
    registry.state.down = false;
    registry.link(true);
    await vi.advanceTimersByTimeAsync(10);
    expect(await soonFound()).toBeUndefined();
    expect(registry.stored.has(one.id)).toBe(false);
  });

  test('nor who has missed the word of it, and uses it from time to time', async () => {
    registry.elsewhere(one.id);
    await pass(HOUR);
    registry.state.ended.clear();
    expect(await soonFound()).toBeUndefined();
    expect(registry.stored.has(one.id)).toBe(false);
  });

  test('who could not hear for less puts back what is lost', async () => {
    registry.link(false);
    registry.state.down = true;
    await pass(HOUR / 2);
    registry.stored.clear();
    registry.state.down = false;
    registry.link(true);
    await vi.waitFor(() => expect(registry.stored.get(one.id)).toEqual(one));
  });

  test('where the registry has come back with nothing at all, what is known counts', async () => {
    registry.link(false);
    registry.state.down = true;
    await pass(3 * HOUR);
    registry.stored.clear();
    registry.state.memory = 'second';
    registry.state.down = false;
    // It may be asked for before changes are heard again.
    expect(await cached.find(one.id)).toEqual(one);
    registry.link(true);
    await vi.waitFor(() => expect(registry.stored.get(one.id)).toEqual(one));
  });

  test('a session that nobody uses is looked for often enough, and not too often', async () => {
    await pass(5 * HOUR);
    expect(registry.calls).toEqual(registry.calls.map(() => 'restore'));
    expect(registry.calls.length).toBeGreaterThan(8);
    expect(registry.calls.length).toBeLessThan(16);
    registry.stored.clear();
    expect(await cached.find(one.id, { fresh: true })).toEqual(one);
  });

  test('one that is served right now has not ended', async () => {
    used.add(one.id);
    registry.link(false);
    registry.state.down = true;
    await pass(2 * HOUR);
    registry.stored.clear();
    registry.state.down = false;
    registry.link(true);
    await vi.waitFor(() => expect(registry.stored.get(one.id)).toEqual(one));
  });

  /** An unknown session is looked for a while. */
  async function soonFound(): Promise<Session | undefined> {
    const found = cached.find(one.id);
    await vi.advanceTimersByTimeAsync(10_000);
    return found;
  }
});

describe('a copy that another proxy has changed since', () => {
  test('is not taken for the last where the registry has lost that change', async () => {
    await cached.find(one.id);
    registry.tell(one.id);
    await cached.find(one.id);
    expect(registry.calls).toEqual(['find', 'find', 'restore']);
  });
});

describe('a change of our own', () => {
  test('a created session is known', async () => {
    const session = newSession();
    expect(await cached.create(session)).toBe('created');
    expect(await cached.find(session.id)).toEqual(session);
    expect(registry.calls).toEqual(['create']);
  });

  test('what is taken is not ours to know', async () => {
    expect(await cached.create(newSession({ id: one.id }))).toBe('taken');
    expect(await cached.find(one.id)).toEqual(one);
  });

  test('a replaced one is known, the winner of a race too, and nothing of one that has ended', async () => {
    const [two, three] = [changed(one), changed(one)];
    await cached.replace(one, two);
    expect(await cached.find(one.id)).toEqual(two);
    registry.elsewhere(one.id, three);
    expect(await cached.replace(two, changed(two))).toEqual(three);
    expect(await cached.find(one.id)).toEqual(three);
    expect(registry.calls).toEqual(['replace', 'replace']);
    registry.elsewhere(one.id);
    expect(await cached.replace(three, changed(three))).toBeUndefined();
    expect(await cached.find(one.id)).toBeUndefined();
  });

  test('is not undone by a read that began before it', async () => {
    const two = changed(one);
    registry.state.held = true;
    const read = cached.find(one.id);
    const write = cached.replace(one, two);
    await registry.release();
    await registry.release();
    expect([await read, await write]).toEqual([one, two]);
    expect(await cached.find(one.id)).toEqual(two);
  });

  test('that may have been made is read before use', async () => {
    const two = changed(one);
    await cached.find(one.id);
    registry.state.down = true;
    await expect(cached.replace(one, two)).rejects.toThrow(SessionsUnavailable);
    expect(await cached.find(one.id)).toEqual(one);
    registry.state.down = false;
    registry.elsewhere(one.id, two);
    expect(await cached.find(one.id)).toEqual(two);
  });

  test('an ended session is known no more', async () => {
    await cached.find(one.id);
    await cached.end(one.id);
    expect(await cached.find(one.id)).toBeUndefined();
  });
});

describe('a subscription that is lost', () => {
  test('has each session read before use, for as long as it is', async () => {
    await cached.find(one.id);
    registry.link(false);
    for (let i = 0; i < 2; i += 1) expect(await cached.find(one.id)).toEqual(one);
    expect(registry.calls).toEqual(['find', 'find', 'find']);
  });

  test('and made again: each is looked for once', async () => {
    await cached.find(one.id);
    registry.link(false);
    registry.link(true);
    await settle();
    for (let i = 0; i < 2; i += 1) expect(await cached.find(one.id)).toEqual(one);
    expect(registry.calls).toEqual(['find', 'restore']);
  });

  test('what was read before it was made again is doubted too', async () => {
    registry.link(false);
    registry.state.held = true;
    const read = cached.find(one.id);
    registry.link(true);
    await registry.release();
    await read;
    registry.state.held = false;
    for (let i = 0; i < 2; i += 1) await cached.find(one.id);
    expect(registry.calls).toEqual(['find', 'find']);
  });

  test('who is unknown meanwhile may be put back by who knows him, and is looked for until then', async () => {
    registry.link(false);
    registry.stored.clear();
    const found = cached.find(one.id);
    await settle();
    registry.elsewhere(one.id, one);
    expect(await found).toEqual(one);
  });

  test('stops nobody when the registry cannot be read either', async () => {
    await cached.find(one.id);
    registry.link(false);
    registry.state.down = true;
    for (let i = 0; i < 2; i += 1) expect(await cached.find(one.id)).toEqual(one);
    await expect(cached.find('x')).rejects.toThrow(SessionsUnavailable);
  });

  test('a change that is seen before it is made again is passed on', async () => {
    const heard: string[] = [];
    cached.onChange((id) => heard.push(id));
    const two = newSession();
    registry.stored.set(two.id, two);
    await cached.find(one.id);
    await cached.find(two.id);
    registry.link(false);
    registry.elsewhere(one.id, migrated(one, 'b'));
    await cached.find(one.id);
    await cached.find(two.id);
    expect(heard).toEqual([one.id]);
  });

  test('and made again: each session may have changed, so each is told of, and can be read by who is told', async () => {
    const homes: (string | undefined)[] = [];
    cached.onChange((id) => void cached.find(id).then((session) => homes.push(session?.home.id)));
    const [two, three] = [newSession(), newSession()];
    for (const session of [two, three]) await cached.create(session);
    await cached.find(one.id);
    registry.link(false);
    registry.elsewhere(one.id, migrated(one, 'b'));
    registry.elsewhere(two.id);
    await settle();
    expect(homes).toEqual([]);
    registry.link(true);
    await settle();
    expect(new Set(homes)).toEqual(new Set(['b', undefined, 'a']));
  });

  test('a change that was missed is told of also when a change of our own saw it first', async () => {
    const heard: string[] = [];
    const two = migrated(one, 'b');
    await cached.find(one.id);
    registry.link(false);
    registry.elsewhere(one.id, two);
    expect(await cached.replace(one, changed(one))).toEqual(two);
    cached.onChange((id) => heard.push(id));
    registry.link(true);
    expect(heard).toEqual([one.id]);
  });
});

describe('the bound', () => {
  test('beyond so many bytes too the least recently used go', async () => {
    const maxBytes = 250_000;
    cached = cachedSessions(registry.store, { ttlSeconds, now: () => at, maxBytes });
    registry.link(true);
    const large = (number: number) =>
      newSession({
        journal: { initialize: { number, text: 'x'.repeat(100_000) }, initialized: true, subscriptions: [] },
      });
    const [first, second, third] = [large(1), large(2), large(3)] as const;
    for (const session of [first, second, third]) registry.stored.set(session.id, session);
    for (const { id } of [first, second, first, third]) await cached.find(id);
    expect(registry.forgotten).toEqual([second.id]);
    registry.calls.length = 0;
    for (const { id } of [first, third]) await cached.find(id);
    expect(registry.calls).toEqual([]);
    expect(await cached.find(second.id)).toEqual(second);
    expect(registry.calls).toEqual(['find']);
  });

  test('one that is too large for the cache is found all the same', async () => {
    cached = cachedSessions(registry.store, { ttlSeconds, now: () => at, maxBytes: 100 });
    registry.link(true);
    for (let i = 0; i < 2; i += 1) expect(await cached.find(one.id)).toEqual(one);
    expect(registry.calls).toEqual(['find', 'find']);
  });

  test('the least recently used go, and need not be heard of any more', async () => {
    const sessions = [one, newSession(), newSession(), newSession()];
    for (const session of sessions.slice(1)) registry.stored.set(session.id, session);
    for (const { id } of sessions.slice(0, 3)) await cached.find(id);
    await cached.find(one.id);
    await cached.find(sessions[3]!.id);
    expect(registry.forgotten).toEqual([sessions[1]!.id]);
    registry.calls.length = 0;
    for (const { id } of [one, sessions[2]!, sessions[3]!]) await cached.find(id);
    expect(registry.calls).toEqual([]);
  });
});

describe('counts', () => {
  const counts = async () => Object.fromEntries(await cached.countByBackend());

  test('answer at once, with our own changes since', async () => {
    registry.state.counts = new Map([['a', 5]]);
    registry.state.held = true;
    expect(await counts()).toEqual({});
    registry.state.held = false;
    const two = newSession();
    await cached.create(two);
    expect(await counts()).toEqual({ a: 1 });
    await registry.release();
    expect(await counts()).toEqual({ a: 6 });
    const moved = migrated(two, 'b');
    await cached.replace(two, moved);
    expect(await counts()).toEqual({ a: 5, b: 1 });
    await cached.end(two.id);
    expect(await counts()).toEqual({ a: 5 });
  });

  test('ask the registry every 2 s, and when somebody asks', async () => {
    const asked = () => registry.calls.filter((call) => call === 'count').length;
    await counts();
    at += 1_999;
    await counts();
    expect(asked()).toBe(1);
    at += 10_000;
    await settle();
    expect(asked()).toBe(1);
    await counts();
    await counts();
    expect(asked()).toBe(2);
  });

  test('forget our own changes when the registry has counted them', async () => {
    await counts();
    await cached.create(newSession());
    registry.state.counts = new Map([['a', 1]]);
    at += 2_000;
    await counts();
    await settle();
    expect(await counts()).toEqual({ a: 1 });
  });
});

test('close closes the registry, and no change is heard after it', async () => {
  const heard = vi.fn<(id: string) => void>();
  cached.onChange(heard);
  await cached.close();
  registry.tell(one.id);
  expect(registry.calls).toEqual(['close']);
  expect(heard).not.toHaveBeenCalled();
});
