/** A day of sessions under a clock of the test's own: opened, used, listened to, moved, left and ended, over one registry. */

import { randomUUID } from 'node:crypto';
import { type AskUse, type BackendSessions, backendSessionOf } from '../../proxy/backend-sessions.ts';
import type { Backend, Session, Sessions, Upstream } from '../../proxy/contract.ts';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type InUse, createInUse } from '../../proxy/in-use.ts';
import type { Serving } from '../../proxy/sessions/use.ts';
import { type Sweep, createSweep } from '../../proxy/sweep.ts';
import { changed, newSession } from './sessions.ts';

/** Milliseconds: how much time passes at once. */
export const STEP = 600_000;
/** Seconds. */
export const IDLE_LIFE = 2 * 3_600;
export const MAX_AGE = 6 * 3_600;

/** What one proxy has over the registry. */
export type Store = {
  readonly sessions: Sessions;
  readonly backendSessions: BackendSessions;
  readonly use: AskUse;
};

export type DayOptions = {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly proxies: number;
  readonly open: (serving: Serving) => Promise<Store>;
  /** Lets a step pass, for the clock, for timers, and for what the registry expires by a clock of its own. */
  readonly pass: () => Promise<void>;
};

export type Day = {
  /** So many steps, in each of which so many clients come. */
  readonly live: (steps: number, coming: number) => Promise<void>;
  /** Sessions that were in use, and are gone or closed all the same. */
  readonly faults: readonly string[];
  /** How many sessions backends hold. */
  readonly held: () => number;
  readonly opened: () => number;
  readonly told: () => Omit<Extract<RoutingEvent, { type: 'sweep' }>, 'type'>;
  readonly close: () => Promise<void>;
};

type Proxy = Store & { readonly inUse: InUse; readonly sweep: Sweep };
/** What a client does in a step; false: that was the last. */
type Client = () => Promise<boolean>;

const BACKENDS: readonly Backend[] = ['a', 'b', 'c'].map((id) => ({
  id,
  origin: `http://${id}`,
  draining: false,
  suspect: false,
}));

export async function startDay({ now, proxies: count, open, pass }: DayOptions): Promise<Day> {
  const world = newWorld();
  const proxies: Proxy[] = [];
  for (let at = 0; at < count; at += 1) proxies.push(await newProxy(world, open, now));
  const clients = new Set<Client>();
  const faults: string[] = [];
  let opened = 0;
  const come = async (): Promise<void> => {
    opened += 1;
    clients.add(await newClient(opened, { world, proxies, now, faults }));
  };
  return {
    faults,
    held: () => [...world.held.values()].reduce((sum, { size }) => sum + size, 0),
    opened: () => opened,
    told: () => world.told,
    async live(steps, coming) {
      for (let step = 0; step < steps; step += 1) {
        await Promise.all(Array.from({ length: coming }, come));
        await pass();
        const go = async (client: Client) => (await client()) || clients.delete(client);
        await Promise.all([...clients].map(go));
        await Promise.all(proxies.map(({ sweep }) => sweep.round()));
      }
    },
    async close() {
      for (const { inUse, sweep, sessions } of proxies) {
        inUse.close();
        sweep.close();
        await sessions.close();
      }
    },
  };
}

type World = ReturnType<typeof newWorld>;

/** The backends, which know their sessions and a DELETE. */
function newWorld() {
  const held = new Map(BACKENDS.map(({ id }) => [id, new Set<string>()]));
  const told = { expired: 0, closed: 0, unknown: 0, refused: 0, failed: 0 };
  const upstream: Upstream = {
    async send(_exchange, session, { id }, sink) {
      const status = held.get(id)?.delete(session?.backendSessionId ?? '') === true ? 200 : 404;
      sink.head(status, []);
      sink.end();
      return { kind: 'answered', status };
    },
  };
  function record(event: RoutingEvent): void {
    if (event.type === 'fault') throw event.error;
    if (event.type !== 'sweep') return;
    for (const what of ['expired', 'closed', 'unknown', 'refused', 'failed'] as const) told[what] += event[what];
  }
  return { held, told, upstream, record };
}

async function newProxy({ upstream, record }: World, open: DayOptions['open'], now: () => number): Promise<Proxy> {
  const inUse: InUse = createInUse({ ttlMs: IDLE_LIFE * 1_000, renew: (id) => store.sessions.find(id), now });
  const store = await open({ has: (id) => inUse.has(id), calls: (id) => inUse.calls(id) });
  const rooms = { ...store, upstream, backends: { list: () => BACKENDS }, telemetry: { record } };
  const sweep = createSweep({ ...rooms, endpointOf: () => '/mcp' }, { everyMs: 2 ** 30, perSecond: Infinity });
  return { ...store, inUse, sweep };
}

type Around = {
  readonly world: World;
  readonly proxies: readonly Proxy[];
  readonly now: () => number;
  readonly faults: string[];
};

/** One of each few listens, moves, or ends what it has opened; most just go away, as clients do. */
async function newClient(number: number, around: Around): Promise<Client> {
  const { world, proxies, now, faults } = around;
  const backendAt = (at: number): Backend => BACKENDS[at % BACKENDS.length]!;
  const { id, origin } = backendAt(number);
  let session = newSession({ home: { id, origin }, createdAt: now() });
  world.held.get(id)?.add(session.backendSessionId);
  await proxies[number % proxies.length]!.sessions.create(session);

  const isTooOld = (): boolean => now() >= session.createdAt + MAX_AGE * 1_000;
  const check = (found: Session | undefined): void => {
    if (found === undefined) faults.push(`${number} is in use and gone`);
    else if (world.held.get(found.home.id)?.has(found.backendSessionId) !== true)
      faults.push(`${number} is in use and closed`);
  };
  /** It has another home from now on; the old one is left. */
  async function move({ sessions }: Proxy): Promise<void> {
    const to = backendAt(number + 1);
    const home = { id: to.id, origin: to.origin };
    const next = { ...changed(session), epoch: session.epoch + 1, backendSessionId: randomUUID(), home };
    world.held.get(to.id)?.add(next.backendSessionId);
    const there = await sessions.replace(session, next);
    check(there);
    session = there ?? session;
  }
  async function end({ sessions, backendSessions }: Proxy): Promise<void> {
    const ended = await sessions.end(session.id);
    check(ended);
    if (ended === undefined) return;
    world.held.get(ended.home.id)?.delete(ended.backendSessionId);
    backendSessions.closed(backendSessionOf(ended));
  }

  if (number % 7 === 0) {
    const leave = proxies[number % proxies.length]!.inUse.enter(session.id, 'stream');
    let left = number % 100;
    return async () => {
      left -= 1;
      if (!isTooOld()) check(session);
      if (left > 0 && !isTooOld()) return true;
      leave();
      return false;
    };
  }
  /** Steps between two uses: less than an idle life. */
  const every = 1 + (number % 9);
  let steps = every * (number % 6);
  return async () => {
    if (steps === 0 || isTooOld()) return false;
    steps -= 1;
    if (steps % every > 0) return true;
    const proxy = proxies[(number + steps) % proxies.length]!;
    check(await proxy.sessions.find(session.id));
    if (number % 5 === 0 && session.epoch === 0) await move(proxy);
    if (steps === 0 && number % 4 === 0) await end(proxy);
    return steps > 0;
  };
}
