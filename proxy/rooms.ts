/** Puts the rooms together: the same house for the CLI, createProxy and the middleware. */
import { randomUUID } from 'node:crypto';
import { discover, openRegistry } from './adapters.ts';
import { BoundedSet } from './bounded.ts';
import type { Listening } from './addresses.ts';
import { withoutSlash } from './admit.ts';
import { drainableBackends } from './backends/drains.ts';
import type { DrainableBackends, Marks } from './backends/drains.ts';
import { reportedBackends } from './backends/releases.ts';
import type { Config } from './config.ts';
import { createConfirmations } from './confirmations.ts';
import type { Confirmations } from './confirmations.ts';
import { HEADER } from './contract.ts';
import type { Backend, Backends, Exchange, RawHeaders, Session, Sessions } from './contract.ts';
import { createEjections } from './ejections.ts';
import type { Telemetry } from './events.ts';
import { createGuesses } from './guesses.ts';
import { hearOf } from './heard.ts';
import { createIssuers } from './issuers.ts';
import { listedState } from './listed.ts';
import { createEndings } from './endings.ts';
import { openMoves } from './moves.ts';
import type { OwnerOption } from './library-options.ts';
import { createPassthrough } from './passthrough.ts';
import type { Passthrough } from './passthrough.ts';
import { migrateListening } from './planned.ts';
import { createPlans } from './plans.ts';
import { createQuiet } from './quiet.ts';
import { createRequestStates } from './request-states.ts';
import { createRotate } from './rotation.ts';
import { createRouter } from './router.ts';
import type { Router } from './router.ts';
import type { SessionsByHash } from './sessions/by-hash.ts';
import { TOPIC } from './sessions/lost.ts';
import type { Rooms } from './story.ts';
import { createSweep } from './sweep.ts';
import type { SweepRooms } from './sweep.ts';
import type { TelemetryWithMetrics } from './telemetry/telemetry.ts';
import type { SessionsByState } from './telemetry/metrics.ts';
import { readRate } from './token-bucket.ts';
import { newToken } from './token.ts';
import { createUnregister } from './unregister.ts';
import { createUpstream } from './upstream.ts';
import type { UpstreamOptions } from './upstream.ts';

/** What may be handed in instead of built; what is handed in is not closed by us. */
export type Given = {
  readonly sessions?: Sessions | undefined;
  readonly backends?: Backends | undefined;
  /** Who asks, by a name that is made sure of; not used here. */
  readonly owner?: OwnerOption | undefined;
  /** Said to every backend. */
  readonly mark?: RawHeaders;
  /** Where the proxy listens: no backend's address. */
  readonly listening?: Listening | undefined;
};

export interface House {
  readonly router: Router;
  /** The proxy's name in `Mcp-Affinity-Via`: another one's never. */
  readonly self: string;
  /** Takes what is not the MCP endpoint's, where that is wanted. */
  readonly elsewhere: Passthrough | undefined;
  readonly backends: DrainableBackends;
  /** Hashes of the sessions that are to migrate at their next exchange. */
  readonly orders: Marks;
  /** The sessions as operators see them; undefined where they are handed in. */
  readonly byHash: SessionsByHash | undefined;
  /** As they are now, at all proxies. Throws SessionsUnavailable. */
  readonly countByBackend: Sessions['countByBackend'];
  /** Exchanges that run, listening ones apart, by backend id. */
  readonly running: ReadonlyMap<string, number>;
  /** DELETEs a session at its home, without anybody's credentials. Best effort, in the background. */
  discard(session: Session, at: Backend): void;
  /** Listening streams of this proxy, by backend id. */
  streamsByBackend(): ReadonlyMap<string, number>;
  /** Resolves when discovery has found somebody, or should not be waited for any longer. */
  readonly found: Promise<void>;
  close(): Promise<void>;
}

const MEANS = { now: Date.now, draw: Math.random, token: randomUUID };

export function buildHouse(config: Config, telemetry: TelemetryWithMetrics, given: Given = {}): House {
  const record: Telemetry['record'] = (event) => telemetry.record(event);
  const registry = openRegistry(config, record, given.sessions, (answers) => issuers.hear(answers));
  const confirmations = createConfirmations(Date.now);
  const self = randomUUID();
  const hearing = hearingOf(given, self, confirmations, registry.sessions);
  const ways = openWays(config, record, { ...given, ...hearing }, registry.drains);
  const { upstream, backends } = ways;
  const { sessions, activity, peers, inUse, backendSessions, use } = registry;
  const shared = { sessions, backendSessions, use, backends, upstream, telemetry, ...MEANS };
  const plans = createPlans({ ...shared, ...registry, chaos: config.chaosMigrate });
  const quiet = createQuiet(activity, (session) => plans.watches(session), randomUUID);
  plans.onChange(() => quiet.watchedMore());
  const moves = openMoves({ ...shared, activity, peers, quiet, confirmations });
  const endings = createEndings(peers, Date.now);
  const issuers = createIssuers(peers, backends, TOPIC.whoKnows, Date.now);
  const requestStates = createRequestStates(peers, Date.now);
  const rooms: Rooms = {
    ...config,
    ...shared,
    ...moves,
    zone: ways.zone,
    plans,
    quiet,
    inUse,
    peers,
    quotas: registry.quotas,
    heard: hearOf(backends),
    answers: ways.answers,
    confirmations,
    ...nothingYet(config),
    endings,
    issuers,
    requestStates,
    unregister: createUnregister(sessions),
  };
  countFor(telemetry, sessions, backends);
  const stopMigrating = migrateListening(rooms);
  const sweep = registry.swept && startSweep(config, { ...shared, backendSessions: registry.swept });
  return {
    router: createRouter(rooms),
    self,
    elsewhere: config.passthrough ? createPassthrough({ ...config, ...rooms, self }) : undefined,
    backends,
    orders: registry.orders,
    byHash: registry.byHash,
    countByBackend: () => registry.byHash?.count() ?? sessions.countByBackend(),
    running: rooms.running,
    discard: (session, at) => moves.migrator.discard(session, at, unasked(session, endpointOf(session, config))),
    streamsByBackend: () => moves.streams.byBackend(),
    found: ways.found,
    async close() {
      stopMigrating();
      sweep?.close();
      for (const one of [plans, moves, endings, issuers, requestStates]) one.close();
      await ways.leave();
      await registry.close();
    },
  };
}

