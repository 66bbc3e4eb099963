/** Two proxies of a model: the real rooms over one registry, each call to it a step of its own, and heard by the other. */

import { memoryActivity } from '../../../proxy/activity/memory.ts';
import { drainableBackends, memoryMarks } from '../../../proxy/backends/drains.ts';
import { staticBackends } from '../../../proxy/backends/static.ts';
import { type Sessions, SessionsUnavailable } from '../../../proxy/contract.ts';
import type { RoutingEvent } from '../../../proxy/events.ts';
import { newListeners } from '../../../proxy/listeners.ts';
import { BoundedSet } from '../../../proxy/bounded.ts';
import { createConfirmations } from '../../../proxy/confirmations.ts';
import { createEndings } from '../../../proxy/endings.ts';
import { createGuesses } from '../../../proxy/guesses.ts';
import { createIssuers } from '../../../proxy/issuers.ts';
import { createRequestStates } from '../../../proxy/request-states.ts';
import { createUnregister } from '../../../proxy/unregister.ts';
import { createEjections } from '../../../proxy/ejections.ts';
import { createMigrator } from '../../../proxy/migrate.ts';
import { migrateListening } from '../../../proxy/planned.ts';
import { createPlans } from '../../../proxy/plans.ts';
import { noPeers } from '../../../proxy/peers/memory.ts';
import { createFirstQuestions } from '../../../proxy/first-questions.ts';
import { createQuestions } from '../../../proxy/questions.ts';
import { createInUse } from '../../../proxy/in-use.ts';
import { createQuiet } from '../../../proxy/quiet.ts';
import { type Router, createRouter } from '../../../proxy/router.ts';
import { memorySessions } from '../../../proxy/sessions/memory.ts';
import type { Rooms } from '../../../proxy/story.ts';
import { createStreams } from '../../../proxy/streams.ts';
import type { Schedule } from './schedule.ts';
import type { ModelServers } from './servers.ts';

export type ModelProxies = {
  readonly routers: readonly Router[];
  /** What is true. */
  readonly registry: Sessions;
  readonly drains: ReturnType<typeof memoryMarks>;
  readonly orders: ReturnType<typeof memoryMarks>;
  /** While it is away every call of the proxies to it fails. */
  readonly outage: (away: boolean) => void;
  readonly close: () => Promise<void>;
};

/** `hear` is told what the proxies record. */
export function newProxies(
  servers: ModelServers,
  schedule: Schedule,
  hear: (event: RoutingEvent) => void,
): ModelProxies {
  const { turn, draw } = schedule;
  const registry = memorySessions({ ttlSeconds: 86_400 });
  const [drains, orders, watched] = [memoryMarks(), memoryMarks(), memoryMarks()];
  const activity = memoryActivity();
  const changes = newListeners<{ readonly id: string; readonly by: number }>();
  let away = false;
  let made = 0;
  const token = (): string => `token ${(made += 1)}`;

  function sessionsOf(by: number): Sessions {
    const reach = async <T>(what: string, ask: () => Promise<T>): Promise<T> => {
      await turn(`proxy ${by} asks the registry to ${what}`);
      if (away) throw new SessionsUnavailable('away');
      return ask();
    };
    const tell = (id: string): void => void turn(`the other hears of ${by}`).then(() => changes.tell({ id, by }));
    return {
      ...registry,
      find: (id) => reach('find', () => registry.find(id)),
      create: (session) => reach('create', () => registry.create(session)),
      async replace(from, to) {
        const now = await reach('replace', () => registry.replace(from, to));
        if (now?.revision === to.revision) tell(from.id);
        return now;
      },
      async end(id) {
        const ended = await reach('end', () => registry.end(id));
        tell(id);
        return ended;
      },
      onChange: (f) => changes.add((change) => change.by !== by && f(change.id)),
    };
  }

  function newProxy(by: number) {
    const sessions = sessionsOf(by);
    const backends = drainableBackends(staticBackends(servers.all.map(({ id }) => `http://${id}`)), drains);
    const telemetry = { record: hear };
    const shared = { sessions, backends, upstream: servers.upstream, telemetry, now: Date.now, draw, token };
    const plans = createPlans({ backends, orders, watched, chaos: false, settleMs: 100, now: Date.now });
    const quiet = createQuiet(activity, (session) => plans.watches(session), token);
    plans.onChange(() => quiet.watchedMore());
    const renew = (id: string) => sessions.find(id);
    const inUse = createInUse({ ttlMs: 86_400_000, renew, now: Date.now });
    const streams = createStreams(sessions);
    const peers = noPeers();
    const questions = createQuestions(activity, peers, streams, sessions);
    const firstQuestions = createFirstQuestions({ ...shared, peers, quiet, questions, streams });
    const migrator = createMigrator({
      ...shared,
      prepareStreams: (housed, to) => streams.prepare(housed, to),
      moved: (session) => streams.moved(session.id, session),
    });
    const rooms: Rooms = {
      ...shared,
      migrator,
      streams,
      confirmations: createConfirmations(Date.now),
      guesses: createGuesses(undefined, Date.now),
      ejections: createEjections(Date.now),
      streamless: new BoundedSet(100),
      silent: new BoundedSet(100),
      endings: createEndings(noPeers(), Date.now),
      issuers: createIssuers(noPeers(), backends, '', Date.now),
      requestStates: createRequestStates(noPeers(), Date.now),
      unregister: createUnregister(sessions),
      plans,
      quiet,
      inUse,
      backendSessions: registry.backendSessions,
      use: async () => undefined,
      questions,
      firstQuestions,
      peers,
      quotas: { owners: undefined, clients: undefined, initializes: undefined },
      heard: () => true,
      answers: async () => true,
      opening: new Map(),
      holding: new Map(),
      running: new Map(),
      zone: () => undefined,
      maxSessions: Infinity,
      maxStreamsPerSession: 16,
      holdSeconds: 10,
      onSessionLost: 'migrate',
      replay: 'safe',
    };
    const stop = migrateListening(rooms);
    const close = async (): Promise<void> => {
      stop();
      migrator.close();
      plans.close();
      inUse.close();
      streams.close();
      questions.close();
      firstQuestions.close();
      await backends.close();
    };
    return { router: createRouter(rooms), close };
  }

  const proxies = [newProxy(1), newProxy(2)];
  return {
    routers: proxies.map(({ router }) => router),
    registry,
    drains,
    orders,
    outage(now) {
      schedule.say(now ? 'the registry is away' : 'the registry is back');
      away = now;
    },
    async close() {
      await Promise.all(proxies.map(({ close }) => close()));
    },
  };
}
