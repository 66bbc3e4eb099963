/** docker-compose.yml on a real engine: what one client's session sees while servers and proxies come and go. */

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { type Container, createSite, UP_MS } from '../house/compose.ts';
import { ENGINE_MS, type Engine, findEngine } from '../house/engine.ts';
import { dashboard, rules } from '../house/observability.ts';
import { startRecording } from '../house/probe.ts';
import { until } from '../house/until.ts';

/** A test that moves containers about, on two busy cores. Milliseconds. */
const LONG = 120_000;
const SUMMARY = z.object({
  http_status_counts: z.record(z.string(), z.number()),
  unique_task_ids: z.array(z.string()),
  session_not_found_count: z.number(),
  session_complete: z.boolean(),
});

const site = createSite(`mcp-affinity-test-${process.pid}`);
let engine: Engine = { kind: 'none', why: 'not looked for' };

beforeAll(async () => {
  engine = await findEngine();
  if (engine.kind === 'none') process.stdout.write(`docker compose: not run: ${engine.why}\n`);
  else await site.compose('up', '--build', '--detach', '--wait', '--quiet-pull');
}, ENGINE_MS + UP_MS);
afterAll(async () => {
  if (engine.kind === 'here') await site.down();
}, LONG);

/** One client's session from the host, through the published port; a call each half second, or each `delay` seconds. */
async function probe(calls: number, delay = 0.5) {
  const endpoint = `http://${await site.at('front', 8080)}/mcp`;
  const flags = ['--endpoint', endpoint, '--calls', String(calls), '--delay', String(delay)];
  const recording = startRecording(flags, LONG - 5000);
  onTestFinished(async ({ task }) => {
    if (task.result?.state === 'fail') {
      const bad = recording.rows().filter(({ status, error }) => error !== undefined || (status ?? 0) >= 300);
      process.stderr.write(`${bad.map((row) => JSON.stringify(row)).join('\n')}\n${await site.logs()}\n`);
    }
    recording.close();
  });
  return {
    called: recording.called,
    /** A call is two requests: one writes, one reads. */
    async over(call: number) {
      const done = () => recording.rows().filter((row) => row.call === call && row.status === 200).length >= 2;
      await until(`call ${call} is over`, done, LONG - 5000);
    },
    made: () => Math.max(0, ...recording.rows().map(({ call }) => call ?? 0)),
    /** What it came to; any status but 200, and 202 for a notification, fails the test. */
    async survived() {
      const { http_status_counts: statuses, ...summary } = SUMMARY.parse(JSON.parse((await recording.ended).out));
      expect(Object.keys(statuses)).toEqual(['200', '202']);
      expect(summary).toMatchObject({ session_not_found_count: 0, session_complete: true });
      return summary.unique_task_ids;
    },
  };
}

/** A task's id begins with its host name, which is the start of its container's id. */
const nameOf = (task: string | undefined) => task?.split('-')[0] ?? '';
const namesOf = (containers: readonly Container[]) => containers.map(({ id }) => id.slice(0, 12));

async function homeOf(task: string): Promise<Container> {
  const home = (await site.containers('server')).find(({ id }) => id.startsWith(nameOf(task)));
  if (home === undefined) throw new Error(`no container has the task ${task}`);
  return home;
}

describe('one session lives on', { timeout: LONG }, () => {
  test('while every server is replaced, the new one first', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    const old = await site.containers('server');
    expect(old).toHaveLength(3);
    const talk = await probe(80);
    await talk.called(1);
    for (const server of old) await site.replace('server', server);
    expect(talk.made()).toBeLessThan(80);
    const tasks = await talk.survived();
    expect(tasks.length).toBeGreaterThanOrEqual(2);
    expect(namesOf(old)).not.toContain(nameOf(tasks.at(-1)));
  });

  test('while all servers are recreated at once: calls are held', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    const old = await site.containers('server');
    const talk = await probe(30);
    await talk.called(1);
    await site.compose('up', '--detach', '--wait', '--force-recreate', '--no-deps', 'server');
    expect(talk.made()).toBeLessThan(30);
    expect(namesOf(old)).not.toContain(nameOf((await talk.survived()).at(-1)));
  });

  test('while its home is killed', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    const talk = await probe(10);
    await site.kill(await homeOf(await talk.called(2)));
    expect(talk.made()).toBeLessThan(10);
    expect(await talk.survived()).toHaveLength(2);
    await site.mend();
  });

  // Between two calls: one that runs through a proxy as it is killed gets 502, and its session lives on.
  test('while a proxy is killed, and then the other one', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    for (const proxy of await site.containers('proxy')) {
      const talk = await probe(4, 5);
      await talk.over(2);
      await site.kill(proxy);
      expect(talk.made()).toBe(2);
      expect(await talk.survived()).toHaveLength(1);
      await site.mend();
    }
  });
});

describe('the containers', { timeout: LONG }, () => {
  const AS_IT_IS = `id -u; command -v npm npx yarn corepack; touch /app/new 2>&1 | grep -o 'Read-only'
    sed -n 's/^\\(NoNewPrivs\\|CapEff\\):\\s*/\\1 /p' /proc/self/status`;
  test.for(['proxy', 'server'])(
    'of %s: no root, no rights, nothing to write to, nothing to install with',
    async (service, { skip }) => {
      if (engine.kind === 'none') return skip(engine.why);
      const said = await site.compose('exec', '-T', service, 'sh', '-c', AS_IT_IS);
      expect(said.trim().split('\n').toSorted()).toEqual([
        '1000',
        'CapEff 0000000000000000',
        'NoNewPrivs 1',
        'Read-only',
      ]);
    },
  );
});

const ANSWER = z.object({ data: z.object({ result: z.array(z.unknown()) }) });
const LOADED = z.object({
  data: z.object({ groups: z.array(z.object({ rules: z.array(z.object({ name: z.string(), health: z.string() })) })) }),
});

describe('Prometheus', { timeout: LONG }, () => {
  /** As its HTTP API answers; a query that it cannot run is 400. */
  const ask = async (path: string): Promise<unknown> => {
    const answer = await fetch(`http://${await site.at('prometheus', 9090)}/api/v1/${path}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${text}`);
    return JSON.parse(text);
  };
  const seriesOf = async (query: string) =>
    ANSWER.parse(await ask(`query?query=${encodeURIComponent(query)}`)).data.result.length;

  test('scrapes every proxy and runs every rule', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    await until('both proxies are scraped', async () => (await seriesOf('up{job="mcp-affinity"} == 1')) === 2, 30_000);
    const loaded = async () => LOADED.parse(await ask('rules')).data.groups.flatMap((group) => group.rules);
    await until('all have run', async () => (await loaded()).every(({ health }) => health === 'ok'), 30_000);
    const names = rules().map(({ alert, record }) => alert ?? record ?? '');
    expect((await loaded()).map(({ name }) => name).toSorted()).toEqual(names.toSorted());
  });

  test('answers what every panel of the dashboard asks', async ({ skip }) => {
    if (engine.kind === 'none') return skip(engine.why);
    const { expressions } = dashboard();
    const found = await Promise.all(expressions.map((one) => seriesOf(one.replaceAll('$__rate_interval', '1m'))));
    const silent = expressions.filter((one, number) => found[number] === 0 && !one.startsWith('ALERTS'));
    expect(silent).toEqual([]);
  });
});
