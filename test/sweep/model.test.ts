/** A random walk of clients, drains, kills, restarts and outages over the real rooms: what must hold, holds after it. */

import { createHash } from 'node:crypto';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { type ModelClient, type Request, newClient } from '../house/model/clients.ts';
import { type ModelProxies, newProxies } from '../house/model/proxies.ts';
import { type Schedule, newSchedule } from '../house/model/schedule.ts';
import { type ModelServers, newServers } from '../house/model/servers.ts';

const BASE = Number(process.env['MODEL_SEED'] ?? 20_261_121);
const WALKS = process.env['MODEL_SEED'] === undefined ? 1000 : 1;
const STEPS = 250;
/** After the walk, in milliseconds: longer than any hold, claim or farewell lasts. */
const AFTERWARDS = 120_000;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

type World = {
  readonly schedule: Schedule;
  readonly servers: ModelServers;
  readonly proxies: ModelProxies;
  readonly clients: readonly ModelClient[];
  readonly requests: Request[];
  /** What went wrong on the way. */
  readonly wrong: string[];
  calls: number;
  migrations: number;
};

function newWorld(seed: number): World {
  const schedule = newSchedule(seed);
  const servers = newServers(['a:1', 'b:1', 'c:1'], schedule);
  const requests: Request[] = [];
  const wrong: string[] = [];
  const hear = (event: RoutingEvent): void => {
    if (event.type === 'fault') wrong.push(`a fault: ${event.error.stack}`);
    if (event.type !== 'migration') return;
    schedule.say(`${event.from} → ${event.to}: ${event.reason} ${event.outcome}`);
    if (event.outcome !== 'migrated') return;
    world.migrations += 1;
    const planned = event.reason === 'drain' || event.reason === 'manual';
    if (planned && (servers.running.get(event.session) ?? 0) > 0) wrong.push('a planned migration under a call');
  };
  const proxies = newProxies(servers, schedule, hear);
  const clients = Array.from({ length: 4 }, () => newClient(proxies.routers, schedule, requests));
  const world: World = { schedule, servers, proxies, clients, requests, wrong, calls: 0, migrations: 0 };
  return world;
}

function pick<T>({ schedule }: World, of: readonly T[]): T {
  return of[Math.floor(schedule.draw() * of.length)]!;
}

/** Something that may happen, by a weight. */
const EVENTS: readonly (readonly [number, (world: World) => unknown])[] = [
  [6, (world) => pick(world, world.clients).open()],
  [30, (world) => pick(world, world.clients).call(`call ${(world.calls += 1)}`, world.schedule.draw() < 0.4)],
  [8, (world) => pick(world, world.clients).listen()],
  [2, (world) => pick(world, world.clients).hangUp()],
  [1, (world) => pick(world, world.clients).end()],
  [3, (world) => world.servers.kill(pick(world, world.servers.all))],
  [6, (world) => world.servers.restart(pick(world, world.servers.all))],
  [3, (world) => world.proxies.drains.set(pick(world, world.servers.all).id)],
  [4, (world) => world.proxies.drains.clear(pick(world, world.servers.all).id)],
  [2, (world) => order(world, pick(world, world.clients))],
  [1, (world) => world.proxies.outage(true)],
  [3, (world) => world.proxies.outage(false)],
  [12, (world) => world.schedule.pass(Math.floor(400 * world.schedule.draw()))],
];

function order({ proxies }: World, { session }: ModelClient): void {
  if (session !== undefined) void proxies.orders.set(createHash('sha256').update(session).digest('hex'));
}

async function walk(world: World): Promise<void> {
  const { schedule } = world;
  const sum = EVENTS.reduce((total, [weight]) => total + weight, 0);
  for (let step = 0; step < STEPS; step += 1) {
    // Now and then something happens; mostly what happens goes on.
    if (schedule.draw() < 0.6) await schedule.next();
    else {
      let drawn = schedule.draw() * sum;
      const [, happen] = EVENTS.find(([weight]) => (drawn -= weight) < 0)!;
      await happen(world);
      await schedule.pass(0);
    }
  }
}

/** All servers run, nobody drains, the registry is there: what has begun comes to its end. */
async function settle(world: World): Promise<void> {
  const { servers, proxies, schedule } = world;
  for (const server of servers.all) servers.restart(server);
  for (const { id } of servers.all) await proxies.drains.clear(id);
  proxies.outage(false);
  const until = Date.now() + AFTERWARDS;
  while (Date.now() < until) {
    while (schedule.waiting() > 0) await schedule.next();
    await schedule.pass(500);
  }
}

async function check(world: World): Promise<readonly string[]> {
  const { servers, proxies, clients, requests, wrong } = world;
  const faults = [...wrong];
  for (const { what, over, sink } of requests) {
    if (!over && what !== 'listen') faults.push(`${what} hangs`);
    // A client that has hung up sees no end.
    if (over && what !== 'listen' && sink.ending === 'open') faults.push(`${what} has no end`);
  }
  const runs = new Map<string, number>();
  for (const key of servers.ledger) runs.set(key, (runs.get(key) ?? 0) + 1);
  for (const [key, count] of runs) if (count > 1) faults.push(`${key} ran ${count} times`);
  const registered = await Promise.all(
    clients.flatMap(({ sessions }) => sessions).map((id) => proxies.registry.find(id)),
  );
  const homes = new Set(registered.map((session) => session?.backendSessionId));
  for (const { session: id, listening } of clients) {
    const session = id === undefined ? undefined : await proxies.registry.find(id);
    if (session === undefined) continue;
    const home = servers.all.find((server) => server.id === session.home.id)?.sessions.get(session.backendSessionId);
    // A home that was restarted is found out by the next request.
    if (home !== undefined && listening !== home.streams.size > 0) {
      faults.push(`${id}: ${home.streams.size} streams at home, and the client ${listening ? 'listens' : 'does not'}`);
    }
    if (home === undefined && listening) faults.push(`${id}: listens, and its home does not know it`);
  }
  for (const { id, sessions } of servers.all) {
    for (const session of sessions.keys()) {
      if (!homes.has(session) && !servers.unheard.has(session)) faults.push(`${session} is an orphan at ${id}`);
    }
  }
  return faults;
}

test(`${WALKS} walks of ${STEPS} steps`, { timeout: 120_000 }, async () => {
  let migrations = 0;
  for (let at = 0; at < WALKS; at += 1) {
    const seed = BASE + at;
    const world = newWorld(seed);
    await walk(world);
    await settle(world);
    const faults = await check(world);
    const told = faults.length === 0 ? '' : `${faults.join(', ')}; MODEL_SEED=${seed}\n  ${world.schedule.story()}`;
    expect(told).toBe('');
    migrations += world.migrations;
    await world.proxies.close();
  }
  process.stdout.write(`model: ${WALKS} walks, ${migrations} migrations\n`);
  expect(migrations).toBeGreaterThan(WALKS === 1 ? -1 : WALKS);
});
