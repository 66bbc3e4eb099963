/** What happened, as Prometheus metrics. */

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { RoutingEvent, SweepOutcome } from '../events.ts';

export type { Registry } from 'prom-client';

type EventOf<T extends RoutingEvent['type']> = Extract<RoutingEvent, { type: T }>;

export type Metrics = {
  count(event: RoutingEvent): void;
  /** The Prometheus text of everything counted, the process's own values included. */
  text(): Promise<string>;
  readonly contentType: string;
  /** `read` is asked at each scrape. */
  countSessions(read: () => Promise<SessionsByState>): void;
};

/** Sessions by the state of the backend that holds them; `gone`: it is not listed any more. */
export type SessionsByState = Readonly<Record<'ready' | 'suspect' | 'draining' | 'gone', number>>;

/** Into `registry`, or one of its own. */
export function createMetrics(registry: Registry = new Registry()): Metrics {
  const counted = createCounters(registry);
  startAtZero(counted);
  const ofThisProcess = processRegistry();
  return {
    count: (event) => count(counted, event),
    text: async () => `${await registry.metrics()}\n${await ofThisProcess.metrics()}`,
    contentType: registry.contentType,
    countSessions(read) {
      const name = 'mcp_affinity_sessions';
      const help = 'Sessions that live, by the state of their home, as the registry counts them for all proxies';
      const collect = async function collect(this: Gauge<'state'>): Promise<void> {
        for (const [state, sessions] of Object.entries(await read())) this.set({ state }, sessions);
      };
      registry.removeSingleMetric(name);
      void new Gauge<'state'>({ name, help, labelNames: ['state'], registers: [registry], collect });
    },
  };
}

/** Whether metrics of ours are there already: a registry holds each but once. */
export function holdsMetrics(registry: Registry): boolean {
  return registry.getSingleMetric('mcp_affinity_exchanges_total') !== undefined;
}

/** Gauges of prom-client's that are called totals, which is for counters; each is the sum of another one. */
const MISNAMED = ['nodejs_active_resources_total', 'nodejs_active_handles_total', 'nodejs_active_requests_total'];

let ofProcess: Registry | undefined;
/** One for the process, whatever number of proxies runs in it: its observers are never taken down. */
function processRegistry(): Registry {
  if (!ofProcess) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
    for (const name of MISNAMED) ofProcess.removeSingleMetric(name);
  }
  return ofProcess;
}

const VERBS = [
  'open',
  'post',
  'listen',
  'end',
  'any',
  'other',
] as const satisfies readonly EventOf<'exchange'>['verb'][];
const MIGRATED = [
  'migrated',
  'raced',
  'ended',
  'failed',
  'unauthorized',
  'incompatible',
  'unavailable',
] as const satisfies readonly EventOf<'migration'>['outcome'][];
const REASONS = [
  'crash',
  'lost',
  'identity',
  'drain',
  'manual',
  'chaos',
] as const satisfies readonly EventOf<'migration'>['reason'][];
const VERDICTS = ['again', 'unknown'] as const satisfies readonly EventOf<'replay'>['verdict'][];
const HELD = ['served', 'refused', 'abandoned'] as const satisfies readonly EventOf<'held'>['outcome'][];
const HEALTH = ['alive', 'draining', 'dead'] as const satisfies readonly EventOf<'backend'>['state'][];
const LIMITS = [
  'owner-sessions',
  'client-sessions',
  'initializes',
  'guesses',
  'streams',
  'json',
  'initialize',
  'subscriptions',
  'bodies',
  'body-time',
  'held',
  'answers',
  'pipelined',
] as const satisfies readonly EventOf<'limited'>['limit'][];
const SWEPT = ['closed', 'unknown', 'refused', 'failed'] as const satisfies readonly SweepOutcome[];
const LOST = ['incompatible', 'policy', 'forgotten'] as const;
/** Ours, and those that mean something in MCP; others count as their class, so that a backend cannot make up series. */
const STATUSES = new Set([200, 202, 400, 401, 403, 404, 405, 413, 415, 429, 499, 500, 502, 503, 504]);
const statusLabel = (status: number) => (STATUSES.has(status) ? String(status) : `${Math.trunc(status / 100)}xx`);

/** From a call that is only passed on to one that waits for a person. */
const EXCHANGE_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const MIGRATION_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const HELD_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30];

type Counters = ReturnType<typeof createCounters>;

