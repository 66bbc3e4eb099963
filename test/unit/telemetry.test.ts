/** What metrics and log lines say of what happened, and what they never say. */

import { describe, expect, test } from 'vitest';
import type { RoutingEvent } from '../../proxy/events.ts';
import { createTelemetry } from '../../proxy/telemetry/telemetry.ts';

type Level = Parameters<typeof createTelemetry>[0]['level'];

const SESSION = '6f0a1c2e-secret';
/** The first 8 hex digits of the SHA-256 of SESSION. */
const SHORT = '90a2b360';

const LISTENING: RoutingEvent = { type: 'listening', port: 1, opsPort: 2, path: '/mcp', backends: ['a:1'] };
const EXCHANGE: RoutingEvent = {
  type: 'exchange',
  verb: 'post',
  status: 200,
  outcome: 'answered',
  seconds: 0.2,
  session: SESSION,
  backend: 'a:1',
};
const MIGRATION: RoutingEvent = {
  type: 'migration',
  reason: 'crash',
  outcome: 'migrated',
  session: SESSION,
  from: 'a:1',
  to: 'b:1',
  seconds: 0.02,
};
const EVENTS: readonly RoutingEvent[] = [
  EXCHANGE,
  { ...EXCHANGE, verb: 'listen', status: 499, outcome: 'abandoned' },
  { ...EXCHANGE, verb: 'malformed', status: 418, outcome: 'refused' },
  MIGRATION,
  { ...MIGRATION, outcome: 'failed', cause: 'refused' },
  { type: 'replay', verdict: 'again' },
  { type: 'replay', verdict: 'unknown' },
  { type: 'held', seconds: 1, outcome: 'served' },
  { type: 'stream', change: 'opened' },
  { type: 'stream', change: 'opened' },
  { type: 'stream', change: 'reattached' },
  { type: 'stream', change: 'closed' },
  { type: 'session', change: 'opened' },
  { type: 'session', change: 'ended' },
  { type: 'session', change: 'lost', cause: 'incompatible' },
  { type: 'registry', state: 'down', cause: 'timeout' },
  { type: 'discovery', state: 'down', cause: 'SERVFAIL', since: 0 },
  { type: 'suspect', backend: 'a:1', cause: 'refused' },
  { type: 'backend', backend: 'a:1', state: 'dead', cause: 'no answer' },
  { type: 'checks', state: 'ignored', cause: 'status 404' },
  { type: 'fault', error: new Error('a bug') },
  { type: 'stopping', signal: 'SIGTERM' },
  { type: 'stopped', clean: true },
];

function telemetry(level: Level = 'debug') {
  const text: string[] = [];
  const made = createTelemetry({ level, destination: { write: (line) => void text.push(line) } });
  const lines = () => text.map((line): Record<string, unknown> => JSON.parse(line));
  return { ...made, text, lines, messages: () => lines().map((line) => line['msg']) };
}

