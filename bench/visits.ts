/** Clients that come, call, are asked, listen, and leave, some of them rudely. */

import { setTimeout as delay } from 'node:timers/promises';
import { type Door, type SdkClient, connectClient } from './client.ts';
import type { Tally } from './tally.ts';

export type VisitsOptions = {
  /** In the keys of calls, which are unique. */
  readonly name: string;
  readonly tally: Tally;
  /** Clients at once. */
  readonly clients: number;
  readonly pick: () => Door;
  /** From 0 to 1. */
  readonly random: () => number;
  /** A 503 with `Retry-After` is obeyed for so many seconds. */
  readonly comesBackFor: number;
};

export type Visits = {
  /** Lets each client end its visit. */
  stop(): Promise<void>;
};

const SHORTEST = 100;
const LONGEST = 1_000_000;
/** Milliseconds between the calls of a client, at most. */
const PAUSE_MS = 250;
/** After a client could not connect. */
const LATER_MS = 500;
const CALLS = { least: 3, most: 40 };

export function startVisits(options: VisitsOptions): Visits {
  const over = new AbortController();
  const all = Array.from({ length: options.clients }, (_, at) => comeAgain(options, at, over.signal));
  return {
    async stop() {
      over.abort();
      await Promise.all(all);
    },
  };
}

async function comeAgain(options: VisitsOptions, at: number, over: AbortSignal): Promise<void> {
  for (let visit = 0; !over.aborted; visit += 1) {
    const client = await connectClient(options);
    if (typeof client === 'object') {
      await stay(options, client, `${options.name}-${at}-${visit}`, over);
    } else {
      // A proxy that is killed in the middle of a handshake takes it along.
      if (client !== 'cut') options.tally.unopened += 1;
      await delay(LATER_MS);
    }
  }
}

async function stay(options: VisitsOptions, client: SdkClient, name: string, over: AbortSignal): Promise<void> {
  const { random } = options;
  if (random() < 0.5) await client.subscribe('demo://clock');
  const calls = CALLS.least + Math.floor(random() * (CALLS.most - CALLS.least));
  for (let turn = 0; turn < calls && !over.aborted; turn += 1) {
    if ((await callOnce(options, client, `${name}-${turn}`)) === 'lost') break;
    if (random() < 0.03) client.cutStream();
    await delay(random() * PAUSE_MS);
  }
  // Whoever leaves makes sure first that the session was there to the last.
  await client.ping();
  // A question that nobody answered counts as open for ten minutes, unless its session is ended.
  const way = client.owes ? 1 : random();
  if (way < 0.15) {
    // In the middle of a call, which nobody waits for.
    client.abandon('slow', { ms: 500 });
    await delay(100);
  }
  await client.leave(way < 0.3 ? 'silently' : 'goodbye');
}

/** As often short as long, on a logarithmic scale. */
function length(random: () => number): number {
  return Math.round(SHORTEST * (LONGEST / SHORTEST) ** random());
}

function callOnce({ random }: VisitsOptions, client: SdkClient, key: string): ReturnType<SdkClient['call']> {
  const what = random();
  const load = () => ({ key, text: 'x'.repeat(length(random)), bytes: length(random) });
  if (what < 0.45) return client.call('load', load(), key);
  if (what < 0.65) return client.call('safe_load', load());
  if (what < 0.75) return client.call('counter');
  if (what < 0.83) return client.call('confirm');
  if (what < 0.88) return client.call('ask', { what: 'sampling', listening: false });
  if (what < 0.92) return client.call('ask', { what: 'roots', listening: true });
  if (what < 0.97) return client.call('slow', { ms: 400, steps: 4 });
  return client.call('touch_resource');
}
