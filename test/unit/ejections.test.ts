/** A backend that fails to open sessions is passed over, longer each time, and tried again. */

import { expect, test } from 'vitest';
import { createEjections } from '../../proxy/ejections.ts';

function begin() {
  let now = 0;
  const ejections = createEjections(() => now);
  /** Seconds until it is tried again. */
  function rests(): number {
    const since = now;
    while (ejections.ejected('a')) now += 100;
    return (now - since) / 1000;
  }
  return { ejections, rests };
}

test('the pauses double up to a minute', () => {
  const { ejections, rests } = begin();
  const pauses = Array.from({ length: 9 }, () => {
    ejections.failed('a');
    return rests();
  });
  expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test('failures of one moment count once, and of others nothing is known', () => {
  const { ejections, rests } = begin();
  for (let at = 0; at < 100; at += 1) ejections.failed('a');
  expect([ejections.ejected('b'), rests()]).toEqual([false, 1]);
});

test('a success forgets all', () => {
  const { ejections, rests } = begin();
  for (let at = 0; at < 5; at += 1) {
    ejections.failed('a');
    rests();
  }
  ejections.succeeded('a');
  expect(ejections.ejected('a')).toBe(false);
  ejections.failed('a');
  expect(rests()).toBe(1);
});

test('of very many the oldest is forgotten', () => {
  const { ejections } = begin();
  for (let at = 0; at <= 10_000; at += 1) ejections.failed(`backend ${at}`);
  expect([ejections.ejected('backend 0'), ejections.ejected('backend 1'), ejections.ejected('backend 10000')]).toEqual([
    false,
    true,
    true,
  ]);
});