/** What is remembered of backends and sessions, before anything has happened. */
function nothingYet({
  guessRate,
}: Config): Pick<Rooms, 'ejections' | 'guesses' | 'streamless' | 'silent' | 'opening' | 'holding' | 'running'> {
  return {
    ejections: createEjections(Date.now),
    guesses: createGuesses(readRate(guessRate), Date.now),
    streamless: new BoundedSet(MOST_REMEMBERED),
    silent: new BoundedSet(MOST_REMEMBERED),
    opening: new Map(),
    holding: new Map(),
    running: new Map(),
  };
}

/** What is said to every backend, and who is told of what it does. */
function hearingOf(given: Given, self: string, confirmations: Confirmations, sessions: Sessions) {
  return {
    mark: [...(given.mark ?? []), HEADER.affinityVia, self],
    onDisconnect: (origin: string): void => confirmations.disconnected(origin),
    onRotation: createRotate(sessions, newToken),
  };
}

/** Milliseconds between two looks at what backends hold of sessions that are over. */
const SWEEP_EVERY = 5_000;

function startSweep(config: Config, rooms: Omit<SweepRooms, 'endpointOf'>) {
  const { sessionTtl, sessionMaxAge = Infinity } = config;
  const everyMs = Math.min(SWEEP_EVERY, sessionTtl * 500, sessionMaxAge * 500);
  return createSweep({ ...rooms, endpointOf: (one) => endpointOf(one, config) }, { everyMs });
}

function countFor(telemetry: TelemetryWithMetrics, sessions: Sessions, backends: Backends): void {
  telemetry.countSessions(async () => byState(await sessions.countByBackend(), backends.list()));
  telemetry.countBackends(async () => {
    const held = await sessions.countByBackend();
    return backends.list().map(({ id }) => held.get(id) ?? 0);
  });
}

/** Ids of sessions that are marked in some way at once. */
const MOST_REMEMBERED = 20_000;

type GivenWays = Given & Required<Pick<UpstreamOptions, 'onDisconnect' | 'onRotation'>>;

/** The ways to the backends: who is there, and how each is asked. */
function openWays(config: Config, record: Telemetry['record'], given: GivenWays, drains: Marks) {
  const onRelease = (id: string, release: number): void => reported.reports(id, release);
  const upstream = createUpstream({
    answerSeconds: config.answerSeconds,
    backendHost: config.backendHost,
    mark: given.mark ?? [],
    onDisconnect: given.onDisconnect,
    onRotation: given.onRotation,
    origins: () => backends.list().map(({ origin }) => origin),
    onAnswer({ id, suspect }) {
      if (suspect) backends.answers?.(id);
    },
    onRelease,
  });
  const hearers = { onHung: (origin: string) => upstream.sever(origin), onRelease };
  const discovery = discover(config, record, hearers, given);
  const reported = reportedBackends(discovery.backends);
  const backends = drainableBackends(reported, drains, { record, members: discovery.members });
  const { found, zone, answers } = discovery;
  return {
    upstream,
    backends,
    found,
    zone,
    answers,
    leave: async (): Promise<void> => {
      await Promise.all([upstream.close(), backends.close(), reported.close()]);
      await discovery.backends.close();
    },
  };
}

/** Where the session's backend has its endpoint, as far as that is known. */
function endpointOf({ path: of }: Pick<Session, 'path'>, { path }: Config): string {
  return path.find((one) => withoutSlash(one) === of) ?? path[0] ?? '/';
}

/** An exchange that no client has begun: without credentials. */
function unasked({ id }: Session, target: string): Exchange {
  const intent: Exchange['intent'] = { kind: 'continue', id, verb: 'end', messages: [] };
  return { method: 'DELETE', target, headers: [], body: undefined, intent, signal: new AbortController().signal };
}

function byState(held: ReadonlyMap<string, number>, backends: readonly Backend[]): SessionsByState {
  const sessions = { ready: 0, suspect: 0, draining: 0, gone: 0 };
  for (const [id, count] of held) {
    const home = backends.find((backend) => backend.id === id);
    sessions[home === undefined ? 'gone' : listedState(home)] += count;
  }
  return sessions;
}