async function series(from: { metrics(): Promise<string> }): Promise<ReadonlyMap<string, number>> {
  const lines = (await from.metrics()).split('\n').filter((line) => line.startsWith('mcp_affinity_'));
  return new Map(lines.map((line) => [line.slice(13, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]));
}

describe('metrics', () => {
  test('count what happened', async () => {
    const made = telemetry();
    for (const event of EVENTS) made.record(event);
    const found = await series(made);
    const counted = {
      'exchanges_total{verb="post",outcome="answered",status="200"}': 1,
      'exchanges_total{verb="listen",outcome="abandoned",status="499"}': 1,
      'exchanges_total{verb="malformed",outcome="refused",status="4xx"}': 1,
      'exchange_seconds_count{verb="post"}': 1,
      'migrations_total{reason="crash",outcome="migrated"}': 1,
      'migrations_total{reason="crash",outcome="failed"}': 1,
      migration_seconds_count: 2,
      'replays_total{verdict="again"}': 1,
      'replays_total{verdict="unknown"}': 1,
      'held_seconds_count{outcome="served"}': 1,
      streams_open: 1,
      streams_reattached_total: 1,
      sessions_opened_total: 1,
      sessions_ended_total: 1,
      'sessions_lost_total{cause="incompatible"}': 1,
      registry_up: 0,
      discovery_up: 0,
      backend_suspects_total: 1,
      'backend_health_total{state="dead"}': 1,
      checks_believed: 0,
      faults_total: 1,
    };
    expect(Object.fromEntries(Object.keys(counted).map((name) => [name, found.get(name)]))).toEqual(counted);
  });

  test('are zero before anything happens, what can be up is taken to be', async () => {
    const found = await series(telemetry());
    const up = ['registry_up', 'discovery_up', 'checks_believed'];
    expect(up.map((name) => found.get(name))).toEqual([1, 1, 1]);
    expect(found.get('sessions_opened_total')).toBe(0);
    expect(found.get('exchanges_total{verb="open",outcome="answered",status="200"}')).toBe(0);
    expect(found.get('migrations_total{reason="lost",outcome="incompatible"}')).toBe(0);
    expect(found.get('held_seconds_count{outcome="refused"}')).toBe(0);
    expect([...found].filter(([name, value]) => value !== 0 && !up.includes(name))).toEqual([]);
  });

  test('say how long discovery has named nobody', async () => {
    const made = telemetry();
    const age = async () => (await series(made)).get('discovery_age_seconds');
    expect(await age()).toBe(0);
    made.record({ type: 'discovery', state: 'down', cause: 'throttled', since: Date.now() - 60_000 });
    expect(await age()).toBeGreaterThanOrEqual(60);
    expect(await age()).toBeLessThan(90);
    made.record({ type: 'discovery', state: 'up' });
    expect(await age()).toBe(0);
  });

  test('count the sessions that live at each scrape', async () => {
    const made = telemetry();
    let ready = 1;
    made.countSessions(async () => ({ ready, suspect: 2, draining: 3, gone: 4 }));
    const sessions = async () => [...(await series(made))].filter(([name]) => name.startsWith('sessions{'));
    expect((await sessions()).map(([, count]) => count)).toEqual([1, 2, 3, 4]);
    ready = 5;
    expect(await sessions()).toContainEqual(['sessions{state="ready"}', 5]);
  });

  test('are never labelled by session or backend, nor by whatever status a backend makes up', async () => {
    const made = telemetry();
    for (const event of EVENTS) made.record(event);
    const before = (await series(made)).size;
    for (let status = 420; status < 428; status += 1)
      made.record({ ...EXCHANGE, status, session: `s${status}`, backend: `b${status}` });
    made.record({ type: 'suspect', backend: 'z:1', cause: 'refused' });
    expect((await series(made)).size).toBe(before + 1);
    expect(await made.metrics()).not.toMatch(/secret|a:1|z:1|\/mcp|s42\d|90a2b360/);
  });

  test('two proxies of one process count apart and share the values of the process', async () => {
    const [one, other] = [telemetry(), telemetry()];
    one.record({ type: 'session', change: 'opened' });
    expect((await series(one)).get('sessions_opened_total')).toBe(1);
    expect((await series(other)).get('sessions_opened_total')).toBe(0);
    for (const made of [one, other]) {
      expect((await made.metrics()).match(/^process_resident_memory_bytes /gm)).toHaveLength(1);
    }
  });

  test('are valid text: each name has a help line, once', async () => {
    const text = await telemetry().metrics();
    const names = [...text.matchAll(/^# HELP (\S+) \S/gm)].map((match) => match[1]);
    expect(new Set(names).size).toBe(names.length);
    const unknown = text
      .split('\n')
      .filter((line) => line !== '' && !/^(# (HELP|TYPE) \S+ .+|\w+(\{.*\})? (\S+))$/.test(line));
    expect(unknown).toEqual([]);
    expect(telemetry().contentType).toMatch(/^text\/plain; version=0\.0\.4/);
  });
});

describe('log lines', () => {
  test('listening comes first, whatever happened before it', () => {
    const made = telemetry('info');
    made.record({ type: 'registry', state: 'down', cause: 'timeout' });
    expect(made.text).toEqual([]);
    made.record(LISTENING);
    made.record({ type: 'registry', state: 'up' });
    expect(made.lines()).toMatchObject([
      { msg: 'listening', level: 'info', port: 1, opsPort: 2, path: '/mcp', backends: ['a:1'] },
      { msg: 'registry', level: 'warn', state: 'down', cause: 'timeout' },
      { msg: 'registry', level: 'info', state: 'up' },
    ]);
    expect(made.text.every((line) => line.endsWith('}\n'))).toBe(true);
  });

  test.each<Level>(['error', 'warn', 'info', 'debug'])('listening is written at level %s', (level) => {
    const made = telemetry(level);
    made.record(LISTENING);
    expect(made.messages()).toEqual(['listening']);
  });

  test.each<RoutingEvent>([
    { type: 'fault', error: new Error('a bug') },
    { type: 'stopped', clean: false },
  ])('a $type that comes instead lets the lines before it out', (event) => {
    const made = telemetry();
    made.record({ type: 'registry', state: 'down' });
    made.record(event);
    expect(made.messages()).toEqual(['registry', event.type]);
  });

  test('each level has its lines', () => {
    const messages = (level: Level) => {
      const made = telemetry(level);
      for (const event of [LISTENING, ...EVENTS]) made.record(event);
      return made.messages().slice(1);
    };
    expect(messages('error')).toEqual(['fault']);
    expect(messages('warn')).toEqual(
      'migration replay session registry discovery suspect backend checks fault'.split(' '),
    );
    const atInfo =
      'migration migration replay replay session registry discovery suspect backend checks fault stopping stopped';
    expect(messages('info')).toEqual(atInfo.split(' '));
    expect(messages('debug')).toEqual(EVENTS.map((event) => event.type));
  });

  test('a session is eight digits of a hash', () => {
    const made = telemetry();
    for (const event of [LISTENING, EXCHANGE, MIGRATION]) made.record(event);
    expect(made.lines().map((line) => line['session'])).toEqual([undefined, SHORT, SHORT]);
    expect(made.text.join('')).not.toContain('secret');
  });

  test('a fault brings its stack', () => {
    const made = telemetry('error');
    made.record({ type: 'fault', error: new Error('a bug') });
    expect(made.lines()).toMatchObject([
      { level: 'error', err: { message: 'a bug', stack: expect.stringContaining('at ') } },
    ]);
  });
});

test('record never throws', async () => {
  const made = createTelemetry({
    level: 'debug',
    destination: {
      write() {
        throw new Error('the disk is full');
      },
    },
  });
  for (const event of [LISTENING, ...EVENTS]) expect(() => made.record(event)).not.toThrow();
  expect((await series(made)).get('faults_total')).toBe(1);
});