function createCounters(registry: Registry) {
  const registers = [registry];
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: `mcp_affinity_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string) => new Gauge({ name: `mcp_affinity_${name}`, help, registers });
  const histogram = <L extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    labels: readonly L[] = [],
  ) => new Histogram<L>({ name: `mcp_affinity_${name}`, help, buckets, labelNames: labels, registers });
  const exchangeLabels = ['verb', 'outcome', 'status'] as const;
  return {
    exchanges: counter(
      'exchanges_total',
      'Exchanges, by the status the client saw (499: it left first)',
      exchangeLabels,
    ),
    exchangeSeconds: histogram('exchange_seconds', 'From head to last byte', EXCHANGE_BUCKETS, ['verb']),
    migrations: counter('migrations_total', 'Attempts to give a session a new home', ['reason', 'outcome']),
    migrationSeconds: histogram('migration_seconds', 'How long a migration took', MIGRATION_BUCKETS),
    replays: counter('replays_total', 'Requests of unknown fate: sent again, or answered as unknown', ['verdict']),
    held: histogram('held_seconds', 'How long exchanges waited for a home', HELD_BUCKETS, ['outcome']),
    streams: gauge('streams_open', 'Listening streams of clients'),
    reattached: counter('streams_reattached_total', 'Listening streams that were given another backend stream'),
    late: counter(
      'streams_late_total',
      'Migrations that went on before a listening stream was attached to the new home',
    ),
    opened: counter('sessions_opened_total', 'Sessions opened'),
    ended: counter('sessions_ended_total', 'Sessions ended by their client'),
    expired: counter('sessions_expired_total', 'Sessions that idled out or were too old, as far as that was seen'),
    closedLate: counter('backend_sessions_closed_total', 'What backends held of sessions that were over', ['outcome']),
    lost: counter('sessions_lost_total', 'Sessions that no backend could go on with', ['cause']),
    limited: counter('limited_total', 'Requests refused, by the limit that they met', ['limit']),
    registryUp: gauge('registry_up', 'Whether the registry answers: 1 until it is seen not to'),
    discoveryUp: gauge('discovery_up', 'Whether discovery names backends: 1 until it is seen not to'),
    discoveryDown: newAge('discovery_age_seconds', 'How long discovery has named nobody: 0 while it does', registers),
    suspects: counter('backend_suspects_total', 'Times a backend failed before a handler ran there'),
    health: counter('backend_health_total', 'Times the checks found a backend in another state', ['state']),
    checksBelieved: gauge('checks_believed', 'Whether checks count: 0 while no backend passes its own'),
    faults: counter('faults_total', 'Lines of the log that say fault: bugs, ours or of parts that were handed in'),
  };
}

/** A gauge of the time since a moment, in milliseconds since 1970, as of each scrape; without one it is 0. */
function newAge(name: string, help: string, registers: Registry[]): { since(moment: number | undefined): void } {
  let since: number | undefined;
  const collect = function collect(this: Gauge): void {
    this.set(since === undefined ? 0 : Math.max(0, Date.now() - since) / 1000);
  };
  void new Gauge({ name: `mcp_affinity_${name}`, help, registers, collect });
  return {
    since(moment) {
      since = moment;
    },
  };
}

/** A zero for each label value that is known, so that its first event shows in a rate. */
function startAtZero(metrics: Counters): void {
  for (const verb of VERBS) {
    metrics.exchanges.inc({ verb, outcome: 'answered', status: '200' }, 0);
    metrics.exchanges.inc({ verb, outcome: 'refused', status: '503' }, 0);
    metrics.exchanges.inc({ verb, outcome: 'lost', status: '502' }, 0);
    metrics.exchanges.inc({ verb, outcome: 'abandoned', status: '499' }, 0);
    metrics.exchangeSeconds.zero({ verb });
  }
  metrics.exchanges.inc({ verb: 'malformed', outcome: 'refused', status: '400' }, 0);
  metrics.exchangeSeconds.zero({ verb: 'malformed' });
  for (const reason of REASONS) for (const outcome of MIGRATED) metrics.migrations.inc({ reason, outcome }, 0);
  for (const verdict of VERDICTS) metrics.replays.inc({ verdict }, 0);
  for (const outcome of HELD) metrics.held.zero({ outcome });
  for (const outcome of SWEPT) metrics.closedLate.inc({ outcome }, 0);
  for (const cause of LOST) metrics.lost.inc({ cause }, 0);
  for (const limit of LIMITS) metrics.limited.inc({ limit }, 0);
  for (const state of HEALTH) metrics.health.inc({ state }, 0);
  metrics.registryUp.set(1);
  metrics.discoveryUp.set(1);
  metrics.checksBelieved.set(1);
}

function count(metrics: Counters, event: RoutingEvent): void {
  switch (event.type) {
    case 'exchange': {
      const { verb, outcome } = event;
      metrics.exchanges.inc({ verb, outcome, status: statusLabel(event.status) });
      return metrics.exchangeSeconds.observe({ verb }, event.seconds);
    }
    case 'migration':
      metrics.migrations.inc({ reason: event.reason, outcome: event.outcome });
      return metrics.migrationSeconds.observe(event.seconds);
    case 'replay':
      return metrics.replays.inc({ verdict: event.verdict });
    case 'held':
      return metrics.held.observe({ outcome: event.outcome }, event.seconds);
    case 'stream':
      if (event.change === 'reattached') return metrics.reattached.inc();
      if (event.change === 'late') return metrics.late.inc();
      return event.change === 'opened' ? metrics.streams.inc() : metrics.streams.dec();
    case 'session':
      if (event.change === 'lost') return metrics.lost.inc({ cause: event.cause });
      if (event.change === 'expired') return metrics.expired.inc();
      return event.change === 'opened' ? metrics.opened.inc() : metrics.ended.inc();
    case 'limited':
      return metrics.limited.inc({ limit: event.limit });
    case 'sweep':
      for (const outcome of SWEPT) metrics.closedLate.inc({ outcome }, event[outcome]);
      return metrics.expired.inc(event.expired);
    case 'registry':
      return metrics.registryUp.set(event.state === 'up' ? 1 : 0);
    case 'discovery':
      metrics.discoveryDown.since(event.state === 'down' ? event.since : undefined);
      return metrics.discoveryUp.set(event.state === 'up' ? 1 : 0);
    case 'suspect':
      return metrics.suspects.inc();
    case 'backend':
      return metrics.health.inc({ state: event.state });
    case 'checks':
      return metrics.checksBelieved.set(event.state === 'believed' ? 1 : 0);
    case 'fault':
      return metrics.faults.inc();
    case 'unusable-id':
    case 'listening':
    case 'configuration':
    case 'stopping':
    case 'ignored':
    case 'stopped':
    case 'order':
    case 'drain':
    case 'unusable':
    case 'wrong-path':
      return undefined;
  }
}
